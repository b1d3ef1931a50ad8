"""The backward table: how a gradient is computed, step by step, in the user's own names."""

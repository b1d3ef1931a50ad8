"""Graph to graph: what the compiler rewrites before it plans. It may change rounding."""

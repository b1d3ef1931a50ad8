"""Facts about a graph that can be read off without running it: cost and lifetimes."""

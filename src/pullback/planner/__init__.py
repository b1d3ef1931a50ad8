"""Memory in bytes: what a graph holds and when, and plans that hold less by computing again."""

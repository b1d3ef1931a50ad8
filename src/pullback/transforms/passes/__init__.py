"""Rewrites of a graph into an equal one: one pass per file."""

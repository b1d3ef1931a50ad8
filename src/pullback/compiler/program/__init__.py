"""Kernels to a program: its table of rows, loops and branches, and the entry from Python."""

"""Functions of functions: one meaning of the operations per file."""

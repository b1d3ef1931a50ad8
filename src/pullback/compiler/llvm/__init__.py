"""LLVM: instructions, scalar expressions, tiles, and from text to object code."""

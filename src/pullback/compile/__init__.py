"""From a graph to native code: schedule, loops, LLVM, engine; ``jit.py`` is the user's entry."""

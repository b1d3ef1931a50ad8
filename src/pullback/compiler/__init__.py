"""From a graph to native code; ``jit.py`` is the way in."""

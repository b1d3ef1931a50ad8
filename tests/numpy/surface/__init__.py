"""Every function and keyword of NumPy, called on traced arrays and judged."""

"""Measurements: each module prints a table; ``python -m benchmarks.run`` runs them all."""

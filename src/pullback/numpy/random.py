"""``numpy.random``: every name is NumPy's own; ``pullback.random`` draws inside compiled code."""

from __future__ import annotations

from pullback.numpy.twins import mirror

__all__: list[str] = []

__getattr__, __dir__ = mirror("numpy.random", globals())

"""``numpy.testing``: every name is NumPy's own; traced arrays are compared by their values."""

from __future__ import annotations

from pullback.numpy.twins import mirror

__all__: list[str] = []

__getattr__, __dir__ = mirror("numpy.testing", globals())

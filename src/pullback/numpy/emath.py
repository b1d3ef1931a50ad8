"""``numpy.emath``: functions that answer with a complex number where a real one is not enough."""

from __future__ import annotations

from pullback.numpy.twins import mirror

__all__: list[str] = []

__getattr__, __dir__ = mirror("numpy.lib.scimath", globals())

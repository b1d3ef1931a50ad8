"""``numpy.lib``, with ``stride_tricks`` and the rest."""

from __future__ import annotations

from pullback.numpy.twins import mirror, submodules

__all__: list[str] = []

__getattr__, __dir__ = mirror("numpy.lib", globals())
submodules(
    __name__, ("array_utils", "format", "introspect", "mixins", "npyio", "scimath", "stride_tricks")
)

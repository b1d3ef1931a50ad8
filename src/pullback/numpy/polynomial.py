"""``numpy.polynomial``, whose classes and functions keep traced coefficients."""

from __future__ import annotations

from pullback.numpy.twins import mirror, submodules

__all__: list[str] = []

__getattr__, __dir__ = mirror("numpy.polynomial", globals())
submodules(
    __name__,
    ("chebyshev", "hermite", "hermite_e", "laguerre", "legendre", "polynomial", "polyutils"),
)

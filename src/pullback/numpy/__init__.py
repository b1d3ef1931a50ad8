"""NumPy's names on traced arrays. ``import pullback.numpy as np`` also records buffers.

Every other name that NumPy has is there as well: NumPy's own, or its twin that keeps traced values.
"""

from __future__ import annotations

# Entered under NumPy's names by being imported.
from pullback.numpy import (  # noqa: F401
    attributes,
    composed,
    elements,
    fft,
    fourier,
    histograms,
    indexing,
    joins,
    linalg,
    matrices,
    methods_of_ufuncs,
    order,
    parts,
    positions,
    products,
    reductions,
    shapes,
    windows,
    writing,
)
from pullback.numpy.creation import (
    arange,
    array,
    asanyarray,
    asarray,
    ascontiguousarray,
    asfortranarray,
    empty,
    empty_like,
    eye,
    frombuffer,
    fromfunction,
    fromiter,
    full,
    full_like,
    geomspace,
    identity,
    indices,
    linspace,
    logspace,
    ones,
    ones_like,
    tri,
    zeros,
    zeros_like,
)
from pullback.numpy.elements import erf, erfc, expit, log_expit, log_softmax, relu, softmax
from pullback.numpy.looping import ndenumerate, nditer, vectorize
from pullback.numpy.reductions import logsumexp
from pullback.numpy.twins import mirror

__all__ = [
    "arange",
    "array",
    "asanyarray",
    "asarray",
    "ascontiguousarray",
    "asfortranarray",
    "empty",
    "empty_like",
    "erf",
    "erfc",
    "expit",
    "eye",
    "frombuffer",
    "fromfunction",
    "fromiter",
    "full",
    "full_like",
    "geomspace",
    "identity",
    "indices",
    "linspace",
    "log_expit",
    "log_softmax",
    "logspace",
    "logsumexp",
    "ndenumerate",
    "nditer",
    "ones",
    "ones_like",
    "relu",
    "softmax",
    "tri",
    "vectorize",
    "zeros",
    "zeros_like",
]


__getattr__, __dir__ = mirror("numpy", globals())

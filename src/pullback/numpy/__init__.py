"""NumPy's names on traced arrays. ``import pullback.numpy as np`` also records buffers.

Every name that NumPy has and this module does not define is NumPy's own.
"""

from __future__ import annotations

from typing import Any

import numpy as _numpy

# Entered under NumPy's names by being imported.
from pullback.numpy import (  # noqa: F401
    composed,
    elements,
    fft,
    fourier,
    indexing,
    joins,
    linalg,
    order,
    parts,
    products,
    reductions,
    shapes,
    writing,
)
from pullback.numpy.creation import (
    array,
    asanyarray,
    asarray,
    ascontiguousarray,
    empty,
    empty_like,
    eye,
    full,
    full_like,
    identity,
    ones,
    ones_like,
    tri,
    zeros,
    zeros_like,
)
from pullback.numpy.elements import erf, erfc, expit, log_expit, log_softmax, relu, softmax
from pullback.numpy.reductions import logsumexp

__all__ = [
    "array",
    "asanyarray",
    "asarray",
    "ascontiguousarray",
    "empty",
    "empty_like",
    "erf",
    "erfc",
    "expit",
    "eye",
    "full",
    "full_like",
    "identity",
    "log_expit",
    "log_softmax",
    "logsumexp",
    "ones",
    "ones_like",
    "relu",
    "softmax",
    "tri",
    "zeros",
    "zeros_like",
]


def __getattr__(name: str) -> Any:
    return getattr(_numpy, name)


def __dir__() -> list[str]:
    return sorted({*dir(_numpy), *__all__})

"""Where NumPy would put the elements of an array: strides, and stand-ins that have them."""

from __future__ import annotations

from typing import Any

import numpy as np

from pullback.core.types import ArrayType

__all__ = ["Strides", "contiguous", "stand_in"]

Strides = tuple[int, ...]


def contiguous(type: ArrayType) -> Strides:
    """Strides in bytes of an array in row-major order."""
    step, found = type.dtype.itemsize, []
    for length in reversed(type.shape):
        found.append(step)
        step *= max(length, 1)
    return tuple(reversed(found))


def stand_in(type: ArrayType, strides: Strides) -> np.ndarray[Any, Any]:
    """A plain array of zeros with these strides; what of its memory is not read costs nothing."""
    pairs = [(n - 1) * step for n, step in zip(type.shape, strides, strict=True) if n]
    below = -sum(step for step in pairs if step < 0)
    span = below + sum(step for step in pairs if step > 0) + type.dtype.itemsize
    return np.ndarray(type.shape, type.dtype, np.zeros(span, np.int8), below, strides)

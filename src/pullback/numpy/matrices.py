"""``numpy.linalg`` on traced arrays: linear systems, determinants, the Cholesky factor."""

from __future__ import annotations

from typing import Any

import numpy as np

from pullback.core.array import operand
from pullback.numpy.elements import as_float
from pullback.numpy.registry import implements
from pullback.ops import linalg

__all__: list[str] = []


@implements(np.linalg.solve)
def solve(a: Any, b: Any) -> Any:
    a, b = as_float(operand(a)), as_float(operand(b))
    return linalg.solve(a, b[:, None])[..., 0] if b.ndim == 1 else linalg.solve(a, b)


@implements(np.linalg.inv)
def inv(a: Any) -> Any:
    a = as_float(a)
    return linalg.solve(a, np.eye(a.shape[-1], dtype=a.dtype))


@implements(np.linalg.slogdet)
def slogdet(a: Any) -> Any:
    a = as_float(a)
    named: Any = type(np.linalg.slogdet(np.eye(1)))
    return named(linalg.det_sign(a), linalg.log_abs_det(a))


@implements(np.linalg.det)
def det(a: Any) -> Any:
    return linalg.det(as_float(a))


@implements(np.linalg.cholesky)
def cholesky(a: Any, /, *, upper: bool = False) -> Any:
    a = as_float(a)
    if upper:  # NumPy reads the upper triangle then
        return np.swapaxes(linalg.cholesky(np.swapaxes(a, -1, -2)), -1, -2)
    return linalg.cholesky(a)

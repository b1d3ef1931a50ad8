"""Numbers of places and parts of numbers: flat positions, mantissas, neighbours."""

from __future__ import annotations

from typing import Any

import numpy as np

from pullback.core.array import Array, operand
from pullback.errors import TracedValueError
from pullback.numpy.arguments import concrete
from pullback.numpy.creation import asarray
from pullback.numpy.elements import as_float
from pullback.numpy.registry import implements

__all__: list[str] = []


def _check(numpys: Any, *args: Any) -> None:
    """Let NumPy refuse what is out of range, where values are known."""
    try:
        plain = [concrete(a, "a position") for a in args]
    except TracedValueError:
        return
    numpys(*plain)


@implements(np.unravel_index)
def unravel_index(indices: Any, shape: Any, order: str = "C") -> tuple[Any, ...]:
    shape = (shape,) if isinstance(shape, (int, np.integer)) else tuple(shape)
    _check(np.unravel_index, indices, shape, order)
    rest, places = operand(indices), []
    for n in shape if order == "F" else shape[::-1]:
        places.append(np.remainder(rest, n))
        rest = np.floor_divide(rest, n)
    return tuple(places if order == "F" else places[::-1])


@implements(np.ravel_multi_index)
def ravel_multi_index(multi_index: Any, dims: Any, mode: Any = "raise", order: str = "C") -> Any:
    parts = [asarray(part) for part in multi_index]
    modes = mode if isinstance(mode, tuple) else (mode,) * len(parts)
    _check(np.ravel_multi_index, tuple(parts), dims, mode, order)
    bounded = [
        np.remainder(i, n) if m == "wrap" else np.clip(i, 0, n - 1) if m == "clip" else i
        for i, n, m in zip(parts, dims, modes, strict=True)
    ]
    pairs = list(zip(bounded, dims, strict=True))
    flat: Any = 0
    for part, n in pairs[::-1] if order == "F" else pairs:
        flat = flat * n + part
    return flat


@implements(np.frexp)
def frexp(x: Any) -> tuple[Any, Any]:
    """``x = mantissa 2^exponent``; the exponent is a step function, the mantissa has its slope."""
    x = as_float(x)
    exponent = np.frexp(concrete(x, "np.frexp"))[1]
    half = exponent // 2  # in two steps, so that neither factor overflows
    scales = (np.exp2(-np.asarray(n, x.dtype)) for n in (half, exponent - half))
    first, second = scales
    return x * first * second, exponent


@implements(np.nextafter)
def nextafter(x1: Any, x2: Any) -> Any:
    """The neighbour of ``x1`` towards ``x2``: ``x1`` and a step that does not depend on it."""
    start, end = (concrete(operand(x), "np.nextafter") for x in (x1, x2))
    neighbour = np.nextafter(start, end)
    return x1 + (neighbour - start) if type(x1) is Array else neighbour

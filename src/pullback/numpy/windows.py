"""Windows that slide over an array."""

from __future__ import annotations

from typing import Any

import numpy as np

from pullback.core.alias import view
from pullback.core.array import Array, operand
from pullback.numpy.arguments import normalize_axis, unsupported
from pullback.numpy.registry import implements
from pullback.numpy.twins import replaces

__all__: list[str] = []

_numpys: Any = np.lib.stride_tricks.sliding_window_view


@implements(_numpys)
def sliding_window_view(
    x: Any, window_shape: Any, axis: Any = None, *, subok: bool = False, writeable: bool = False
) -> Any:
    """As NumPy's, a view that sees later writes to ``x``; it cannot be written itself."""
    x = operand(x)
    if writeable:
        raise unsupported(
            "sliding_window_view with writeable=True", "assign to the array that it is a view of"
        )
    lengths = tuple(window_shape) if np.iterable(window_shape) else (window_shape,)
    if any(n < 0 for n in lengths):
        raise ValueError("`window_shape` cannot contain negative values")
    axes = range(x.ndim) if axis is None else axis if np.iterable(axis) else (axis,)
    axes = tuple(normalize_axis(i, x.ndim) for i in axes)
    if axis is None and len(axes) != len(lengths):
        raise ValueError(
            "Since axis is `None`, must provide window_shape for all dimensions of `x`; "
            f"got {len(lengths)} window_shape elements and `x.ndim` is {x.ndim}."
        )
    if len(axes) != len(lengths):
        raise ValueError(
            f"Must provide matching length window_shape and axis; got {len(lengths)} "
            f"window_shape elements and {len(axes)} axes elements."
        )

    def windows(base: Any) -> Any:
        if type(base) is not Array:
            return _numpys(base, lengths, axes)
        for n, i in zip(lengths, axes, strict=True):
            starts = np.arange(base.shape[i] - n + 1)
            if not len(starts):
                raise ValueError("window shape cannot be larger than input array shape")
            base = np.moveaxis(np.take(base, starts[:, None] + np.arange(n), i), i + 1, -1)
        return base

    return view(x, windows, None)


@replaces(np.lib.stride_tricks.as_strided)
def as_strided(x: Any, *args: Any, **options: Any) -> Any:
    """As ``numpy.lib.stride_tricks.as_strided``; a traced array has no strides and is refused."""
    if type(x) is Array:
        raise unsupported("as_strided", "use sliding_window_view, slices, or an integer index")
    return np.lib.stride_tricks.as_strided(x, *args, **options)

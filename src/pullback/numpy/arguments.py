"""What NumPy's functions have in common: ``axis=``, ``dtype=``, ``out=``, plain values."""

from __future__ import annotations

from typing import Any

import numpy as np

from pullback.core.alias import write
from pullback.core.array import Array
from pullback.core.source import here
from pullback.core.trace import EVALUATE
from pullback.core.types import type_of
from pullback.errors import TracedValueError, UnsupportedError

__all__ = [
    "concrete",
    "finish",
    "folded_axes",
    "given",
    "into",
    "line",
    "normalize_axes",
    "normalize_axis",
    "stand_in",
    "unsupported",
]


def given(value: Any) -> bool:
    """Whether an optional argument was passed; NumPy marks its absence in two ways."""
    return value is not None and value is not np._NoValue


def normalize_axis(axis: int, ndim: int) -> int:
    """``axis`` counted from the front; raises ``AxisError`` as NumPy does."""
    if not -ndim <= axis < ndim:
        raise np.exceptions.AxisError(axis, ndim)
    return int(axis) % ndim


def normalize_axes(axis: Any, ndim: int) -> tuple[int, ...]:
    """``axis`` as a sorted tuple of non-negative integers; ``None`` means all."""
    if axis is None:
        return tuple(range(ndim))
    if not isinstance(axis, (tuple, list)):
        return (normalize_axis(axis, ndim),)
    axes = tuple(sorted(normalize_axis(a, ndim) for a in axis))
    if len(set(axes)) != len(axes):
        raise ValueError("duplicate value in 'axis'")
    return axes


def folded_axes(axis: Any, ndim: int) -> tuple[int, ...]:
    """The same for a fold: ``axis`` 0 and -1 of a number, which has none, mean nothing to fold."""
    return normalize_axes(() if not ndim and axis in (0, -1) else axis, ndim)


def line(a: Any, axis: int | None) -> tuple[Any, int]:
    """``a`` and which of its axes to go along; ``None`` means all in a row, as does a number."""
    if axis is None or (not a.ndim and axis in (0, -1)):
        return np.ravel(a), 0
    return a, normalize_axis(axis, a.ndim)


def finish(result: Any, dtype: Any, out: Any) -> Any:
    """Apply NumPy's ``dtype=`` and ``out=``."""
    if dtype is not None and result.dtype != dtype:
        result = result.astype(dtype)
    return result if out is None else into(out, result)


def into(out: Any, result: Any) -> Any:
    """Write ``result`` into ``out`` in place, and return ``out``.

    Raises:
        TracedValueError: if ``out`` is a plain array, which would lose the derivative.
    """
    if isinstance(out, tuple):
        if len(out) > 1:
            return tuple(r if o is None else into(o, r) for o, r in zip(out, result, strict=True))
        (out,) = out
    if type(out) is not Array:
        if type(result) is Array and result.trace is not EVALUATE:
            raise TracedValueError(
                "a traced value is written into a plain NumPy array, which cannot hold it",
                where=str(here()),
                details=[f"value: {type_of(result)}"],
                fix="create the array with 'import pullback.numpy as np', or drop out=",
            )
        out[...] = result.value if type(result) is Array else result
        return out
    if np.shape(result) != out.shape:
        raise ValueError(
            f"non-broadcastable output operand with shape {out.shape} doesn't match the "
            f"broadcast shape {np.shape(result)}"
        )
    write(out, result)
    return out


def concrete(value: Any, purpose: str) -> Any:
    """The plain value behind ``value``; nested sequences keep their structure.

    Raises:
        StagingError: while only shapes are known.
        TracedValueError: under vmap, where one value stands for many.
    """
    if type(value) is Array:
        return value.trace.concrete(value.frozen(), purpose)
    if isinstance(value, (list, tuple)):
        return type(value)([concrete(part, purpose) for part in value])
    return value


def stand_in(value: Any) -> Any:
    """What NumPy is asked with about dtypes: ones of the same shape and dtype, or a number."""
    if type(value) is Array:
        return np.ones(value.shape, value.dtype)
    return value


def unsupported(what: str, fix: str) -> UnsupportedError:
    """The refusal of an option that has no traced form."""
    return UnsupportedError(f"{what} has no traced form", where=str(here()), fix=fix)

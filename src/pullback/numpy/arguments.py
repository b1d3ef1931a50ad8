"""What NumPy's functions have in common: ``axis=``, ``dtype=``, ``out=``, plain values."""

from __future__ import annotations

from typing import Any

import numpy as np

from pullback.core.alias import Alias, memory, write
from pullback.core.array import Array
from pullback.core.source import here
from pullback.core.strides import contiguous
from pullback.core.trace import EVALUATE
from pullback.core.types import type_of
from pullback.errors import TracedValueError, UnsupportedError

__all__ = [
    "concrete",
    "finish",
    "folded_axes",
    "given",
    "in_order",
    "into",
    "lies_in",
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


def finish(result: Any, dtype: Any, out: Any, is_broadcast: bool = False) -> Any:
    """Apply NumPy's ``dtype=`` and ``out=``; without axes and ``out=`` the result is a scalar."""
    if out is None and type(result) is Array and result.alias is not None and not result.shape:
        result = result.frozen()
    if dtype is not None and result.dtype != dtype:
        result = result.astype(dtype)
    return result if out is None else into(out, result, is_broadcast)


def into(out: Any, result: Any, is_broadcast: bool = False) -> Any:
    """Write ``result`` into ``out`` in place, and return ``out``; as ufuncs do, broadcast.

    Raises:
        TracedValueError: if ``out`` is a plain array, which would lose the derivative.
    """
    if isinstance(out, tuple):
        if len(out) > 1:
            return tuple(
                r if o is None else into(o, r, is_broadcast)
                for o, r in zip(out, result, strict=True)
            )
        (out,) = out
    if type(out) is not Array:
        if type(result) is Array and result.traced_by is not EVALUATE:
            raise TracedValueError(
                "a traced value is written into a plain NumPy array, which cannot hold it",
                where=str(here()),
                details=[f"value: {type_of(result)}"],
                fix="create the array with 'import pullback.numpy as np', or drop out=",
            )
        out[...] = result.value if type(result) is Array else result
        return out
    if is_broadcast and np.broadcast_shapes(np.shape(result), out.shape) == out.shape:
        result = np.broadcast_to(result, out.shape)
    if np.shape(result) != out.shape:
        raise ValueError(
            f"non-broadcastable output operand with shape {out.shape} doesn't match the "
            f"broadcast shape {np.shape(result)}"
        )
    write(out, result)
    return out


def in_order(result: Any, order: str | None = "C", like: Any = None) -> Any:
    """``result`` as an array of its own that lies in memory as ``order=`` says.

    ``K`` is the order of ``like``, and ``A`` that of Fortran only if ``like`` lies so.
    """
    if type(result) is not Array:
        return result
    if result.alias is not None and result.alias.parent is not None:
        result = result.frozen()
    if result.ndim < 2:
        return result
    plain = memory(like) if type(like) is Array else like
    if order in (None, "A") and plain is not None:
        order = "F" if plain.flags.f_contiguous and not plain.flags.c_contiguous else "C"
    type_ = result.traced_by.type_of(result)
    if order == "K" and plain is not None and plain.shape == result.shape:
        strides = np.empty_like(plain, result.dtype).strides
    elif order == "F":
        strides = contiguous(type_.with_shape(result.shape[::-1]))[::-1]
    else:
        strides = contiguous(type_)
    result.alias = Alias(strides=strides)
    if order != "K" or result.traced_by is EVALUATE:
        result.traced_by.lay(result, strides)
    return result


def lies_in(a: Any, order: str | None) -> bool:
    """Whether the elements of ``a`` lie in memory as ``order=`` asks for."""
    if order in (None, "K", "A") or a.ndim == 0:
        return True
    flags = (memory(a) if type(a) is Array else a).flags
    return bool(flags.f_contiguous if order == "F" else flags.c_contiguous)


def concrete(value: Any, purpose: str) -> Any:
    """The plain value behind ``value``; nested sequences keep their structure.

    Raises:
        StagingError: while only shapes are known.
        TracedValueError: under vmap, where one value stands for many.
    """
    if type(value) is Array:
        return value.traced_by.concrete(value.frozen(), purpose)
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

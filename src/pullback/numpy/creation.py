"""Arrays made inside a traced function: buffers that may later hold traced values."""

from __future__ import annotations

from typing import Any

import numpy as np

from pullback.core.array import Array, parts
from pullback.core.trace import EVALUATE, current_trace
from pullback.numpy.registry import implements

__all__ = [
    "array",
    "asanyarray",
    "asarray",
    "ascontiguousarray",
    "empty",
    "empty_like",
    "eye",
    "full",
    "full_like",
    "identity",
    "ones",
    "ones_like",
    "tri",
    "zeros",
    "zeros_like",
]


def buffer(value: Any) -> Any:
    """``value`` as it is outside of any transform; inside, as an array that records writes."""
    return value if current_trace() is EVALUATE else Array(EVALUATE, value)


def empty(shape: Any, dtype: Any = float, order: str = "C") -> Any:
    """As ``numpy.empty``; inside a transform, assignments into it are recorded."""
    return buffer(np.zeros(shape, dtype))


def zeros(shape: Any, dtype: Any = float, order: str = "C") -> Any:
    """As ``numpy.zeros``; inside a transform, assignments into it are recorded.

    >>> import pullback as pb
    >>> import pullback.numpy as np
    >>> def f(x):
    ...     out = np.zeros(2)
    ...     out[0] = x**2
    ...     return out.sum()
    >>> float(pb.grad(f)(3.0))
    6.0
    """
    return buffer(np.zeros(shape, dtype))


def ones(shape: Any, dtype: Any = float, order: str = "C") -> Any:
    """As ``numpy.ones``; inside a transform, assignments into it are recorded."""
    return buffer(np.ones(shape, dtype))


def full(shape: Any, fill_value: Any, dtype: Any = None, order: str = "C") -> Any:
    """As ``numpy.full``; the fill value may be traced."""
    if type(fill_value) is not Array:
        return buffer(np.full(shape, fill_value, dtype))
    filled = np.broadcast_to(fill_value, shape).copy()
    return filled if dtype is None else filled.astype(dtype)


def eye(N: int, M: int | None = None, k: int = 0, dtype: Any = float, order: str = "C") -> Any:  # noqa: N803
    """As ``numpy.eye``; inside a transform, assignments into it are recorded."""
    return buffer(np.eye(N, M, k, dtype))


def identity(n: int, dtype: Any = float) -> Any:
    """As ``numpy.identity``; inside a transform, assignments into it are recorded."""
    return buffer(np.identity(n, dtype))


def tri(N: int, M: int | None = None, k: int = 0, dtype: Any = float) -> Any:  # noqa: N803
    """As ``numpy.tri``; inside a transform, assignments into it are recorded."""
    return buffer(np.tri(N, M, k, dtype))


@implements(np.empty_like, np.zeros_like)
def zeros_like(
    a: Any,
    dtype: Any = None,
    order: str = "K",
    subok: bool = True,
    shape: Any = None,
    *,
    device: Any = None,
) -> Any:
    """As ``numpy.zeros_like``; inside a transform, assignments into it are recorded."""
    if not isinstance(a, Array):
        a = np.asarray(a)
    return buffer(np.zeros(a.shape if shape is None else shape, dtype or a.dtype))


empty_like = zeros_like


@implements(np.ones_like)
def ones_like(
    a: Any,
    dtype: Any = None,
    order: str = "K",
    subok: bool = True,
    shape: Any = None,
    *,
    device: Any = None,
) -> Any:
    """As ``numpy.ones_like``; inside a transform, assignments into it are recorded."""
    return full_like(a, 1, dtype, shape=shape)


@implements(np.full_like)
def full_like(
    a: Any,
    fill_value: Any,
    dtype: Any = None,
    order: str = "K",
    subok: bool = True,
    shape: Any = None,
    *,
    device: Any = None,
) -> Any:
    """As ``numpy.full_like``; the fill value may be traced."""
    if not isinstance(a, Array):
        a = np.asarray(a)
    return full(a.shape if shape is None else shape, fill_value, dtype or a.dtype)


@implements(np.array)
def array(
    object: Any,
    dtype: Any = None,
    *,
    copy: bool | None = True,
    order: str = "K",
    subok: bool = False,
    ndmin: int = 0,
    like: Any = None,
) -> Any:
    """As ``numpy.array``; nested sequences may hold traced values."""
    if type(object) is Array:
        result = object.copy() if copy else object
    elif any(type(part) is Array for part in parts(object)):
        result = np.stack([array(part) if type(part) is not Array else part for part in object])
    else:
        return buffer(np.array(object, dtype=dtype, ndmin=ndmin))
    if dtype is not None and result.dtype != dtype:
        result = result.astype(dtype)
    while result.ndim < ndmin:
        result = result[None]
    return result


@implements(np.asarray, np.asanyarray, np.ascontiguousarray)
def asarray(
    a: Any,
    dtype: Any = None,
    order: Any = None,
    *,
    copy: bool | None = None,
    device: Any = None,
    like: Any = None,
) -> Any:
    """As ``numpy.asarray``; nested sequences may hold traced values."""
    if isinstance(a, np.ndarray) and copy is not True and dtype in (None, a.dtype):
        return a
    return array(a, dtype, copy=copy)


asanyarray = ascontiguousarray = asarray

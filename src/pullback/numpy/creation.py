"""Arrays made inside a traced function: buffers that may later hold traced values.

Outside of any transform each function is NumPy's, with every argument.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from pullback.core.alias import as_memory, is_scalar, memory
from pullback.core.array import Array, parts
from pullback.core.trace import EVALUATE, current_trace
from pullback.numpy.arguments import in_order, lies_in
from pullback.numpy.registry import implements

__all__ = [
    "arange",
    "array",
    "asanyarray",
    "asarray",
    "ascontiguousarray",
    "asfortranarray",
    "empty",
    "empty_like",
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
    "logspace",
    "ones",
    "ones_like",
    "tri",
    "zeros",
    "zeros_like",
]


def buffer(value: Any) -> Any:
    """``value`` as it is outside of any transform; inside, as an array that records writes."""
    if current_trace() is EVALUATE:
        return value
    if isinstance(value, tuple):
        return tuple(map(buffer, value))
    return as_memory(Array(EVALUATE, value)) if type(value) is np.ndarray else value


def recorded(function: Callable[..., Any]) -> Callable[..., Any]:
    """NumPy's ``function``; inside a transform, assignments into its result are recorded."""

    @wraps(function)
    def make(*args: Any, **kwargs: Any) -> Any:
        return buffer(function(*args, **kwargs))

    return make


arange = recorded(np.arange)
eye = recorded(np.eye)
frombuffer = recorded(np.frombuffer)
fromfunction = recorded(np.fromfunction)
fromiter = recorded(np.fromiter)
geomspace = recorded(np.geomspace)
identity = recorded(np.identity)
indices = recorded(np.indices)
linspace = recorded(np.linspace)
logspace = recorded(np.logspace)
ones = recorded(np.ones)
tri = recorded(np.tri)


def zeros(shape: Any, dtype: Any = float, order: Any = "C", **options: Any) -> Any:
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
    return buffer(np.zeros(shape, dtype, order, **options))


def empty(shape: Any, dtype: Any = float, order: Any = "C", **options: Any) -> Any:
    """As ``numpy.empty``; inside a transform it holds zeros, and assignments are recorded."""
    inside = current_trace() is not EVALUATE
    return (zeros if inside else np.empty)(shape, dtype, order, **options)


def full(shape: Any, fill_value: Any, dtype: Any = None, order: Any = "C", **options: Any) -> Any:
    """As ``numpy.full``; the fill value may be traced."""
    if type(fill_value) is not Array:
        return buffer(np.full(shape, fill_value, dtype, order, **options))
    filled = np.broadcast_to(fill_value, shape).copy(order)
    return filled if dtype is None else filled.astype(dtype)


def _like(function: Any) -> Callable[..., Any]:
    """The form of ``zeros_like`` and its kin, with NumPy's arguments."""

    @implements(function)
    @wraps(function)
    def like(
        a: Any,
        dtype: Any = None,
        order: Any = "K",
        subok: bool = True,
        shape: Any = None,
        *,
        device: Any = None,
    ) -> Any:
        if not isinstance(a, Array):
            a = asanyarray(a)
        if not isinstance(a, Array):
            return buffer(function(a, dtype, order, subok, shape, device=device))
        make = np.zeros_like if function is np.empty_like else function
        return buffer(make(memory(a), dtype, order, subok, shape, device=device))

    return like


zeros_like = _like(np.zeros_like)
ones_like = _like(np.ones_like)
empty_like = _like(np.empty_like)


@implements(np.full_like)
def full_like(
    a: Any,
    fill_value: Any,
    dtype: Any = None,
    order: Any = "K",
    subok: bool = True,
    shape: Any = None,
    *,
    device: Any = None,
) -> Any:
    """As ``numpy.full_like``; the fill value may be traced."""
    if not isinstance(a, Array):
        a = asanyarray(a)
    if not isinstance(a, Array) and type(fill_value) is not Array:
        return buffer(np.full_like(a, fill_value, dtype, order, subok, shape, device=device))
    filled = empty_like(a, dtype, order, subok, shape)
    filled[...] = fill_value
    return filled


def holds_traced(value: Any) -> bool:
    """Whether a value is traced, or a nested sequence with a traced one in it."""
    return any(type(part) is Array for part in parts(value))


@implements(np.array)
def array(
    object: Any,
    dtype: Any = None,
    *,
    copy: bool | None = True,
    order: Any = "K",
    subok: bool = False,
    ndmin: int = 0,
    like: Any = None,
) -> Any:
    """As ``numpy.array``; nested sequences may hold traced values."""
    if type(object) is Array:
        fits = lies_in(object, order) and dtype in (None, object.dtype)
        if copy is False and not fits:
            raise ValueError("Unable to avoid copy while creating an array as requested.")
        result: Any = object if fits and not copy else np.copy(object, order)
        if is_scalar(result):
            result = as_memory(result.frozen())
    elif holds_traced(object):
        result = np.stack([array(part) if type(part) is not Array else part for part in object])
        result = in_order(result, "F" if order == "F" else "C")
    else:
        options = {} if like is None else {"like": like}
        return buffer(
            np.array(object, dtype, copy=copy, order=order, subok=subok, ndmin=ndmin, **options)
        )
    if dtype is not None and result.dtype != dtype:
        result = result.astype(dtype, order)
    while result.ndim < ndmin:
        result = result[None]
    return result


def _as_array(function: Any, layout: str = "K", ndmin: int = 0) -> Callable[..., Any]:
    """The form of ``asarray`` and its kin: an array that is one already stays what it is."""

    @implements(function)
    @wraps(function)
    def convert(a: Any, dtype: Any = None, *args: Any, **options: Any) -> Any:
        if type(a) is Array or holds_traced(a):
            order = (args[0] if args else options.get("order")) or layout
            return array(a, dtype, copy=options.get("copy"), order=order, ndmin=ndmin)
        plain = function(a, dtype, *args, **options)
        return plain if isinstance(a, np.ndarray) else buffer(plain)

    return convert


asarray = _as_array(np.asarray)
asanyarray = _as_array(np.asanyarray)
ascontiguousarray = _as_array(np.ascontiguousarray, "C", ndmin=1)
asfortranarray = _as_array(np.asfortranarray, "F", ndmin=1)

# ``np.zeros(n, like=x)`` and its kin ask the array that they shall be like.
for _name in ("arange", "empty", "eye", "full", "identity", "ones", "tri", "zeros"):
    implements(getattr(np, _name))(globals()[_name])

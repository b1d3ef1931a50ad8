"""NumPy's functions on traced arrays: shapes, joins, reductions, selection."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from pullback.core.array import (
    EVALUATE,
    Array,
    functions,
    operand,
    ufunc_methods,
    ufuncs,
    view,
    write,
)
from pullback.core.source import here
from pullback.core.types import type_of
from pullback.errors import TracedValueError, UnsupportedError
from pullback.numpy.registry import implements
from pullback.ops import arithmetic, contract, index, reduce, shape

__all__ = ["logsumexp"]


def normalize_axes(axis: Any, ndim: int) -> tuple[int, ...]:
    """``axis`` as a sorted tuple of non-negative integers; ``None`` means all."""
    if axis is None:
        return tuple(range(ndim))
    axes = axis if isinstance(axis, (tuple, list)) else (axis,)
    return tuple(sorted(normalize_axis(int(a), ndim) for a in axes))


def normalize_axis(axis: int, ndim: int) -> int:
    if not -ndim <= axis < ndim:
        raise np.exceptions.AxisError(axis, ndim)
    return axis % ndim


# -- shape ----------------------------------------------------------------------------------------
@implements(np.shape)
def shape_(a: Any) -> Any:
    return a.shape


@implements(np.ndim)
def ndim(a: Any) -> int:
    n: int = a.ndim
    return n


@implements(np.size)
def size(a: Any, axis: int | None = None) -> int:
    n: int = a.size if axis is None else a.shape[axis]
    return n


def _is_viewable(x: Any, new: tuple[int, ...]) -> bool:
    """Whether NumPy's reshape of an array with the layout of ``x`` would be a view."""
    return (
        x.alias is None
        or x.alias.parent is None
        or (_layout(x) is not None and _fits(_layout(x), new))
    )


def _layout(x: Any) -> Any:
    """An array of one byte that has the shape and strides of ``x``, computed through its views."""
    if x.alias is None or x.alias.parent is None:
        strides = np.cumprod((1, *x.shape[:0:-1]))[::-1] if x.shape else ()
        return np.lib.stride_tricks.as_strided(np.zeros(1, np.int8), x.shape, strides)
    return x.alias.get(_layout(x.alias.parent))


def _fits(layout: Any, new: tuple[int, ...]) -> bool:
    try:
        np.reshape(layout, new, copy=False)
    except ValueError:
        return False
    return True


@implements(np.reshape)
def reshape(a: Any, /, shape: Any = None, order: str = "C", *, copy: bool | None = None) -> Any:
    a = operand(a)
    if order not in ("C", "A"):
        raise UnsupportedError(
            f"reshape with order={order!r} has no traced form",
            where=str(here()),
            fix="transpose first, then reshape in row-major order",
        )
    new = (int(shape),) if isinstance(shape, (int, np.integer)) else tuple(int(n) for n in shape)
    if -1 in new:
        known = math.prod([n for n in new if n != -1])
        new = tuple(a.size // known if n == -1 and known else n for n in new)
    if math.prod(new) != a.size:
        raise ValueError(f"cannot reshape array of size {a.size} into shape {new}")
    old = a.shape
    if old == new and copy is not True:
        return view(a, lambda base: shape_op(base, new), lambda base, value: value)
    if copy is True or (type(a) is Array and not _is_viewable(a, new)):
        return shape_op(a, new)
    return view(a, lambda base: shape_op(base, new), lambda base, value: shape_op(value, old))


def shape_op(a: Any, new: tuple[int, ...]) -> Any:
    return shape.reshape(a, shape=new)


@implements(method="reshape")
def reshape_method(a: Any, *new: Any, order: str = "C", copy: bool | None = None) -> Any:
    return reshape(a, new[0] if len(new) == 1 else new, order, copy=copy)


@implements(np.ravel, method="ravel")
def ravel(a: Any, order: str = "C") -> Any:
    return reshape(a, (-1,) if a.size else (0,), order)


@implements(method="flatten")
def flatten(a: Any, order: str = "C") -> Any:
    return reshape(a, (-1,) if a.size else (0,), order, copy=True)


def permute(a: Any, axes: tuple[int, ...]) -> Any:
    inverse = tuple(int(i) for i in np.argsort(axes))
    return view(
        a,
        lambda base: shape.transpose(base, axes=axes),
        lambda base, value: shape.transpose(value, axes=inverse),
    )


@implements(np.transpose, np.permute_dims)
def transpose(a: Any, axes: Sequence[int] | None = None) -> Any:
    n = a.ndim
    order = (
        tuple(range(n))[::-1] if axes is None else tuple(normalize_axis(int(i), n) for i in axes)
    )
    if sorted(order) != list(range(n)):
        raise ValueError("axes don't match array")
    return permute(a, order)


@implements(method="transpose")
def transpose_method(a: Any, *axes: Any) -> Any:
    if len(axes) == 1 and (axes[0] is None or isinstance(axes[0], (tuple, list))):
        return transpose(a, axes[0])
    return transpose(a, axes or None)


@implements(np.swapaxes, method="swapaxes")
def swapaxes(a: Any, axis1: int, axis2: int) -> Any:
    order = list(range(a.ndim))
    i, j = normalize_axis(axis1, a.ndim), normalize_axis(axis2, a.ndim)
    order[i], order[j] = j, i
    return permute(a, tuple(order))


@implements(np.matrix_transpose)
def matrix_transpose(x: Any, /) -> Any:
    return swapaxes(x, -1, -2)


@implements(np.moveaxis)
def moveaxis(a: Any, source: Any, destination: Any) -> Any:
    sources, targets = (
        [
            normalize_axis(int(i), a.ndim)
            for i in (axes if isinstance(axes, tuple | list) else (axes,))
        ]
        for axes in (source, destination)
    )
    order = [i for i in range(a.ndim) if i not in sources]
    for target, origin in sorted(zip(targets, sources, strict=True)):
        order.insert(target, origin)
    return permute(a, tuple(order))


@implements(np.expand_dims)
def expand_dims(a: Any, axis: Any) -> Any:
    axes = axis if isinstance(axis, (tuple, list)) else (axis,)
    places = [normalize_axis(int(i), a.ndim + len(axes)) for i in axes]
    key = tuple(None if i in places else slice(None) for i in range(a.ndim + len(axes)))
    return a[key]


@implements(np.squeeze, method="squeeze")
def squeeze(a: Any, axis: Any = None) -> Any:
    axes = (
        [i for i, n in enumerate(a.shape) if n == 1]
        if axis is None
        else normalize_axes(axis, a.ndim)
    )
    if any(a.shape[i] != 1 for i in axes):
        raise ValueError("cannot select an axis to squeeze out which has size not equal to one")
    return a[tuple(0 if i in axes else slice(None) for i in range(a.ndim)) or Ellipsis]


@implements(np.broadcast_to)
def broadcast_to(array: Any, shape: Any, subok: bool = False) -> Any:
    new = (int(shape),) if isinstance(shape, (int, np.integer)) else tuple(int(n) for n in shape)
    if np.broadcast_shapes(array.shape, new) != new:
        raise ValueError(f"cannot broadcast shape {array.shape} to {new}")
    return view(array, lambda base: shape_to(base, new), None)


def shape_to(a: Any, new: tuple[int, ...]) -> Any:
    return shape.broadcast_to(a, shape=new)


@implements(method="astype")
def astype(
    a: Any,
    dtype: Any,
    order: str = "K",
    casting: str = "unsafe",
    subok: bool = True,
    copy: bool = True,
) -> Any:
    dtype = np.dtype(dtype)
    if dtype == a.dtype and not copy:
        return a
    if dtype.kind not in "biuf":
        type_of(np.zeros(0, dtype))
    if a.dtype.kind == "f" and dtype.kind in "iub" and a.trace is not EVALUATE:
        a = arithmetic.whole_part(a)
    return shape.astype(a, dtype=dtype)


@implements(np.copy, method="copy")
def copy(a: Any, order: str = "K", subok: bool = False) -> Any:
    return a.frozen()


# -- joins ----------------------------------------------------------------------------------------
@implements(np.concatenate)
def concatenate(
    arrays: Any,
    axis: int | None = 0,
    out: Any = None,
    *,
    dtype: Any = None,
    casting: str = "same_kind",
) -> Any:
    parts = [operand(a) for a in arrays]
    if axis is None:
        parts, axis = [np.ravel(a) for a in parts], 0
    result = shape.concatenate(*parts, axis=normalize_axis(axis, np.ndim(parts[0])))
    return finish(result, dtype, out)


@implements(np.stack)
def stack(
    arrays: Any, axis: int = 0, out: Any = None, *, dtype: Any = None, casting: str = "same_kind"
) -> Any:
    parts = [operand(a) for a in arrays]
    shapes = {np.shape(a) for a in parts}
    if len(shapes) != 1:
        raise ValueError("all input arrays must have the same shape")
    place = normalize_axis(axis, np.ndim(parts[0]) + 1)
    return concatenate([np.expand_dims(a, place) for a in parts], place, out, dtype=dtype)


def finish(result: Any, dtype: Any, out: Any) -> Any:
    """Apply NumPy's ``dtype=`` and ``out=``."""
    if dtype is not None and result.dtype != dtype:
        result = result.astype(dtype)
    return result if out is None else into(out, result)


def into(out: Any, result: Any) -> Any:
    """Write ``result`` into ``out`` in place, and return ``out``."""
    if isinstance(out, tuple):
        (out,) = out
    if type(out) is not Array:
        if type(result) is Array and result.trace is not EVALUATE:
            raise TracedValueError(
                "out= is a plain NumPy array, which cannot hold a traced value",
                where=str(here()),
                details=[f"value: {type_of(result)}"],
                fix="drop out=, or create the buffer with 'import pullback.numpy as np'",
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


# -- reductions -----------------------------------------------------------------------------------
def reduced(primitive: Any, a: Any, axis: Any, keepdims: bool, **params: Any) -> Any:
    """Apply a reduction primitive with NumPy's ``axis`` and ``keepdims``."""
    axes = normalize_axes(axis, a.ndim)
    result = primitive(a, axis=axes, **params)
    if keepdims:
        result = np.reshape(result, tuple(1 if i in axes else n for i, n in enumerate(a.shape)))
    return result


@implements(np.sum, method="sum")
def sum(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = None,
) -> Any:
    a = operand(a)
    if where is not None:
        a = np.where(where, a, 0)
    if dtype is not None:
        a = a.astype(dtype)
    result = reduced(reduce.sum, a, axis, keepdims)
    if initial is not None:
        result = result + initial
    return result if out is None else into(out, result)


@implements(np.mean, method="mean")
def mean(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    keepdims: bool = False,
    *,
    where: Any = None,
) -> Any:
    if where is not None:
        total = sum(a, axis, dtype, None, keepdims, where=where)
        return finish(
            total / np.sum(np.broadcast_to(where, a.shape), axis, keepdims=keepdims), None, out
        )
    if dtype is None and a.dtype.kind != "f":
        dtype = np.float64
    if dtype is not None:
        a = a.astype(dtype)
    n = a.size if axis is None else math.prod([a.shape[i] for i in normalize_axes(axis, a.ndim)])
    result = reduced(reduce.sum, a, axis, keepdims) / n
    return result if out is None else into(out, result)


@implements(np.max, np.amax, method="max")
def max(
    a: Any,
    axis: Any = None,
    out: Any = None,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = None,
) -> Any:
    result = reduced(reduce.max, a, axis, keepdims)
    return finish(result if initial is None else np.maximum(result, initial), None, out)


@implements(np.var, method="var")
def var(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    ddof: int = 0,
    keepdims: bool = False,
    **unused: Any,
) -> Any:
    return finish(reduced(reduce.var, a, axis, keepdims, ddof=ddof), dtype, out)


def logsumexp(a: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """``log(sum(exp(a)))`` over ``axis`` without overflow; the gradient is the softmax.

    >>> import pullback.numpy as np
    >>> float(np.logsumexp(np.array([1000.0, 1000.0])))
    1000.6931471805599
    """
    return reduced(reduce.logsumexp, operand(a), axis, keepdims)


@implements(np.argmax, method="argmax")
def argmax(a: Any, axis: int | None = None, out: Any = None, *, keepdims: bool = False) -> Any:
    if axis is None:
        a, axis = np.ravel(a), 0
    return reduced(reduce.argmax, a, axis, keepdims)


# -- selection and order --------------------------------------------------------------------------
@implements(np.where)
def where(condition: Any, x: Any = None, y: Any = None, /) -> Any:
    if x is None:
        return np.nonzero(condition)
    return arithmetic.select(operand(condition), operand(x), operand(y))


@implements(np.argsort, method="argsort")
def argsort(
    a: Any,
    axis: int | None = -1,
    kind: Any = None,
    order: Any = None,
    *,
    stable: bool | None = None,
) -> Any:
    if axis is None:
        a, axis = np.ravel(a), 0
    return index.argsort(a, axis=normalize_axis(axis, a.ndim))


@implements(np.matmul)
def matmul(x1: Any, x2: Any) -> Any:
    return contract.matmul(x1, x2)


# -- ufunc call options and methods ---------------------------------------------------------------
def call_with_options(
    function: Any,
    *operands: Any,
    out: Any = None,
    where: Any = True,
    dtype: Any = None,
    casting: str = "same_kind",
    **options: Any,
) -> Any:
    """``np.ufunc(x, out=, where=, dtype=)``."""
    if where is not True and out is None:
        raise UnsupportedError(
            "a ufunc with where= and without out= leaves values undefined",
            where=str(here()),
            fix="use np.where(mask, function(x), default)",
        )
    result = function(*operands)
    if where is not True:
        result = np.where(where, result, out[0] if type(out[0]) is not Array else out[0].frozen())
    return finish(result, dtype, out)


ufunc_methods["__call__"] = call_with_options
_ = (functions, ufuncs)

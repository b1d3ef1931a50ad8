"""Shape, layout and type of an array: views where NumPy has views, copies where it copies."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from operator import index
from typing import Any

import numpy as np

from pullback.core.alias import as_memory, is_scalar, memory, view
from pullback.core.array import Array, operand
from pullback.core.trace import EVALUATE
from pullback.core.types import is_differentiable, type_of
from pullback.numpy.arguments import folded_axes, in_order, lies_in, normalize_axes, normalize_axis
from pullback.numpy.registry import implements
from pullback.ops import arithmetic
from pullback.ops import shape as shape_ops
from pullback.ops.index import scatter, scatter_add

__all__: list[str] = []


@implements(np.shape)
def shape_(a: Any) -> Any:
    return a.shape


@implements(np.ndim)
def ndim(a: Any) -> int:
    n: int = a.ndim
    return n


@implements(np.size)
def size(a: Any, axis: Any = None) -> int:
    axes = () if axis == () else normalize_axes(axis, a.ndim)
    return math.prod(a.shape[i] for i in axes)


@implements(np.reshape)
def reshape(a: Any, /, shape: Any = None, order: str = "C", *, copy: bool | None = None) -> Any:
    a = operand(a)
    new = _lengths(a, shape)
    if copy is not True and (type(a) is not Array or is_scalar(a) or _is_view(a, new, order)):
        return reordered(a, new, order, as_view=True)
    if copy is False:
        raise ValueError("Unable to avoid creating a copy while reshaping.")
    result = reordered(a, new, order, as_view=False)
    return as_memory(in_order(result, "F" if order == "F" else "C"))


def _lengths(a: Any, shape: Any) -> tuple[int, ...]:
    """The shape that is asked for, with -1 filled in."""
    new = (int(shape),) if isinstance(shape, (int, np.integer)) else tuple(index(n) for n in shape)
    if new.count(-1) == 1:
        known = math.prod([n for n in new if n != -1])
        new = tuple(a.size // known if n == -1 and known else n for n in new)
    if math.prod(new) != a.size or min(new, default=0) < 0:
        raise ValueError(f"cannot reshape array of size {a.size} into shape {new}")
    return new


def _axes_in(a: Any, order: str) -> tuple[int, ...]:
    """The axes of ``a`` from the slowest to the fastest, as ``order=`` reads the elements."""
    axes = tuple(range(a.ndim))
    if order in ("A", "K") and a.ndim > 1:
        plain = memory(a) if type(a) is Array else a
        if plain.flags.f_contiguous and not plain.flags.c_contiguous:
            return axes[::-1]
        if order == "K" and not plain.flags.c_contiguous:
            steps = np.abs(plain.strides)
            return tuple(sorted(axes, key=lambda i: -steps[i]))
    if order not in ("C", "A", "K", "F"):
        raise ValueError(f"order must be one of 'C', 'F', 'A', or 'K' (got {order!r})")
    return axes[::-1] if order == "F" else axes


def turned(a: Any, axes: tuple[int, ...]) -> Any:
    return a if axes == tuple(range(len(axes))) else shape_ops.transpose(a, axes=axes)


def reordered(a: Any, new: tuple[int, ...], order: str, as_view: bool) -> Any:
    """The elements of ``a``, read in ``order``, in the shape ``new`` filled in that order."""
    axes, filled, old = _axes_in(a, order), tuple(range(len(new))), a.shape
    if order == "F" or (order == "A" and a.ndim > 1 and axes[0] > 0):
        filled = filled[::-1]
    lengths, target = tuple(old[i] for i in axes), tuple(new[i] for i in filled)

    def read(base: Any) -> Any:
        return turned(shape_ops.reshape(turned(base, axes), shape=target), filled)

    def put(base: Any, value: Any) -> Any:
        value = shape_ops.reshape(turned(value, filled), shape=lengths)
        return turned(value, shape_ops.inverse(axes))

    return view(a, read, put) if as_view else read(a)


def _is_view(a: Array, new: tuple[int, ...], order: str) -> bool:
    """Whether NumPy's reshape of an array that lies in memory as ``a`` would be a view."""
    try:
        np.reshape(memory(a), new, order, copy=False)  # type: ignore[call-overload]
    except ValueError:
        return False
    return True


@implements(method="reshape")
def reshape_method(a: Any, *new: Any, order: str = "C", copy: bool | None = None) -> Any:
    return reshape(a, new[0] if len(new) == 1 else new, order, copy=copy)


@implements(np.ravel, method="ravel")
def ravel(a: Any, order: str = "C") -> Any:
    """A view if the elements lie in a row in that order, else a copy: stricter than ``reshape``."""
    a = operand(a)
    plain: Any = np.ravel
    as_view = type(a) is not Array or plain(memory(a), order).base is not None
    return reordered(a, (a.size,), order, as_view)


@implements(method="flatten")
def flatten(a: Any, order: str = "C") -> Any:
    return reordered(a, (a.size,), order, as_view=False)


def permute(a: Any, axes: tuple[int, ...]) -> Any:
    return view(
        a,
        lambda base: shape_ops.transpose(base, axes=axes),
        lambda base, value: shape_ops.transpose(value, axes=shape_ops.inverse(axes)),
    )


@implements(np.transpose, np.permute_dims)
def transpose(a: Any, axes: Sequence[int] | None = None) -> Any:
    n = a.ndim
    order = tuple(range(n))[::-1] if axes is None else tuple(normalize_axis(i, n) for i in axes)
    if sorted(order) != list(range(n)):
        raise ValueError("axes don't match array")
    return permute(a, order)


@implements(method="transpose")
def transpose_method(a: Any, *axes: Any) -> Any:
    if len(axes) == 1 and not isinstance(axes[0], (int, np.integer)):
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
        [normalize_axis(i, a.ndim) for i in (axes if isinstance(axes, tuple | list) else (axes,))]
        for axes in (source, destination)
    )
    order = [i for i in range(a.ndim) if i not in sources]
    for target, origin in sorted(zip(targets, sources, strict=True)):
        order.insert(target, origin)
    return permute(a, tuple(order))


@implements(np.expand_dims)
def expand_dims(a: Any, axis: Any) -> Any:
    axes = axis if isinstance(axis, (tuple, list)) else (axis,)
    places = [normalize_axis(i, a.ndim + len(axes)) for i in axes]
    key = tuple(None if i in places else slice(None) for i in range(a.ndim + len(axes)))
    return a[key]


@implements(np.squeeze, method="squeeze")
def squeeze(a: Any, axis: Any = None) -> Any:
    axes = (
        [i for i, n in enumerate(a.shape) if n == 1] if axis is None else folded_axes(axis, a.ndim)
    )
    if any(a.shape[i] != 1 for i in axes):
        raise ValueError("cannot select an axis to squeeze out which has size not equal to one")
    left = tuple(n for i, n in enumerate(a.shape) if i not in axes)
    return reordered(a, left, "C", as_view=True)


@implements(np.broadcast_to)
def broadcast_to(array: Any, shape: Any, subok: bool = False) -> Any:
    new = (int(shape),) if isinstance(shape, (int, np.integer)) else tuple(int(n) for n in shape)
    if np.broadcast_shapes(array.shape, new) != new:
        raise ValueError(f"cannot broadcast shape {array.shape} to {new}")
    if type(array) is Array and is_scalar(array):
        array = as_memory(array.frozen())
    return view(array, lambda base: shape_to(base, new), None)


def shape_to(a: Any, new: tuple[int, ...]) -> Any:
    return shape_ops.broadcast_to(a, shape=new)


@implements(np.astype, method="astype")
def astype(
    a: Any,
    dtype: Any,
    order: str = "K",
    casting: str = "unsafe",
    subok: bool = True,
    copy: bool = True,
    *,
    device: Any = None,
) -> Any:
    dtype, source = np.dtype(dtype), a
    if not copy and dtype == a.dtype and lies_in(a, order):
        return a
    if dtype.kind not in "biufc":
        type_of(np.zeros(0, dtype))
    if is_differentiable(a.dtype) and a.traced_by is not EVALUATE:  # a step has no slope
        if dtype.kind == "b":
            return np.not_equal(a, 0)
        if a.dtype.kind == "c" and dtype.kind != "c":
            warnings.warn(
                "Casting complex values to real discards the imaginary part",
                np.exceptions.ComplexWarning,
                stacklevel=2,
            )
            a = np.real(a)
        if dtype.kind in "iu":
            a = arithmetic.trunc(a)
    result = shape_ops.astype(a, dtype=dtype)
    return in_order(result if is_scalar(source) else as_memory(result), order, source)


@implements(np.copy)
def copy(a: Any, order: str = "K", subok: bool = False) -> Any:
    return as_memory(in_order(a.frozen(), order, a))


@implements(method="copy")
def copy_method(a: Any, order: str = "C") -> Any:
    return a.frozen() if is_scalar(a) else copy(a, order)


@implements(np.broadcast_arrays)
def broadcast_arrays(*args: Any, subok: bool = False) -> tuple[Any, ...]:
    parts = [operand(a) for a in args]
    shape = np.broadcast_shapes(*[np.shape(a) for a in parts])
    parts = [a if np.shape(a) == shape else np.broadcast_to(a, shape) for a in parts]
    return tuple(as_memory(a.frozen()) if type(a) is Array and is_scalar(a) else a for a in parts)


@implements(np.diagonal, method="diagonal")
def diagonal(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """A view that is read-only, as NumPy's."""
    return diagonal_view(a, offset, axis1, axis2, is_writeable=False)


def diagonal_view(a: Any, offset: int, axis1: int, axis2: int, is_writeable: bool) -> Any:
    i, j = normalize_axis(axis1, a.ndim), normalize_axis(axis2, a.ndim)
    if i == j:
        raise ValueError("axis1 and axis2 cannot be the same")
    rest = [k for k in range(a.ndim) if k not in (i, j)]
    n = max(0, min(a.shape[i] + min(offset, 0), a.shape[j] - max(offset, 0)))
    steps = np.arange(n)

    def read(base: Any) -> Any:
        if type(base) is not Array:
            return np.diagonal(base, offset, axis1, axis2)
        picked = np.transpose(base, (i, j, *rest))[steps - min(offset, 0), steps + max(offset, 0)]
        return np.moveaxis(picked, 0, -1)

    def put(base: Any, new: Any) -> Any:
        places = (steps - min(offset, 0), steps + max(offset, 0))
        front = shape_ops.transpose(base, axes=(i, j, *rest))
        written = scatter(front, np.moveaxis(new, -1, 0), *places)
        return shape_ops.transpose(written, axes=shape_ops.inverse((i, j, *rest)))

    return view(a, read, put if is_writeable else None)


@implements(np.trace, method="trace")
def trace(
    a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None, out: Any = None
) -> Any:
    return np.sum(diagonal(operand(a), offset, axis1, axis2), axis=-1, dtype=dtype, out=out)


@implements(np.diag)
def diag(v: Any, k: int = 0) -> Any:
    if v.ndim == 2:
        return diagonal(v, k)
    if v.ndim != 1:
        raise ValueError("Input must be 1- or 2-d.")
    size = v.shape[0] + abs(k)
    steps = np.arange(v.shape[0])
    return scatter_add(v, steps - min(k, 0), steps + max(k, 0), shape=(size, size))


@implements(np.diagflat)
def diagflat(v: Any, k: int = 0) -> Any:
    return diag(np.ravel(v), k)


@implements(np.rollaxis)
def rollaxis(a: Any, axis: int, start: int = 0) -> Any:
    axis = normalize_axis(axis, a.ndim)
    start = start if start == a.ndim else normalize_axis(start, a.ndim)
    return moveaxis(a, axis, start - (axis < start))


def dtypes_of(values: Sequence[Any]) -> list[Any]:
    """Traced arrays replaced by their dtypes, for NumPy's questions about dtypes."""
    return [v.dtype if type(v) is Array else v for v in values]


@implements(np.result_type)
def result_type(*arrays_and_dtypes: Any) -> Any:
    return np.result_type(*dtypes_of(arrays_and_dtypes))


@implements(np.common_type)
def common_type(*arrays: Any) -> Any:
    return np.common_type(*[np.zeros(0, operand(a).dtype) for a in arrays])


@implements(np.can_cast)
def can_cast(from_: Any, to: Any, casting: Any = "safe") -> bool:
    start, end = dtypes_of([from_, to])
    return np.can_cast(start, end, casting)


@implements(np.min_scalar_type)
def min_scalar_type(a: Any) -> Any:
    return a.dtype


def _on_shapes(function: Any) -> Any:
    """A question about shapes alone, asked of NumPy with empty stand-ins."""

    def answer(*args: Any, **kwargs: Any) -> Any:
        plain = [np.broadcast_to(np.int8(0), a.shape) if type(a) is Array else a for a in args]
        return function(*plain, **kwargs)

    return answer


for _function in (
    np.diag_indices_from,
    np.tril_indices_from,
    np.triu_indices_from,
    np.einsum_path,
):
    implements(_function)(_on_shapes(_function))

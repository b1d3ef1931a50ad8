"""Joining, splitting, repeating and padding arrays."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from pullback.core.array import operand
from pullback.numpy.arguments import (
    concrete,
    finish,
    in_order,
    line,
    normalize_axis,
    stand_in,
    unsupported,
)
from pullback.numpy.registry import implements
from pullback.ops import shape as shape_ops
from pullback.ops.index import place, static_key

__all__: list[str] = []


def along(axis: int, key: Any) -> tuple[Any, ...]:
    """The index that applies ``key`` to one axis and leaves the others alone."""
    return (*(slice(None),) * axis, key)


@implements(np.concatenate)
def concatenate(
    arrays: Any,
    /,
    axis: int | None = 0,
    out: Any = None,
    *,
    dtype: Any = None,
    casting: str = "same_kind",
) -> Any:
    parts = [operand(a) for a in arrays]
    if axis is None:
        parts, axis = [np.ravel(a) for a in parts], 0
    shapes = [np.shape(a) for a in parts]
    axis = normalize_axis(axis, len(shapes[0]))
    if any(s[:axis] + s[axis + 1 :] != shapes[0][:axis] + shapes[0][axis + 1 :] for s in shapes):
        raise ValueError(f"cannot concatenate shapes {shapes} along axis {axis}")
    return finish(shape_ops.concatenate(*parts, axis=axis), dtype, out)


@implements(np.stack)
def stack(
    arrays: Any, axis: int = 0, out: Any = None, *, dtype: Any = None, casting: str = "same_kind"
) -> Any:
    parts = [operand(a) for a in arrays]
    if len({np.shape(a) for a in parts}) != 1:
        raise ValueError("all input arrays must have the same shape")
    place = normalize_axis(axis, np.ndim(parts[0]) + 1)
    return concatenate([np.expand_dims(a, place) for a in parts], place, out, dtype=dtype)


@implements(np.roll)
def roll(a: Any, shift: Any, axis: Any = None) -> Any:
    if axis is None:
        return np.reshape(roll(np.ravel(a), np.sum(shift), 0), a.shape)
    moved = a
    for by, where in zip(*np.broadcast_arrays(np.ravel(shift), np.ravel(axis)), strict=True):
        i = normalize_axis(int(where), a.ndim)
        cut = -int(by) % a.shape[i] if a.shape[i] else 0
        if cut:
            moved = concatenate([moved[along(i, slice(cut, None))], moved[along(i, slice(cut))]], i)
    return np.copy(a) if moved is a else in_order(moved, "K", a)


@implements(np.repeat, method="repeat")
def repeat(a: Any, repeats: Any, axis: int | None = None) -> Any:
    a, repeats = operand(a), np.asarray(concrete(repeats, "the number of repetitions"))
    a, axis = line(a, axis)
    if repeats.size != 1:
        return in_order(a[along(axis, np.repeat(np.arange(a.shape[axis]), repeats))])
    n = int(repeats.reshape(()))
    wide = np.broadcast_to(
        np.expand_dims(a, axis + 1), (*a.shape[: axis + 1], n, *a.shape[axis + 1 :])
    )
    return np.reshape(wide, (*a.shape[:axis], a.shape[axis] * n, *a.shape[axis + 1 :]), copy=True)


@implements(np.tile)
def tile(A: Any, reps: Any) -> Any:  # noqa: N803 (NumPy's name)
    counts = tuple(int(n) for n in np.ravel(reps))
    ndim = max(len(counts), A.ndim)
    counts = (1,) * (ndim - len(counts)) + counts
    shape = (1,) * (ndim - A.ndim) + A.shape
    pairs = [(n, length) for n, length in zip(counts, shape, strict=True)]
    wide = np.broadcast_to(
        np.reshape(A, [m for length in shape for m in (1, length)]), [m for p in pairs for m in p]
    )
    return np.reshape(wide, [n * length for n, length in pairs], copy=True)


@implements(np.delete)
def delete(arr: Any, obj: Any, axis: int | None = None) -> Any:
    if axis is None:
        arr, axis = np.ravel(arr), 0
    axis = normalize_axis(axis, arr.ndim)
    kept = np.delete(np.arange(arr.shape[axis]), concrete(obj, "the places to delete"))
    return in_order(arr[along(axis, kept)], "A", arr)


@implements(np.insert)
def insert(arr: Any, obj: Any, values: Any, axis: int | None = None) -> Any:
    arr, values = operand(arr), operand(values)
    if axis is None:
        arr, axis = np.ravel(arr), 0
    axis = normalize_axis(axis, arr.ndim)
    n = arr.shape[axis]
    places = concrete(obj, "the places to insert at")
    # NumPy itself says where things go: negative numbers stand for inserted ones.
    n_new = np.insert(np.arange(n), places, -1).size - n
    if n_new == 1:
        values = np.reshape(values, (*(1,) * (arr.ndim - np.ndim(values)), *np.shape(values)))
        values = np.moveaxis(values, 0, axis) if np.ndim(places) == 0 else values
        n_new = values.shape[axis]
    order = np.insert(np.arange(n), places, -1 - np.arange(n_new))
    shape = (*arr.shape[:axis], n_new, *arr.shape[axis + 1 :])
    joined = concatenate([arr, np.broadcast_to(values, shape).astype(arr.dtype)], axis)
    picked = joined[along(axis, np.where(order < 0, n - 1 - order, order))]
    return in_order(picked, "A", arr)


@implements(np.block)
def block(arrays: Any) -> Any:
    depth, item, leaves = 0, arrays, arrays if isinstance(arrays, list) else [arrays]
    while isinstance(item, list):
        depth, item = depth + 1, item[0]
    for _ in range(depth - 1):
        leaves = [part for group in leaves for part in group]
    ndim = max(depth, *[np.ndim(leaf) for leaf in leaves])

    def join(item: Any, level: int) -> Any:
        if level:
            return concatenate([join(part, level - 1) for part in item], axis=-level)
        item = operand(item)
        return np.reshape(item, (*(1,) * (ndim - np.ndim(item)), *np.shape(item)))

    return join(arrays, depth)


@implements(np.meshgrid)
def meshgrid(*xi: Any, copy: bool = True, sparse: bool = False, indexing: str = "xy") -> Any:
    axes = list(range(len(xi)))
    if indexing == "xy":
        axes[:2] = axes[:2][::-1]
    grids = [
        np.reshape(operand(x), [-1 if i == axis else 1 for i in range(len(xi))])
        for x, axis in zip(xi, axes, strict=True)
    ]
    grids = grids if sparse else list(np.broadcast_arrays(*grids))
    return tuple(np.copy(x, "C") if copy else x for x in grids)


@implements(np.linspace)
def linspace(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    retstep: bool = False,
    dtype: Any = None,
    axis: int = 0,
    *,
    device: Any = None,
) -> Any:
    n = operator.index(num)
    if n < 0:
        raise ValueError(f"Number of samples, {num}, must be non-negative.")
    found = np.linspace(stand_in(start), stand_in(stop), 0).dtype
    start, stop = operand(start) * 1.0, operand(stop) * 1.0
    n_steps = n - 1 if endpoint else n
    gap = np.subtract(stop, start)
    step = gap / n_steps if n_steps > 0 else np.full_like(gap, np.nan)
    grid = np.reshape(np.arange(n, dtype=found), (n, *(1,) * gap.ndim))
    result = start + grid * (step if n_steps > 0 else gap)
    if endpoint and n > 1:  # what rounding has left of it is not the end
        result = np.where(grid == n - 1, stop, result)
    result = finish(result, found, None)
    if dtype is not None and np.issubdtype(dtype, np.integer):
        result = np.floor(result)
    result = finish(np.moveaxis(result, 0, axis) if axis else result, dtype, None)
    return (result, step) if retstep else result


@implements(np.logspace)
def logspace(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    base: Any = 10.0,
    dtype: Any = None,
    axis: int = 0,
) -> Any:
    if np.ndim(base):
        parts = np.broadcast_arrays(start, stop, base)
        start, stop, base = parts[0], parts[1], np.expand_dims(parts[2], axis)
    exponents = linspace(start, stop, num, endpoint, axis=axis)
    return finish(np.power(base, exponents), dtype, None)


@implements(np.geomspace)
def geomspace(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    dtype: Any = None,
    axis: int = 0,
) -> Any:
    """Steps of one ratio; both ends have the sign of ``start``, as NumPy has it."""
    start, stop = operand(start) * 1.0, operand(stop) * 1.0
    sign = np.sign(start)
    start, stop = np.broadcast_arrays(start / sign, stop / sign)
    computed = np.result_type(start.dtype, stop.dtype, np.dtype(dtype))  # None: float64
    start, stop = start.astype(computed), stop.astype(computed)
    inner = logspace(np.log10(start), np.log10(stop), num, endpoint)
    parts = [start[None], inner[1:-1], stop[None]] if endpoint else [start[None], inner[1:]]
    result = sign * concatenate(parts[:num] if num < 2 else parts)
    return finish(np.moveaxis(result, 0, axis), dtype, None)


@implements(np.ediff1d)
def ediff1d(ary: Any, to_end: Any = None, to_begin: Any = None) -> Any:
    ary = np.ravel(operand(ary))
    ends = []
    for name, end in (("to_begin", to_begin), ("to_end", to_end)):
        end = np.ravel(operand([] if end is None else end))
        if end.size and not np.can_cast(end.dtype, ary.dtype, "same_kind"):
            raise TypeError(f"dtype of `{name}` must be compatible with input `ary`")
        ends.append(end.astype(ary.dtype))
    return concatenate([ends[0], np.subtract(ary[1:], ary[:-1]), ends[1]])


# -- padding --------------------------------------------------------------------------------------
def _pairs(value: Any, ndim: int) -> list[tuple[Any, Any]]:
    """One pair per axis from NumPy's short forms, a dictionary of axes included."""
    if isinstance(value, dict):
        chosen = {normalize_axis(axis, ndim): pair for axis, pair in value.items()}
        pairs = [chosen.get(axis, 0) for axis in range(ndim)]
        return [(p, p) if np.ndim(p) == 0 else tuple(p) for p in pairs]
    wide = np.broadcast_to(operand(value), (ndim, 2))
    return [(wide[i, 0], wide[i, 1]) for i in range(ndim)]


def _pad_odd(array: Any, axis: int, width: tuple[int, int], options: Any) -> Any:
    """Reflection with ``reflect_type="odd"``: each new element is a sum of multiples of old ones.

    NumPy's own answer for unit vectors says which: ``2 edge - mirrored``, and so on further out.
    """
    n = array.shape[axis]
    unit = np.pad(np.eye(n), (width, (0, 0)), **options)
    terms = int(np.max(np.sum(unit != 0, axis=1)))
    places = np.argsort(unit == 0, axis=1, kind="stable")[:, :terms]
    result = None
    for at, factor in zip(places.T, np.take_along_axis(unit, places, axis=1).T, strict=True):
        factor = np.reshape(factor, (-1, *(1,) * (array.ndim - axis - 1))).astype(array.dtype)
        term = array[along(axis, np.where(factor.ravel() == 0, places[:, 0], at))] * factor
        result = term if result is None else result + term
    return result


GATHERED = {"edge", "reflect", "symmetric", "wrap"}
FOLDS: dict[str, Any] = {
    "maximum": np.max,
    "minimum": np.min,
    "mean": np.mean,
    "median": np.median,
}


@implements(np.pad)
def pad(array: Any, pad_width: Any, mode: Any = "constant", **options: Any) -> Any:
    array = operand(array)
    return in_order(_padded(array, pad_width, mode, options), "A", array)


def _padded(array: Any, pad_width: Any, mode: Any, options: Any) -> Any:
    widths = [(int(p), int(q)) for p, q in _pairs(pad_width, array.ndim)]
    if any(p < 0 or q < 0 for p, q in widths):
        raise ValueError("index can't contain negative values")
    if mode in GATHERED and options.get("reflect_type", "even") == "even":
        for axis, width in enumerate(widths):
            if width != (0, 0):
                order = np.pad(np.arange(array.shape[axis]), width, mode, **options)
                array = array[along(axis, order)]
        return np.copy(array)
    if options.get("reflect_type") == "odd":
        for axis, width in enumerate(widths):
            if width != (0, 0):
                array = _pad_odd(array, axis, width, {"mode": mode, **options})
        return np.copy(array)
    value = options.get("constant_values", 0)
    if mode == "constant" and isinstance(value, (int, float)) and value == 0:
        shape = tuple(n + p + q for n, (p, q) in zip(array.shape, widths, strict=True))
        inside = [slice(p, p + n) for n, (p, _) in zip(array.shape, widths, strict=True)]
        return place(array, shape=shape, key=static_key(inside))
    for axis, width in enumerate(widths):
        array = _pad_axis(array, axis, width, mode, options)
    return array


def _pad_axis(array: Any, axis: int, width: tuple[int, int], mode: Any, options: Any) -> Any:
    n = array.shape[axis]
    if mode == "constant":
        first, last = _pairs(options["constant_values"], array.ndim)[axis]
    elif mode == "linear_ramp":
        first, last = _pairs(options.get("end_values", 0), array.ndim)[axis]
    elif mode in FOLDS:
        lengths = options.get("stat_length")
        first, last = (n, n) if lengths is None else _pairs(lengths, array.ndim)[axis]
        head, tail = (min(int(k), n) for k in (first, last))
        fold = FOLDS[mode]
        first = fold(array[along(axis, slice(head))], axis=axis, keepdims=True)
        last = fold(array[along(axis, slice(n - tail, None))], axis=axis, keepdims=True)
    else:
        raise unsupported(f"pad with mode={mode!r}", "use constant, edge, reflect, wrap, ...")
    parts = [array]
    for at, value, size, edge in ((0, first, width[0], 0), (2, last, width[1], n - 1)):
        if mode == "linear_ramp":
            steps = np.arange(size) if at == 0 else np.arange(size)[::-1]
            share = np.reshape(steps / max(size, 1), (-1, *(1,) * (array.ndim - axis - 1)))
            part = value + (array[along(axis, slice(edge, edge + 1))] - value) * share
        else:
            shape = (*array.shape[:axis], size, *array.shape[axis + 1 :])
            part = np.broadcast_to(value, shape)
        parts.insert(at, part.astype(array.dtype))
    return concatenate(parts, axis)

"""Reading and writing parts of an array.

NumPy's many index forms reduce to two: *basic* (``index``, ``place``, ``update``: a static key of
integers, slices and new axes) and *advanced on the leading axes* (``gather``, ``scatter_add``,
``scatter``: integer arrays that broadcast together). ``numpy/indexing.py`` does that reduction.
Slices are written as ``(start, stop, step)`` tuples in the static key, so that it hashes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pullback.core.primitive import NO_DERIVATIVE, Primitive, Rule, Sample
from pullback.core.types import ArrayType, Shape
from pullback.ops.families import cast, draw, linear, move_axis

__all__ = ["BACKWARD", "EVERYTHING", "static_key"]

Key = tuple[Any, ...]
EVERYTHING = (None, None, None)  # slices in a static key
BACKWARD = (None, None, -1)


def static_key(key: Sequence[Any]) -> Key:
    """A basic index as a hashable tuple."""
    return tuple((k.start, k.stop, k.step) if isinstance(k, slice) else k for k in key)


def numpy_key(key: Key) -> tuple[Any, ...]:
    return tuple(slice(*k) if isinstance(k, tuple) else k for k in key)


def _selected(shape: Shape, key: Key) -> Shape:
    """Shape of ``x[key]`` without touching any memory."""
    result: Shape = np.broadcast_to(np.False_, shape)[numpy_key(key)].shape
    return result


BASIC_KEYS = [((1, 4, 2), 0), (-1, None, (None, None, -1)), (Ellipsis, (2, 0, -1)), ((0, 0, 1),)]


# -- basic ----------------------------------------------------------------------------------------
def _batch_index(args: Any, axes: Any, params: Any) -> Any:
    return index(move_axis(args[0], axes[0], 0), key=(EVERYTHING, *params["key"])), 0


index = linear(
    "index",
    lambda x, *, key: x[numpy_key(key)],
    doc="y = x[key] for a static key of integers, slices and new axes",
    type_rule=lambda x, *, key: x.with_shape(_selected(x.shape, key)),
    transpose=lambda ct, x_type, *, key: place(ct, shape=x_type.shape, key=key),
    batch=_batch_index,
    samples=lambda rng, dtype: [
        *(Sample((draw(rng, dtype, 5, 4),), {"key": key}) for key in BASIC_KEYS),
        Sample((draw(rng, dtype, 2, 2),), {"key": (5,)}, error=IndexError, match="out of bounds"),
    ],
)


def _place(x: Any, *, shape: Shape, key: Key) -> Any:
    y = np.zeros(shape, x.dtype)
    y[numpy_key(key)] = x
    return y


def _place_type(x: ArrayType, *, shape: Shape, key: Key) -> ArrayType:
    """Compiled code writes without looking: what does not fit is refused here."""
    inside = _selected(shape, key)
    if inside != x.shape:
        raise ValueError(f"could not place an array of shape {x.shape} into shape {inside}")
    return x.with_shape(shape)


def _batch_place(args: Any, axes: Any, params: Any) -> Any:
    x = move_axis(args[0], axes[0], 0)
    return place(x, shape=(x.shape[0], *params["shape"]), key=(EVERYTHING, *params["key"])), 0


place: Primitive = linear(
    "place",
    _place,
    doc="y is zero except y[key] = x",
    type_rule=_place_type,
    transpose=lambda ct, *, key: index(ct, key=key),
    batch=_batch_place,
    samples=lambda rng, dtype: [
        Sample((draw(rng, dtype, *_selected((5, 4), key)),), {"shape": (5, 4), "key": key})
        for key in BASIC_KEYS
    ],
)


def _update(x: Any, v: Any, *, key: Key) -> Any:
    y = np.array(x)
    y[numpy_key(key)] = v
    return y


def _update_jvp(primals: Any, tangents: Any, y: Any, params: Any) -> Any:
    x_dot, v_dot = (
        np.zeros(np.shape(p), y.dtype) if t is None else t
        for p, t in zip(primals, tangents, strict=True)
    )
    return update(x_dot, v_dot, **params)


def _batch_update(args: Any, axes: Any, params: Any) -> Any:
    n = next(a.shape[axis] for a, axis in zip(args, axes, strict=True) if axis is not None)
    x, v = (
        np.broadcast_to(a, (n, *np.shape(a))) if axis is None else move_axis(a, axis, 0)
        for a, axis in zip(args, axes, strict=True)
    )
    return update(x, v, key=(EVERYTHING, *params["key"])), 0


update: Primitive = Primitive(
    name="update",
    doc="y = x except y[key] = v, for a static key; v has the shape of x[key]",
    numpy=_update,
    type_rule=lambda x, v, *, key: x,
    jvp=_update_jvp,
    vjp=(
        Rule(lambda ct, *, key: update(ct, np.zeros(_selected(ct.shape, key), ct.dtype), key=key)),
        Rule(lambda ct, x_type, *, key: cast(index(ct, key=key), x_type.dtype)),
    ),
    batch=_batch_update,
    family="index",
    flops=lambda types, out_types, params: 0,
    samples=lambda rng, dtype: [
        Sample((draw(rng, dtype, 5, 4), draw(rng, dtype, *_selected((5, 4), key))), {"key": key})
        for key in BASIC_KEYS
    ],
)


# -- advanced -------------------------------------------------------------------------------------
def _gathered(x: ArrayType, *indices: ArrayType) -> ArrayType:
    picked = np.broadcast_shapes(*[i.shape for i in indices])
    return x.with_shape((*picked, *x.shape[len(indices) :]))


def _align(indices: Sequence[Any], axes: Sequence[int | None]) -> tuple[list[Any], int]:
    """Batch axes to the front, and all indices to one number of axes behind it."""
    ndim = max(np.ndim(i) - (axis is not None) for i, axis in zip(indices, axes, strict=True))
    aligned = []
    for i, axis in zip(indices, axes, strict=True):
        if axis is not None:
            i = move_axis(i, axis, 0)
            i = np.reshape(i, (i.shape[0], *(1,) * (ndim + 1 - i.ndim), *i.shape[1:]))
        aligned.append(i)
    return aligned, ndim


def _batch_gather(args: Any, axes: Any, params: Any) -> Any:
    x, indices = args[0], args[1:]
    aligned, ndim = _align(indices, axes[1:])
    if axes[0] is None:
        return gather(x, *aligned), 0
    if all(axis is None for axis in axes[1:]):
        return gather(move_axis(x, axes[0], len(indices)), *indices), ndim
    x = move_axis(x, axes[0], 0)
    rows = np.reshape(np.arange(x.shape[0]), (-1, *(1,) * ndim))
    return gather(x, rows, *aligned), 0


def _index_samples(rng: np.random.Generator, unique: bool) -> list[tuple[Any, ...]]:
    first = np.array([3, 0, -1]) if unique else np.array([3, 0, 3])
    return [
        (first,),
        (np.array([[0], [2]]), np.array([1, -1])),
        (np.array(2),),
        (np.zeros((0,), int),),
    ]


gather = linear(
    "gather",
    lambda x, *indices: x[indices],
    doc="y = x[i1, ..., ik]: integer arrays, broadcast together, pick along the leading k axes",
    type_rule=_gathered,
    transpose=lambda ct, x_type, *x2: scatter_add(ct, *x2, shape=x_type.shape),
    batch=_batch_gather,
    family="index",
    samples=lambda rng, dtype: [
        *(Sample((draw(rng, dtype, 5, 4), *i)) for i in _index_samples(rng, unique=False)),
        Sample((draw(rng, dtype, 3), np.array([7])), error=IndexError, match="out of bounds"),
    ],
)


def _scatter_add(x: Any, *indices: Any, shape: Shape) -> Any:
    y = np.zeros(shape, x.dtype)
    np.add.at(y, indices, x)
    return y


def _batch_scatter_add(args: Any, axes: Any, params: Any) -> Any:
    x, indices = args[0], args[1:]
    n = next(a.shape[axis] for a, axis in zip(args, axes, strict=True) if axis is not None)
    x = np.broadcast_to(x, (n, *np.shape(x))) if axes[0] is None else move_axis(x, axes[0], 0)
    aligned, ndim = _align(indices, axes[1:])
    rows = np.reshape(np.arange(n), (-1, *(1,) * ndim))
    return scatter_add(x, rows, *aligned, shape=(n, *params["shape"])), 0


scatter_add: Primitive = linear(
    "scatter_add",
    _scatter_add,
    doc="y is zero of the given shape, then y[i1, ..., ik] += x, repeated places adding up",
    type_rule=lambda x, *indices, shape: x.with_shape(shape),
    transpose=lambda ct, *x2: gather(ct, *x2),
    batch=_batch_scatter_add,
    family="index",
    flops=lambda types, out_types, params: types[0].size,
    samples=lambda rng, dtype: [
        Sample(
            (draw(rng, dtype, *np.broadcast_shapes(*[k.shape for k in i]), *(5, 4)[len(i) :]), *i),
            {"shape": (5, 4)},
        )
        for i in _index_samples(rng, unique=False)
    ],
)


def _scatter(x: Any, v: Any, *indices: Any) -> Any:
    y = np.array(x)
    y[indices] = v
    return y


def _scatter_jvp(primals: Any, tangents: Any, y: Any, params: Any) -> Any:
    x_dot, v_dot = (
        np.zeros(np.shape(p), y.dtype) if t is None else t
        for p, t in zip(primals[:2], tangents[:2], strict=True)
    )
    return scatter(x_dot, v_dot, *primals[2:])


def _cleared(ct: Any, *indices: Any) -> Any:
    """The cotangent with the overwritten places set to zero."""
    picked = np.broadcast_shapes(*[np.shape(i) for i in indices])
    return scatter(ct, np.zeros((*picked, *ct.shape[len(indices) :]), ct.dtype), *indices)


def _kept_writes(ct: Any, x_type: ArrayType, *indices: Any) -> Any:
    """Where several values are written to one place, the last one stays and gets the cotangent."""
    picked = np.broadcast_shapes(*[np.shape(i) for i in indices])
    n = int(np.prod(picked))
    numbers = np.reshape(np.arange(1, n + 1), picked)
    board = scatter(np.zeros(ct.shape[: len(indices)], np.int64), numbers, *indices)
    stays = np.reshape(
        gather(board, *indices) == numbers, (*picked, *(1,) * (ct.ndim - len(indices)))
    )
    return cast(np.where(stays, gather(ct, *indices), 0), x_type.dtype)


def _batch_scatter(args: Any, axes: Any, params: Any) -> Any:
    n = next(a.shape[axis] for a, axis in zip(args, axes, strict=True) if axis is not None)
    x, v = (
        np.broadcast_to(a, (n, *np.shape(a))) if axis is None else move_axis(a, axis, 0)
        for a, axis in zip(args[:2], axes[:2], strict=True)
    )
    aligned, ndim = _align(args[2:], axes[2:])
    rows = np.reshape(np.arange(n), (-1, *(1,) * ndim))
    return scatter(x, v, rows, *aligned), 0


scatter = Primitive(
    name="scatter",
    doc="y = x except y[i1, ..., ik] = v; of repeated places the last value stays",
    numpy=_scatter,
    type_rule=lambda x, v, *indices: x,
    jvp=_scatter_jvp,
    vjp=(
        Rule(lambda ct, *x3: _cleared(ct, *x3)),
        Rule(lambda ct, x_type, *x3: _kept_writes(ct, x_type, *x3)),
        NO_DERIVATIVE,
    ),
    batch=_batch_scatter,
    family="index",
    flops=lambda types, out_types, params: 0,
    samples=lambda rng, dtype: [
        Sample(
            (
                draw(rng, dtype, 5, 4),
                draw(rng, dtype, *np.broadcast_shapes(*[k.shape for k in i]), *(5, 4)[len(i) :]),
                *i,
            )
        )
        for i in _index_samples(rng, unique=True)
    ],
)


def _sort_type(x: ArrayType, *, axis: int) -> ArrayType:
    return ArrayType(x.shape, np.int64)


def _batch_argsort(args: Any, axes: Any, params: Any) -> Any:
    return argsort(move_axis(args[0], axes[0], 0), axis=params["axis"] + 1), 0


argsort = Primitive(
    name="argsort",
    doc="y = positions that sort x along `axis`, equal values in order; NaN last",
    numpy=lambda x, *, axis: np.argsort(x, axis=axis, kind="stable"),
    type_rule=_sort_type,
    jvp=lambda primals, tangents, y, params: None,
    vjp=(NO_DERIVATIVE,),
    batch=_batch_argsort,
    family="general",
    flops=lambda types, out_types, params: (
        types[0].size * max(1, int(np.log2(max(types[0].shape[params["axis"]], 1))))
    ),
    samples=lambda rng, dtype: [
        Sample((draw(rng, dtype, 3, 5),), {"axis": 1}),
        Sample((draw(rng, dtype, 4),), {"axis": 0}),
    ],
)


def _mean_of_ties(v: Any, y: Any, axis: int) -> Any:
    """``v`` with each run of places at which the sorted ``y`` is equal replaced by its mean."""
    y, v = move_axis(y, axis, 0), move_axis(v, axis, 0)
    if not y.size or (isinstance(y, np.ndarray) and not np.any(y[1:] == y[:-1])):
        return move_axis(v, 0, axis)
    n, width = y.shape[0], y.size // max(y.shape[0], 1)
    y, flat = np.reshape(y, (n, width)), np.reshape(v, (n, width))
    is_new = np.concatenate([np.zeros((1, width), bool), y[1:] != y[:-1]])
    run = np.cumsum(is_new, axis=0) * width + np.arange(width)
    total = scatter_add(flat, run, shape=(n * width,))
    number = scatter_add(np.ones((n, width), flat.dtype), run, shape=(n * width,))
    mean = gather(total / np.maximum(number, 1), run)
    return move_axis(np.reshape(mean, v.shape), 0, axis)


tied: Primitive = Primitive(
    name="tied",
    doc="y = x, sorted along `axis`",
    numpy=lambda x, *, axis: np.array(x),
    type_rule=lambda x, *, axis: x.with_shape(x.shape),
    jvp=lambda primals, tangents, y, params: _mean_of_ties(tangents[0], primals[0], **params),
    vjp=(Rule(lambda ct, x, *, axis: _mean_of_ties(ct, x, axis)),),
    batch=lambda args, axes, params: (
        tied(move_axis(args[0], axes[0], 0), axis=params["axis"] + 1),
        0,
    ),
    family="general",
    expansion=lambda x, *, axis: x,
    flops=lambda types, out_types, params: 0,
    kinks="equal elements: equal shares of what all of them get",
    samples=lambda rng, dtype: [
        Sample((np.sort(draw(rng, dtype, 3, 5), axis=1),), {"axis": 1}),
        Sample((np.asarray([[1, 0], [1, 2], [1, 2], [4, 2]], dtype),), {"axis": 0}, kink=True),
    ],
)


def _batch_searchsorted(args: Any, axes: Any, params: Any) -> Any:
    a, v = args
    if axes[0] is None:
        return searchsorted(a, v, **params), axes[1]
    if axes[1] is not None:
        v = move_axis(v, axes[1], 0)
    # One sorted row per example: count the elements that go before each value.
    rows = move_axis(a, axes[0], 0)
    ndim = np.ndim(v) - (axes[1] is not None)
    rows = np.reshape(rows, (rows.shape[0], *(1,) * ndim, rows.shape[1]))
    before = np.less if params["side"] == "left" else np.less_equal
    return np.sum(before(rows, np.reshape(v, (*np.shape(v), 1))), axis=-1), 0


searchsorted = Primitive(
    name="searchsorted",
    doc="y = number of elements of the sorted vector x1 that are < x2 (`side` right: <= x2)",
    numpy=lambda a, v, *, side: np.asarray(np.searchsorted(a, v, side)),
    type_rule=lambda a, v, *, side: ArrayType(v.shape, np.int64),
    jvp=lambda primals, tangents, y, params: None,
    vjp=(NO_DERIVATIVE, NO_DERIVATIVE),
    batch=_batch_searchsorted,
    family="general",
    flops=lambda types, out_types, params: (
        types[1].size * max(1, int(np.log2(max(types[0].size, 1))))
    ),
    samples=lambda rng, dtype: [
        Sample((np.arange(4).astype(dtype), np.array(value).astype(dtype)), {"side": side})
        for side in ("left", "right")
        for value in ([[0, 1], [3, 9]], 2, [])
    ],
)

"""``np.ufunc.reduce``, ``accumulate``, ``reduceat``, ``outer`` and ``at``, for every ufunc.

A ufunc that NumPy has a fold for (``add`` and ``sum``) is that fold. Any other one goes through
the elements one after the other, from the left, as NumPy does.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pullback.core.array import Array, operand
from pullback.core.source import here
from pullback.errors import TracedValueError
from pullback.numpy import reductions
from pullback.numpy.arguments import (
    concrete,
    finish,
    folded_axes,
    given,
    normalize_axis,
)
from pullback.numpy.indexing import getitem
from pullback.numpy.joins import along
from pullback.numpy.registry import implements
from pullback.ops.index import scatter_add

__all__: list[str] = []

# The fold of the same meaning.
FOLDS: dict[Any, Any] = {
    np.add: reductions.sum,
    np.multiply: reductions.prod,
    np.maximum: reductions.max,
    np.minimum: reductions.min,
    np.logical_and: reductions.all,
    np.logical_or: reductions.any,
    np.logaddexp: reductions.logsumexp,
}
WITH_START = (np.add, np.multiply, np.maximum, np.minimum)
LOGICAL = (np.logical_and, np.logical_or, np.logical_xor)
# Ufuncs whose running fold may be taken in any grouping.
ASSOCIATIVE = (np.add, np.multiply, np.maximum, np.minimum, np.logical_and, np.logical_or)


def require_binary(ufunc: np.ufunc, method: str) -> None:
    """As NumPy: only a ufunc of two operands and one result can fold."""
    if (ufunc.nin, ufunc.nout) != (2, 1) or ufunc.signature is not None:
        raise ValueError(f"{method} only supported for binary functions")


@implements(ufunc_method="reduce")
def reduce(
    ufunc: np.ufunc,
    array: Any,
    axis: Any = 0,
    dtype: Any = None,
    out: Any = None,
    keepdims: bool = False,
    initial: Any = np._NoValue,
    where: Any = True,
) -> Any:
    require_binary(ufunc, "reduce")
    array = operand(array)
    options = {} if where is True else {"where": where}
    if given(initial):
        options["initial"] = initial
    fold = FOLDS.get(ufunc)
    if fold is None or (options and ufunc not in WITH_START):
        result = fold_left(ufunc, array, axis, keepdims, initial, where, dtype)
    elif ufunc in (np.add, np.multiply):
        return fold(array, axis, dtype, out, keepdims, **options)
    else:
        result = fold(array, axis=axis, keepdims=keepdims, **options)
    return finish(result, dtype, out)


def prepared(ufunc: np.ufunc, a: Any, dtype: Any) -> Any:
    """The elements as the ufunc takes them: truth values for logical ones, else ``dtype``."""
    if ufunc in LOGICAL:
        return np.not_equal(a, 0)
    return a if dtype is None else a.astype(dtype)


def fold_left(
    ufunc: np.ufunc, a: Any, axis: Any, keepdims: bool, initial: Any, where: Any, dtype: Any
) -> Any:
    """``ufunc(ufunc(a[0], a[1]), a[2])...`` over ``axis``, where ``where`` is true."""
    axes = folded_axes(axis, a.ndim)
    if len(axes) > 1 and ufunc.identity is None and ufunc not in (np.fmax, np.fmin):
        raise ValueError(
            f"reduction operation {ufunc.__name__!r} is not reorderable, "
            "so at most one axis may be specified"
        )
    a = prepared(ufunc, a, dtype)
    if ufunc in LOGICAL and given(initial):
        initial = bool(initial)
    rest = [i for i in range(a.ndim) if i not in axes]
    shape = tuple(1 if i in axes else n for i, n in enumerate(a.shape))
    rows = np.reshape(np.transpose(a, (*axes, *rest)), (-1, *(a.shape[i] for i in rest)))
    marks = None
    if where is not True:
        where = np.transpose(np.broadcast_to(operand(where), a.shape), (*axes, *rest))
        marks = np.reshape(where, rows.shape)
    result, first = (initial, 0) if given(initial) else (None, 0)
    if result is None and (marks is not None or not len(rows)):
        if ufunc.identity is None:
            name = ufunc.__name__
            if not len(rows):
                raise ValueError(
                    f"zero-size array to reduction operation {name} which has no identity"
                )
            raise ValueError(
                f"reduction operation {name!r} does not have an identity, "
                "so to use a where mask one has to specify 'initial'"
            )
        result = np.full(rows.shape[1:], ufunc.identity, a.dtype)
    elif result is None:
        result, first = rows[0], 1
    for i in range(first, len(rows)):
        new = ufunc(result, rows[i])
        result = new if marks is None else np.where(marks[i], new, result)
    result = np.broadcast_to(operand(result), rows.shape[1:])
    return np.reshape(result, shape) if keepdims else np.copy(result)


@implements(ufunc_method="accumulate")
def accumulate(
    ufunc: np.ufunc, array: Any, axis: int = 0, dtype: Any = None, out: Any = None
) -> Any:
    require_binary(ufunc, "accumulate")
    array = operand(array)
    if not np.ndim(array):
        raise TypeError("cannot accumulate on a scalar")
    if ufunc in ASSOCIATIVE:
        return reductions.running(ufunc, array, axis, dtype, out)
    array = prepared(ufunc, array, dtype)
    axis = normalize_axis(axis, array.ndim)
    rows = np.moveaxis(array, axis, 0)
    results: list[Any] = []
    for row in rows:
        results.append(ufunc(results[-1], row) if results else row)
    result = np.stack(results, axis) if results else np.copy(array)
    return finish(result, dtype, out)


@implements(ufunc_method="reduceat")
def reduceat(
    ufunc: np.ufunc,
    array: Any,
    indices: Any,
    axis: int = 0,
    dtype: Any = None,
    out: Any = None,
) -> Any:
    require_binary(ufunc, "reduceat")
    array = prepared(ufunc, operand(array), None)
    axis = normalize_axis(axis, array.ndim)
    starts = np.asarray(concrete(indices, f"the indices of {ufunc.__name__}.reduceat"))
    n = array.shape[axis]
    bad = starts[(starts < 0) | (starts >= n)]
    if bad.size:
        raise IndexError(f"index {bad[0]} out-of-bounds in {ufunc.__name__}.reduceat [0, {n})")
    parts = []
    for start, stop in zip(starts, [*starts[1:], n], strict=True):
        piece = array[along(axis, slice(start, stop if stop > start else start + 1))]
        parts.append(ufunc.reduce(piece, axis=axis, dtype=dtype))
    if not parts:
        return finish(array[along(axis, slice(0, 0))], dtype, out)
    return finish(np.stack(parts, axis), dtype, out)


@implements(ufunc_method="outer")
def outer(ufunc: np.ufunc, a: Any, b: Any, /, **options: Any) -> Any:
    if ufunc.nin != 2 or ufunc.signature is not None:
        raise ValueError("outer product only supported for binary functions")
    a, b = operand(a), operand(b)
    return ufunc(np.reshape(a, (*np.shape(a), *(1,) * np.ndim(b))), b, **options)


@implements(ufunc_method="at")
def at(ufunc: np.ufunc, a: Any, indices: Any, b: Any = None, /) -> None:
    """In rounds: the k-th one takes the k-th use of each place, so that every use counts."""
    if type(a) is not Array:
        raise TracedValueError(
            f"{ufunc.__name__}.at of a traced value on a plain NumPy array, which cannot hold it",
            where=str(here()),
            fix="create the array with 'import pullback.numpy as np'",
        )
    places = getitem(np.reshape(np.arange(a.size), a.shape), indices)
    if b is not None:
        b = np.broadcast_to(operand(b), np.shape(places)).astype(a.dtype)
    if ufunc in (np.add, np.subtract):
        a[...] = ufunc(a, np.reshape(scatter_add(b, places, shape=(a.size,)), a.shape))
        return
    places = np.ravel(concrete(places, f"the indices of {ufunc.__name__}.at"))
    operands = () if b is None else (np.ravel(b),)
    flat = np.copy(np.ravel(a))
    order = np.argsort(places, kind="stable")
    ranked = places[order]
    start = np.searchsorted(ranked, ranked)  # where the run of equal places begins
    rank = np.empty(places.shape, int)
    rank[order] = np.arange(places.size) - start
    for k in range(int(rank.max(initial=-1)) + 1):
        chosen = np.flatnonzero(rank == k)
        flat[places[chosen]] = ufunc(flat[places[chosen]], *[v[chosen] for v in operands])
    a[...] = np.reshape(flat, a.shape)

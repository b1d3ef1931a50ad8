"""Choosing, sorting, searching and interpolating."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from pullback.core.alias import as_memory, write
from pullback.core.array import Array, as_array, operand
from pullback.core.types import is_differentiable
from pullback.errors import StagingError
from pullback.numpy.arguments import (
    concrete,
    finish,
    in_order,
    line,
    normalize_axes,
    normalize_axis,
    stand_in,
    unsupported,
)
from pullback.numpy.elements import as_float
from pullback.numpy.indexing import getitem
from pullback.numpy.joins import along
from pullback.numpy.registry import implements
from pullback.ops import arithmetic, index

__all__: list[str] = []


# -- choosing -------------------------------------------------------------------------------------
@implements(np.where)
def where(condition: Any, x: Any = None, y: Any = None, /) -> Any:
    if x is None and y is None:
        return np.nonzero(condition)
    return as_memory(arithmetic.select(operand(condition), operand(x), operand(y)))


@implements(np.select)
def select(condlist: Any, choicelist: Any, default: Any = 0) -> Any:
    if len(condlist) != len(choicelist) or not len(condlist):
        raise ValueError("list of cases must be same length as list of conditions")
    for i, condition in enumerate(condlist):
        if operand(condition).dtype != bool:
            raise TypeError(f"invalid entry {i} in condlist: should be boolean ndarray")
    result = operand(default)
    for condition, choice in zip(reversed(condlist), reversed(choicelist), strict=True):
        result = where(condition, choice, result)
    shape = np.broadcast_shapes(*[np.shape(operand(x)) for x in (*condlist, *choicelist)])
    result = result if np.shape(result) == shape else np.copy(np.broadcast_to(result, shape))
    return in_order(result)


@implements(np.choose)
def choose(a: Any, choices: Any, out: Any = None, mode: str = "raise") -> Any:
    parts = np.broadcast_arrays(a, *[operand(c) for c in choices])
    stacked, n = np.stack(parts[1:]), len(parts) - 1
    number = _bounded(parts[0], n, mode)
    return finish(in_order(np.take_along_axis(stacked, number[None], axis=0)[0]), None, out)


def _bounded(indices: Any, n: int, mode: str) -> Any:
    """Indices brought into range as NumPy's ``mode`` says."""
    if mode == "wrap":
        return np.remainder(indices, n)
    return np.clip(indices, 0, n - 1) if mode == "clip" else indices


@implements(np.take, method="take")
def take(
    a: Any, indices: Any, axis: int | None = None, out: Any = None, mode: str = "raise"
) -> Any:
    (a, axis), indices = line(operand(a), axis), as_array(indices)
    indices = _bounded(indices, a.shape[axis], mode)
    return finish(in_order(getitem(a, along(axis, indices))), None, out)


def _grid(arr: Any, indices: Any, axis: int) -> tuple[Any, ...]:
    """The index that picks ``indices`` along ``axis`` and everything in line along the others."""
    if arr.ndim != np.ndim(indices):
        raise ValueError("`indices` and `arr` must have the same number of dimensions")
    key: list[Any] = [
        np.reshape(np.arange(n), [-1 if i == k else 1 for k in range(arr.ndim)])
        for i, n in enumerate(arr.shape)
    ]
    key[axis] = indices
    return tuple(key)


@implements(np.take_along_axis)
def take_along_axis(arr: Any, indices: Any, axis: int | None = -1) -> Any:
    arr = operand(arr)
    if axis is None:
        arr, axis = np.ravel(arr), 0
    return getitem(arr, _grid(arr, indices, normalize_axis(axis, arr.ndim)))


@implements(np.compress)
def compress(condition: Any, a: Any, axis: int | None = None, out: Any = None) -> Any:
    a = operand(a)
    a, axis = line(a, axis)
    kept = np.nonzero(concrete(operand(condition), "the condition of np.compress"))[0]
    return finish(in_order(a[along(axis, kept)]), None, out)


@implements(method="compress")
def compress_method(a: Any, condition: Any, axis: int | None = None, out: Any = None) -> Any:
    return compress(condition, a, axis, out)


@implements(np.extract)
def extract(condition: Any, arr: Any) -> Any:
    return compress(np.ravel(condition), np.ravel(arr), 0)


@implements(np.piecewise)
def piecewise(x: Any, condlist: Any, funclist: Any, *args: Any, **kw: Any) -> Any:
    x = operand(x)
    conditions = (
        [operand(c) for c in condlist] if isinstance(condlist, (list, tuple)) else [condlist]
    )
    if len(funclist) == len(conditions) + 1:
        some = conditions[0]
        for condition in conditions[1:]:
            some = np.logical_or(some, condition)
        conditions.append(np.logical_not(some))
    if len(funclist) != len(conditions):
        raise ValueError(
            f"with {len(conditions)} condition(s), either {len(conditions)} or "
            f"{len(conditions) + 1} functions are expected"
        )
    y = np.zeros_like(x)
    for condition, function in zip(conditions, funclist, strict=True):
        if not callable(function):
            y = np.where(condition, operand(function), y).astype(x.dtype)
        elif x.ndim:
            y[condition] = function(x[condition], *args, **kw)
        elif concrete(condition, "the condition of np.piecewise"):
            y = function(x, *args, **kw)
    return y


# -- sorting --------------------------------------------------------------------------------------
def _argsort(a: Any, axis: int | None) -> Any:
    a, axis = line(operand(a), axis)
    return index.argsort(a, axis=axis)


@implements(np.argsort, method="argsort")
def argsort(
    a: Any,
    axis: int | None = -1,
    kind: Any = None,
    order: Any = None,
    *,
    stable: bool | None = None,
) -> Any:
    return _argsort(a, axis)


def _check_places(a: Any, kth: Any, axis: int | None) -> None:
    """Refuse the ``kth`` of a partition that NumPy refuses."""
    shape = np.shape(operand(a))
    n = math.prod(shape) if axis is None else shape[normalize_axis(axis, len(shape))]
    np.partition(np.zeros(n), kth)


@implements(np.argpartition, method="argpartition")
def argpartition(
    a: Any, kth: Any, axis: int | None = -1, kind: str = "introselect", order: Any = None
) -> Any:
    _check_places(a, kth, axis)
    return _argsort(a, axis)  # sorted is partitioned at every position


@implements(np.sort)
def sort(
    a: Any,
    axis: int | None = -1,
    kind: Any = None,
    order: Any = None,
    *,
    stable: bool | None = None,
) -> Any:
    a = operand(a)
    if axis is None:
        a, axis = np.ravel(a), 0
    axis = normalize_axis(axis, a.ndim)
    found = index.tied(take_along_axis(a, _argsort(a, axis), axis), axis=axis)
    return in_order(found, "K", a)


@implements(np.partition)
def partition(
    a: Any, kth: Any, axis: int | None = -1, kind: str = "introselect", order: Any = None
) -> Any:
    _check_places(a, kth, axis)
    return sort(a, axis)


@implements(method="sort")
def sort_in_place(
    a: Any, axis: int = -1, kind: Any = None, order: Any = None, *, stable: bool | None = None
) -> None:
    write(a, sort(a, axis))


@implements(method="partition")
def partition_in_place(
    a: Any, kth: Any, axis: int = -1, kind: str = "introselect", order: Any = None
) -> None:
    write(a, partition(a, kth, axis))


@implements(np.unique)
def unique(
    ar: Any,
    return_index: bool = False,
    return_inverse: bool = False,
    return_counts: bool = False,
    axis: int | None = None,
    *,
    equal_nan: bool = True,
    sorted: bool = True,
) -> Any:
    """As ``numpy.unique``; the derivative goes to the first of equal values."""
    ar = operand(ar)
    plain: Any = np.unique
    found = plain(
        concrete(ar, "np.unique"), True, return_inverse, return_counts, axis, equal_nan=equal_nan
    )
    first, rest = found[1], found[2:]
    values = (
        np.ravel(ar)[first] if axis is None else ar[along(normalize_axis(axis, ar.ndim), first)]
    )
    if not (return_index or rest):
        return values
    return (values, *([first] if return_index else []), *rest)


def _unique_family(name: str, **wanted: bool) -> None:
    """One of the functions of the array API, whose answer is a tuple with names."""
    original: Any = getattr(np, name)
    answer: Any = type(original(np.zeros(1)))

    def traced(x: Any) -> Any:
        values, *rest = unique(x, **wanted, equal_nan=False)
        return answer(values, *rest)

    implements(original)(traced)


_unique_family("unique_all", return_index=True, return_inverse=True, return_counts=True)
_unique_family("unique_counts", return_counts=True)
_unique_family("unique_inverse", return_inverse=True)


@implements(np.unique_values)
def unique_values(x: Any) -> Any:
    x = np.ravel(operand(x))
    plain = concrete(x, "np.unique_values")
    values, first = np.unique(plain, return_index=True, equal_nan=False)
    # NumPy may give them in another order than sorted.
    found = np.unique_values(plain)
    return x[first[np.clip(np.searchsorted(values, found), 0, max(len(first) - 1, 0))]]


@implements(np.histogram_bin_edges)
def histogram_bin_edges(a: Any, bins: Any = 10, range: Any = None, weights: Any = None) -> Any:
    """Edges follow the smallest and the largest element, or the bounds of ``range``."""
    a, bins = operand(a), bins if isinstance(bins, str) else operand(bins)
    if np.ndim(bins):
        np.histogram_bin_edges([], concrete(bins, "the order of the bins"))
        return np.copy(bins)
    purpose = "the number of bins"
    n = concrete(bins, purpose)
    if isinstance(n, str):
        n = len(np.histogram_bin_edges(concrete(a, purpose), n, concrete(range, purpose))) - 1
    np.histogram_bin_edges([], n)  # refuses what NumPy refuses
    if range is not None:
        low, high = range
        np.histogram_bin_edges([], n, concrete(range, "the range of the bins"))
    elif not a.size:
        low, high = 0.0, 1.0
    else:
        low, high = np.min(a), np.max(a)
    is_one = np.equal(low, high)
    dtype = np.histogram_bin_edges(
        np.zeros(0, a.dtype), 1, (stand_in(low), stand_in(high) + 1)
    ).dtype
    low, high = np.where(is_one, low - 0.5, low), np.where(is_one, high + 0.5, high)
    return np.linspace(low, high, n + 1, dtype=dtype)


# -- quantiles ------------------------------------------------------------------------------------
# Hyndman & Fan (1996), table 1: the continuous definitions of a sample quantile.
PLOTTING = {
    "weibull": (0.0, 0.0),
    "hazen": (0.5, 0.5),
    "interpolated_inverted_cdf": (0.0, 1.0),
    "median_unbiased": (1 / 3, 1 / 3),
    "normal_unbiased": (3 / 8, 3 / 8),
}
ROUNDED = {"lower": np.floor, "higher": np.ceil, "nearest": np.rint}


def _rows_first(a: Any, axes: tuple[int, ...]) -> Any:
    """``a`` with ``axes`` in front, as one."""
    kept = [i for i in range(a.ndim) if i not in axes]
    length = math.prod(a.shape[i] for i in axes)
    return np.reshape(np.transpose(a, (*axes, *kept)), (length, *(a.shape[i] for i in kept)))


def _in_order(
    a: Any, axis: Any, keepdims: Any, skip_nan: bool, choose: Callable[[Any, Any], Any]
) -> Any:
    """``choose(ordered, n)``: what follows from the elements along ``axis``, sorted to the front.

    ``n`` says how many of them count; a NaN among them wins.
    """
    a = operand(a)
    a = a if is_differentiable(a.dtype) else a.astype(np.float64)
    axes = normalize_axes(axis, a.ndim)
    kept = [i for i in range(a.ndim) if i not in axes]
    ordered = sort(_rows_first(a, axes), 0)
    length = ordered.shape[0]
    n = np.sum(np.logical_not(np.isnan(ordered)), axis=0) if skip_nan and length else length
    result = choose(ordered, n)
    if length and not skip_nan:
        result = np.where(np.isnan(ordered[-1]), np.nan, result)
    if keepdims is True:
        shape = tuple(1 if i in axes else m for i, m in enumerate(a.shape))
        result = np.reshape(result, (*np.shape(result)[: np.ndim(result) - len(kept)], *shape))
    return result


def _quantile(ordered: Any, n: Any, q: Any, method: str) -> Any:
    """Quantile along the first axis; shape of ``q`` in front, as in NumPy."""
    q = np.reshape(q, (*np.shape(q), *(1,) * (ordered.ndim - 1)))
    n = n if isinstance(n, int) else n.astype(q.dtype)
    last = np.maximum(n - 1, 0)
    if method in ROUNDED:
        return _rows(ordered, np.clip(ROUNDED[method](q * (n - 1)), 0, last).astype(int))
    if method == "linear":
        place = q * (n - 1)
    elif method in PLOTTING:
        alpha, beta = PLOTTING[method]
        place = q * n + (alpha + q * (1 - alpha - beta)) - 1
    elif method in STEPS:
        return _step(ordered, n, q, method)
    elif method == "midpoint":
        place = 0.5 * (np.floor(q * (n - 1)) + np.ceil(q * (n - 1)))
    else:
        raise unsupported(f"quantile with method={method!r}", "use method='linear'")
    low = np.floor(place)
    below, above = (_rows(ordered, np.clip(i, 0, last).astype(int)) for i in (low, low + 1))
    share, gap = place - low, above - below
    # From the nearer one, as NumPy does: it decides which infinities give NaN.
    return np.where(share < 0.5, below + gap * share, above - gap * (1 - share))


# The definitions that jump from one element to the next: the shift of ``n q``.
STEPS = {"inverted_cdf": 0.0, "averaged_inverted_cdf": 0.0, "closest_observation": -0.5}


def _step(ordered: Any, n: Any, q: Any, method: str) -> Any:
    """Element ``ceil(n q + shift)``, or at a jump the mean with the next, or the even one."""
    last = np.maximum(n - 1, 0)
    place = n * q + STEPS[method]
    before = np.floor(place)
    is_jump = np.equal(place, before)
    if method == "closest_observation":
        stays = np.logical_and(is_jump, np.equal(np.remainder(before, 2), 0))
        before = np.where(stays, before - 1, before)
    elif method == "inverted_cdf":
        before = np.where(is_jump, before - 1, before)
    else:
        low, high = (np.where(is_jump, before - 1, before), before)
        low, high = (_rows(ordered, np.clip(i, 0, last).astype(int)) for i in (low, high))
        return low + (high - low) * 0.5
    return _rows(ordered, np.clip(before, 0, last).astype(int))


def _middle(ordered: Any, n: Any) -> Any:
    """Mean of the one or two elements in the middle."""
    if isinstance(n, int):
        return np.mean(ordered[(n - 1) // 2 : n // 2 + 1], axis=0)
    low, high = (_rows(ordered, i) for i in (np.maximum(n - 1, 0) // 2, n // 2))
    return (low + high) / 2


def _rows(ordered: Any, at: Any) -> Any:
    """``ordered[at[..., j], j]`` for all places j of the axes after the first."""
    rest = ordered.shape[1:]
    at = np.broadcast_to(at, (*np.shape(at)[: np.ndim(at) - len(rest)], *rest))
    return getitem(ordered, (at, *np.ogrid[tuple(slice(m) for m in rest)]) if rest else at)


def _weighted(a: Any, q: Any, axis: Any, keepdims: Any, skip_nan: bool, weights: Any) -> Any:
    """The first element whose share of the running sum of the weights reaches ``q``."""
    a, weights = as_float(a), as_float(weights)
    axes = normalize_axes(axis, a.ndim)
    if a.shape != weights.shape:
        if axis is None:
            raise TypeError("Axis must be specified when shapes of a and weights differ.")
        if weights.shape != tuple(a.shape[i] for i in axes):
            raise ValueError(
                "Shape of weights must be consistent with shape of a along specified axis."
            )
        shape = [n if i in axes else 1 for i, n in enumerate(a.shape)]
        weights = np.broadcast_to(np.reshape(weights, shape), a.shape)
    if skip_nan:
        weights = np.where(np.isnan(a), 0, weights)
    turn = _argsort(_rows_first(a, axes), 0)
    shares = np.cumsum(np.take_along_axis(_rows_first(weights, axes), turn, 0), axis=0)
    shares = shares / shares[-1]

    def choose(ordered: Any, n: Any) -> Any:
        level = np.reshape(q, (*np.shape(q), *(1,) * ordered.ndim))
        reached = np.where(np.equal(shares, 0), -1.0, shares)  # a weight of zero counts for nothing
        place = np.sum(np.less(reached, level), axis=np.ndim(q))
        return _rows(ordered, np.minimum(place, ordered.shape[0] - 1))

    return _in_order(a, axis, keepdims, skip_nan, choose)


def _quantile_function(scale: float, skip_nan: bool) -> Any:
    def quantile(
        a: Any,
        q: Any,
        axis: Any = None,
        out: Any = None,
        overwrite_input: bool = False,
        method: str = "linear",
        keepdims: Any = False,
        *,
        weights: Any = None,
    ) -> Any:
        a = operand(a)
        if isinstance(q, (int, float)) and a.dtype.kind == "f":  # a number does not widen
            q = np.asarray(q, a.dtype)
        q = np.divide(operand(q), scale)
        plain = np.asarray(0 if type(q) is Array else q)
        if not np.all((plain >= 0) & (plain <= 1)):
            what = "Quantiles must be in the range [0, 1]"
            raise ValueError(what if scale == 1 else "Percentiles must be in the range [0, 100]")
        if weights is not None:
            if method != "inverted_cdf":
                raise ValueError(f"Only method 'inverted_cdf' supports weights. Got: {method}.")
            return finish(_weighted(a, q, axis, keepdims, skip_nan, weights), None, out)
        result = _in_order(
            a, axis, keepdims, skip_nan, lambda ordered, n: _quantile(ordered, n, q, method)
        )
        return finish(result, None, out)

    return quantile


implements(np.quantile)(_quantile_function(1, skip_nan=False))
implements(np.percentile)(_quantile_function(100, skip_nan=False))
implements(np.nanquantile)(_quantile_function(1, skip_nan=True))
implements(np.nanpercentile)(_quantile_function(100, skip_nan=True))


def _median_function(skip_nan: bool) -> Any:
    def median(
        a: Any,
        axis: Any = None,
        out: Any = None,
        overwrite_input: bool = False,
        keepdims: Any = False,
    ) -> Any:
        return finish(_in_order(a, axis, keepdims, skip_nan, _middle), None, out)

    return median


implements(np.median)(_median_function(skip_nan=False))
implements(np.nanmedian)(_median_function(skip_nan=True))


# -- searching ------------------------------------------------------------------------------------
@implements(np.searchsorted, method="searchsorted")
def searchsorted(a: Any, v: Any, side: str = "left", sorter: Any = None) -> Any:
    if side not in ("left", "right"):
        raise ValueError(f"side must be 'left' or 'right' (got {side!r})")
    a = operand(a)
    return index.searchsorted(a if sorter is None else a[sorter], operand(v), side=side)


@implements(np.digitize)
def digitize(x: Any, bins: Any, right: bool = False) -> Any:
    bins = operand(bins)
    if bins.size and concrete(bins[0] > bins[-1], "the order of the bins"):
        return bins.size - searchsorted(bins[::-1], x, "left" if right else "right")
    return searchsorted(bins, x, "left" if right else "right")


@implements(np.interp)
def interp(
    x: Any, xp: Any, fp: Any, left: Any = None, right: Any = None, period: float | None = None
) -> Any:
    """Piecewise linear interpolation; differentiable in ``x``, ``xp`` and ``fp``."""
    x, xp, fp = (operand(v) for v in (x, xp, fp))
    x, xp, fp = (v if not hasattr(v, "dtype") else v.astype(np.float64) for v in (x, xp, fp))
    if np.ndim(xp) != 1 or np.ndim(fp) != 1:
        raise ValueError("Data points must be 1-D sequences")
    if xp.size != fp.size:
        raise ValueError("fp and xp are not of the same length.")
    if not xp.size:
        raise ValueError("array of sample points is empty")
    if period is not None:
        x, xp = np.remainder(x, period), np.remainder(xp, period)
        turn = np.argsort(xp)
        xp, fp = xp[turn], fp[turn]
        xp = np.concatenate([xp[-1:] - period, xp, xp[:1] + period])
        fp = np.concatenate([fp[-1:], fp, fp[:1]])
    if xp.size == 1:
        between = fp[0] + 0 * x
    else:
        i = np.clip(searchsorted(xp, x, "right") - 1, 0, xp.size - 2)
        (x0, x1), (y0, y1) = ((take(v, i), take(v, i + 1)) for v in (xp, fp))
        between = y0 + (y1 - y0) / (x1 - x0) * (x - x0)
    below = np.where(np.less(x, xp[0]), fp[0] if left is None else left, between)
    above = fp[-1] if right is None else right
    return finish(np.where(np.greater(x, xp[-1]), above, below), None, None)


@implements(np.bincount)
def bincount(x: Any, /, weights: Any = None, minlength: int = 0) -> Any:
    try:
        x = np.asarray(concrete(x, "np.bincount"))
    except StagingError as error:
        return _counted_in(x, weights, minlength, error)
    if weights is None:
        return np.bincount(x, None, minlength)
    n = np.bincount(x, None, minlength).size  # refuses what NumPy refuses
    weights = operand(weights).astype(np.float64)
    if np.shape(weights) != x.shape:
        raise ValueError("The weights and list don't have the same length.")
    return index.scatter_add(weights, x, shape=(n,))


def _counted_in(x: Any, weights: Any, n: int, error: StagingError) -> Any:
    """The bins of numbers that are not known yet: ``n`` of them, or an IndexError at the call."""
    if not n or x.ndim != 1 or x.dtype.kind not in "iu":
        raise error
    counted = np.ones(x.shape, np.int64) if weights is None else operand(weights)
    if np.shape(counted) != x.shape:
        raise ValueError("The weights and list don't have the same length.")
    if weights is not None:
        counted = counted.astype(np.float64)
    return index.scatter_add(counted, np.where(x < 0, n, x), shape=(n,))


# -- answers that are integers, truth values or text: they have no derivative ---------------------
def _on_values(function: Any) -> Any:
    def answer(*args: Any, **kwargs: Any) -> Any:
        plain = [concrete(a, f"np.{function.__name__}") for a in args]
        return function(*plain, **{k: concrete(v, function.__name__) for k, v in kwargs.items()})

    return answer


ON_VALUES: tuple[Any, ...] = (
    np.bitwise_count,
    np.gcd,
    np.lcm,
    np.packbits,
    np.save,
    np.savetxt,
    np.savez,
    np.savez_compressed,
    np.spacing,
    np.unpackbits,
    np.nonzero,
    np.flatnonzero,
    np.argwhere,
    np.lexsort,
    np.isin,
    np.array_equal,
    np.array_equiv,
    np.allclose,
    np.array_repr,
    np.array_str,
    np.array2string,
)
for _function in ON_VALUES:
    implements(_function)(_on_values(_function))
implements(method="nonzero")(_on_values(np.nonzero))

"""Sums, products, means, extremes and running folds, with NumPy's options."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pullback.core.array import operand
from pullback.core.types import is_differentiable
from pullback.numpy.arguments import (
    finish,
    folded_axes,
    given,
    into,
    line,
    normalize_axes,
    normalize_axis,
    unsupported,
)
from pullback.numpy.registry import implements
from pullback.ops import cumulative, reduce
from pullback.ops.transcendental import root

__all__ = ["abs_squared", "logsumexp", "running"]


def reduced(primitive: Any, a: Any, axes: tuple[int, ...], keepdims: Any, **params: Any) -> Any:
    """Apply a reduction primitive with NumPy's ``keepdims``."""
    shape = a.shape
    result = primitive(a, axis=axes, **params)
    if keepdims is True:
        result = np.reshape(result, tuple(1 if i in axes else n for i, n in enumerate(shape)))
    return result


def masked(a: Any, where: Any, neutral: Any) -> Any:
    """``a`` with a neutral element where ``where`` is false; ``True`` and absence mean nowhere."""
    return np.where(where, a, neutral) if given(where) and where is not True else a


def lowest(dtype: np.dtype[Any]) -> Any:
    """The neutral element of the maximum."""
    if dtype.kind == "c":
        return complex(-np.inf, -np.inf)  # NumPy orders complex numbers by their parts
    return -np.inf if dtype.kind == "f" else False if dtype.kind == "b" else np.iinfo(dtype).min


def highest(dtype: np.dtype[Any]) -> Any:
    """The neutral element of the minimum."""
    if dtype.kind == "c":
        return complex(np.inf, np.inf)
    return np.inf if dtype.kind == "f" else True if dtype.kind == "b" else np.iinfo(dtype).max


# -- sums and products ----------------------------------------------------------------------------
@implements(np.sum, method="sum")
def sum(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    keepdims: Any = False,
    initial: Any = None,
    where: Any = None,
) -> Any:
    a = operand(a)
    if where is not None:
        a = masked(a, where, 0)
    if dtype is not None:
        a = a.astype(dtype)
    result = reduced(reduce.sum, a, folded_axes(axis, len(a.shape)), keepdims)
    if initial is not None and given(initial):
        result = result + _start(initial, result)
    return result if out is None else into(out, result)


@implements(np.prod, method="prod")
def prod(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    keepdims: Any = False,
    initial: Any = None,
    where: Any = None,
) -> Any:
    a = masked(operand(a), where, 1)
    if dtype is not None:
        a = a.astype(dtype)
    result = reduced(reduce.prod, a, folded_axes(axis, a.ndim), keepdims)
    return finish(result * _start(initial, result) if given(initial) else result, None, out)


def count(a: Any, axis: Any, where: Any) -> Any:
    """How many elements a fold of ``a`` over ``axis`` takes: a number, or an array of counts."""
    shape = a.shape
    if where is not None and given(where) and where is not True:
        return np.sum(np.broadcast_to(where, shape), axis=axis, keepdims=True)
    return math.prod([shape[i] for i in normalize_axes(axis, len(shape))])


def _start(initial: Any, result: Any) -> Any:
    """``initial=`` of a fold, in its dtype."""
    initial = operand(initial)
    if not hasattr(initial, "dtype"):
        return np.asarray(initial).astype(result.dtype)[()]  # a number, which kernels hold in them
    return initial.astype(result.dtype)


def _like(n: Any, sums: Any) -> Any:
    """Counts of :func:`count` with the shape and dtype of the sums that they divide."""
    return n if type(n) is int else np.reshape(n, sums.shape).astype(sums.dtype)


@implements(np.mean, method="mean")
def mean(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    keepdims: Any = False,
    *,
    where: Any = None,
) -> Any:
    if dtype is None and not is_differentiable(a.dtype):
        dtype = np.float64
    if where is None or where is np._NoValue or where is True:
        a = a if dtype is None else a.astype(dtype)
        result = reduced(reduce.mean, a, normalize_axes(axis, len(a.shape)), keepdims)
    else:
        n = count(a, axis, where)
        result = sum(a, axis, dtype, None, keepdims, where=where)
        result = result / _like(n, result)
    return result if out is None else into(out, result)


@implements(np.var, method="var")
def var(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    ddof: float = 0,
    keepdims: Any = False,
    *,
    where: Any = None,
    mean: Any = None,
    correction: Any = None,
) -> Any:
    a = operand(a)
    if given(correction):
        ddof = correction
    if not given(mean) and (not given(where) or where is True) and a.dtype.kind == "f":
        axes = normalize_axes(axis, a.ndim)
        return finish(reduced(reduce.var, a, axes, keepdims, ddof=ddof), dtype, out)
    center = mean if given(mean) else np.mean(a, axis=axis, keepdims=True, where=where)
    squares = sum(abs_squared(a - center), axis, dtype, None, keepdims, where=where)
    n = _like(count(a, axis, where), squares)
    rest = n - ddof
    rest = (rest if rest > 0 else 0) if type(n) is int else np.maximum(rest, 0)
    return finish(squares / rest, None, out)


def abs_squared(x: Any) -> Any:
    """``|x|^2``, smooth at zero."""
    if x.dtype.kind != "c":
        return np.square(x)
    return np.square(np.real(x)) + np.square(np.imag(x))


@implements(np.std, method="std")
def std(a: Any, axis: Any = None, dtype: Any = None, out: Any = None, *args: Any, **kw: Any) -> Any:
    """The root of the variance; where that is 0, the derivative is chosen to be 0."""
    variance = var(a, axis, dtype, None, *args, **kw)
    n = count(operand(a), axis, kw.get("where"))
    # One element deviates by nothing from its mean, wherever it is: no choice to be made.
    always_zero = type(n) is int and n == 1 and not args and not kw.get("ddof")
    return finish(variance if always_zero else root(variance), None, out)


def logsumexp(a: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """``log(sum(exp(a)))`` over ``axis`` without overflow; the gradient is the softmax.

    >>> import pullback.numpy as np
    >>> float(np.logsumexp(np.array([1000.0, 1000.0])))
    1000.6931471805599
    """
    a = operand(a)
    if a.dtype.kind == "c":
        raise unsupported("logsumexp of complex numbers", "use np.log(np.sum(np.exp(a)))")
    return reduced(reduce.logsumexp, a, folded_axes(axis, a.ndim), keepdims)


# -- extremes -------------------------------------------------------------------------------------
def _extreme(
    primitive: Any,
    join: np.ufunc,
    neutral: Any,
    a: Any,
    axis: Any,
    out: Any,
    keepdims: Any,
    initial: Any,
    where: Any,
) -> Any:
    a = operand(a)
    if given(where) and where is not True:
        if not given(initial):
            raise ValueError(
                f"reduction operation {join.__name__!r} does not have an identity, "
                "so to use a where mask one has to specify 'initial'"
            )
        a = masked(a, where, neutral(a.dtype))
    axes = folded_axes(axis, a.ndim)
    if given(initial) and not a.size:
        shape = tuple(1 if i in axes else n for i, n in enumerate(a.shape))
        a = np.full(shape, neutral(a.dtype), a.dtype)
    result = reduced(primitive, a, axes, keepdims)
    return finish(join(result, _start(initial, result)) if given(initial) else result, None, out)


@implements(np.max, np.amax, method="max")
def max(
    a: Any,
    axis: Any = None,
    out: Any = None,
    keepdims: Any = False,
    initial: Any = None,
    where: Any = None,
) -> Any:
    return _extreme(reduce.max, np.maximum, lowest, a, axis, out, keepdims, initial, where)


@implements(np.min, np.amin, method="min")
def min(
    a: Any,
    axis: Any = None,
    out: Any = None,
    keepdims: Any = False,
    initial: Any = None,
    where: Any = None,
) -> Any:
    return _extreme(reduce.min, np.minimum, highest, a, axis, out, keepdims, initial, where)


@implements(np.ptp)
def ptp(a: Any, axis: Any = None, out: Any = None, keepdims: Any = False) -> Any:
    return finish(max(a, axis, None, keepdims) - min(a, axis, None, keepdims), None, out)


def _position(primitive: Any, a: Any, axis: Any, out: Any, keepdims: Any) -> Any:
    a = operand(a)
    row, place = line(a, axis)
    result = primitive(row, axis=(place,))
    if keepdims is True:
        result = np.reshape(
            result, [1 if axis is None or i == place else n for i, n in enumerate(a.shape)]
        )
    return finish(result, None, out)


@implements(np.argmax, method="argmax")
def argmax(a: Any, axis: Any = None, out: Any = None, *, keepdims: Any = False) -> Any:
    return _position(reduce.argmax, a, axis, out, keepdims)


@implements(np.argmin, method="argmin")
def argmin(a: Any, axis: Any = None, out: Any = None, *, keepdims: Any = False) -> Any:
    return _position(reduce.argmin, a, axis, out, keepdims)


# -- counts ---------------------------------------------------------------------------------------
@implements(np.count_nonzero)
def count_nonzero(a: Any, axis: Any = None, *, keepdims: Any = False) -> Any:
    return sum(np.not_equal(a, 0), axis, None, None, keepdims)


@implements(np.any, method="any")
def any(
    a: Any, axis: Any = None, out: Any = None, keepdims: Any = False, *, where: Any = None
) -> Any:
    found = sum(np.not_equal(a, 0), axis, None, None, keepdims, where=where)
    return finish(np.greater(found, 0), None, out)


@implements(np.all, method="all")
def all(
    a: Any, axis: Any = None, out: Any = None, keepdims: Any = False, *, where: Any = None
) -> Any:
    failed = sum(np.equal(a, 0), axis, None, None, keepdims, where=where)
    return finish(np.equal(failed, 0), None, out)


# -- running folds --------------------------------------------------------------------------------
def accumulate(ufunc: np.ufunc, a: Any, axis: int) -> Any:
    """``ufunc.accumulate`` of an associative function."""
    if ufunc is np.add:
        return cumulative.cumsum(a, axis=axis)
    if ufunc is np.multiply:
        return cumulative.cumprod(a, axis=axis)
    return cumulative.doubling(lambda x, y: (ufunc(x, y),), (a,), axis)[0]


def running(ufunc: np.ufunc, a: Any, axis: Any, dtype: Any, out: Any) -> Any:
    """``ufunc.accumulate`` with NumPy's ``axis=None``, result dtype and ``out``."""
    a, axis = line(operand(a), axis)
    wanted = dtype or ufunc.reduce(np.ones(1, a.dtype)).dtype
    a = a if a.dtype == wanted else a.astype(wanted)
    return finish(accumulate(ufunc, a, axis), None, out)


@implements(np.cumsum, method="cumsum")
def cumsum(a: Any, axis: Any = None, dtype: Any = None, out: Any = None) -> Any:
    return running(np.add, a, axis, dtype, out)


@implements(np.cumprod, method="cumprod")
def cumprod(a: Any, axis: Any = None, dtype: Any = None, out: Any = None) -> Any:
    return running(np.multiply, a, axis, dtype, out)


def _with_start(ufunc: np.ufunc, x: Any, axis: Any, dtype: Any, out: Any, start: bool) -> Any:
    x = np.atleast_1d(operand(x))
    if axis is None:
        if x.ndim != 1:
            raise ValueError(
                "For arrays which have more than one dimension ``axis`` argument is required."
            )
        axis = 0
    result = running(ufunc, x, axis, dtype, None)
    if start:
        axis = normalize_axis(axis, x.ndim)
        shape = tuple(1 if i == axis else n for i, n in enumerate(x.shape))
        result = np.concatenate([np.full(shape, ufunc.identity, result.dtype), result], axis)
    return finish(result, None, out)


@implements(np.cumulative_sum)
def cumulative_sum(
    x: Any,
    /,
    *,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    include_initial: bool = False,
) -> Any:
    return _with_start(np.add, x, axis, dtype, out, include_initial)


@implements(np.cumulative_prod)
def cumulative_prod(
    x: Any,
    /,
    *,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    include_initial: bool = False,
) -> Any:
    return _with_start(np.multiply, x, axis, dtype, out, include_initial)


# -- folds that skip NaN --------------------------------------------------------------------------
def _without_nan(function: Any, neutral: Any) -> Any:
    """The NaN-skipping twin of a fold with a neutral element."""

    def fold(a: Any, *args: Any, **kwargs: Any) -> Any:
        a = operand(a)
        return function(np.where(np.isnan(a), neutral, a), *args, **kwargs)

    return fold


NAN_SKIPPING: list[tuple[Any, Any, float]] = [
    (np.nansum, sum, 0),
    (np.nanprod, prod, 1),
    (np.nancumsum, cumsum, 0),
    (np.nancumprod, cumprod, 1),
    (np.nanargmax, argmax, -np.inf),
    (np.nanargmin, argmin, np.inf),
]
for _name, _function, _neutral in NAN_SKIPPING:
    implements(_name)(_without_nan(_function, _neutral))


def _nan_extreme(extreme: Any, neutral: float) -> Any:
    def fold(
        a: Any,
        axis: Any = None,
        out: Any = None,
        keepdims: Any = False,
        initial: Any = None,
        where: Any = None,
    ) -> Any:
        a = operand(a)
        if not is_differentiable(a.dtype):
            return extreme(a, axis, out, keepdims, initial, where)
        none = all(np.isnan(a), axis, None, keepdims, where=where)
        numbers = np.where(np.isnan(a), neutral, a)
        found = extreme(numbers, axis, None, keepdims, initial, where)
        if given(initial):  # which counts among the numbers
            return finish(found, None, out)
        return finish(np.where(none, np.nan, found), None, out)

    return fold


implements(np.nanmax)(_nan_extreme(max, -np.inf))
implements(np.nanmin)(_nan_extreme(min, np.inf))


def _over_numbers(function: Any) -> Any:
    def fold(a: Any, *args: Any, where: Any = True, **kwargs: Any) -> Any:
        a = operand(a)
        numbers = np.logical_not(np.isnan(a))
        if given(where) and where is not True:
            numbers = np.logical_and(numbers, where)
        return function(np.where(numbers, a, 0), *args, where=numbers, **kwargs)

    return fold


implements(np.nanmean)(_over_numbers(mean))


def _deviations(function: Any) -> Any:
    """Of too few numbers for ``ddof`` NumPy says NaN here, not infinity."""
    of_numbers = _over_numbers(function)

    def fold(
        a: Any, axis: Any = None, dtype: Any = None, out: Any = None, ddof: Any = 0, **options: Any
    ) -> Any:
        a = operand(a)
        found = of_numbers(a, axis, dtype, None, ddof, **options)
        where = options.get("where", True)
        numbers = np.logical_and(np.logical_not(np.isnan(a)), where if given(where) else True)
        n = np.sum(numbers, axis=axis, keepdims=options.get("keepdims", False))
        return finish(np.where(n - ddof > 0, found, np.nan), None, out)

    return fold


implements(np.nanvar)(_deviations(var))
implements(np.nanstd)(_deviations(std))

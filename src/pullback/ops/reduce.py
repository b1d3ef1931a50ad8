"""Folds over axes: sum, product, extremes and their positions, variance, log-sum-exp."""

from __future__ import annotations

from typing import Any

import numpy as np

from pullback.core.primitive import NO_DERIVATIVE, Primitive, Sample
from pullback.core.types import ArrayType, is_differentiable
from pullback.ops.families import Accumulator, conjugate, draw, reduction
from pullback.ops.identity import stop_gradient
from pullback.ops.shape import broadcast_to, inverse, reshape

__all__ = ["expand", "others"]

Axes = tuple[int, ...]


def expand(value: Any, x_type: ArrayType, axis: Axes) -> Any:
    """Put the folded axes back with length 1, ready to broadcast against the operand."""
    return reshape(value, shape=tuple([1 if i in axis else n for i, n in enumerate(x_type.shape)]))


def stretch(ct: Any, shape: tuple[int, ...]) -> Any:
    """``np.broadcast_to``, quickly for the one number that a full reduction sends back."""
    if isinstance(ct, (np.ndarray, np.generic)) and not ct.ndim:
        repeated: Any = np.ndarray(shape, ct.dtype, np.asarray(ct), strides=(0,) * len(shape))
        repeated.flags.writeable = False
        return repeated
    return broadcast_to(ct, shape=shape)


def count(x: Any, axis: Axes) -> int:
    """How many elements of ``x``, an array or a type, each fold over ``axis`` takes."""
    n = 1
    for i in axis:
        n *= x.shape[i]
    return n


def samples(rng: np.random.Generator, dtype: np.dtype[Any]) -> list[Sample]:
    if not is_differentiable(dtype):
        return [Sample((rng.integers(0, 5, (2, 3)).astype(dtype),), {"axis": (1,)})]
    places = [((3, 4), (0,)), ((3, 4), (0, 1)), ((2, 3, 2), (1,)), ((5,), ()), ((1,), (0,))]
    return [Sample((draw(rng, dtype, *shape) / 3,), {"axis": axis}) for shape, axis in places]


sum: Primitive = reduction(
    "sum",
    lambda x, *, axis: np.add.reduce(x, axis=axis),
    doc="y = sum of x over the axes `axis`",
    out_dtype=lambda dtype: np.add.reduce(np.zeros(1, dtype)).dtype,
    jvp=lambda x, x_dot, y, *, axis: sum(x_dot, axis=axis),
    vjp=lambda ct, x_type, *, axis: stretch(
        ct if len(axis) == x_type.ndim else expand(ct, x_type, axis), x_type.shape
    ),
    accumulator=Accumulator(
        start=lambda b, like: (b.const(0, like),),
        step=lambda b, s, x, i: (b.add(s[0], x),),
        merge=lambda b, s, t: (b.add(s[0], t[0]),),
        finish=lambda b, s, n: s[0],
    ),
    samples=lambda rng, dtype: [
        *samples(rng, dtype),
        Sample((np.zeros((0, 2), dtype),), {"axis": (0,)}),
    ],
)


mean: Primitive = reduction(
    "mean",
    lambda x, *, axis: np.add.reduce(x, axis=axis) / count(x, axis),
    doc="y = (sum of x) / n over the n elements of the axes `axis`",
    out_dtype=lambda dtype: dtype if is_differentiable(dtype) else np.float64,
    jvp=lambda x, x_dot, y, *, axis: mean(x_dot, axis=axis),
    vjp=lambda ct, x_type, *, axis: stretch(
        (ct if len(axis) == len(x_type.shape) else expand(ct, x_type, axis)) / count(x_type, axis),
        x_type.shape,
    ),
    accumulator=Accumulator(
        start=lambda b, like: (b.const(0, like),),
        step=lambda b, s, x, i: (b.add(s[0], x),),
        merge=lambda b, s, t: (b.add(s[0], t[0]),),
        finish=lambda b, s, n: b.div(s[0], b.const(n, s[0])),
    ),
    samples=samples,
)


def others(x: Any, axis: int) -> Any:
    """Per element, the product of all other elements along ``axis``; zeros need no special case.

    Neighbors are multiplied in pairs: the others of an element are its partner and the others of
    their product, so n elements take ``2 log2 n`` steps.
    """
    n = x.shape[axis]
    if n <= 1:
        return np.ones_like(x)

    def part(value: Any, start: int, stop: int) -> Any:
        return value[(slice(None),) * axis + (slice(start, stop),)]

    half = n // 2
    low, high, odd = part(x, 0, half), part(x, half, 2 * half), part(x, 2 * half, n)
    pairs = others(np.concatenate([low * high, odd], axis=axis), axis)
    rest = part(pairs, 0, half)
    return np.concatenate([rest * high, rest * low, part(pairs, half, n)], axis=axis)


def _all_others(x: Any, axis: Axes) -> Any:
    """The same over several axes."""
    if not x.size or not axis:
        return np.ones_like(x)
    kept = tuple(i for i in range(x.ndim) if i not in axis)
    order = (*kept, *axis)
    front = np.transpose(x, order)
    flat = np.reshape(front, (*front.shape[: len(kept)], -1))
    products = np.reshape(others(flat, len(kept)), front.shape)
    return np.transpose(products, inverse(order))


prod: Primitive = reduction(
    "prod",
    lambda x, *, axis: np.multiply.reduce(x, axis=axis),
    doc="y = product of x over the axes `axis`",
    out_dtype=lambda dtype: np.multiply.reduce(np.zeros(1, dtype)).dtype,
    jvp=lambda x, x_dot, y, *, axis: sum(x_dot * _all_others(x, axis), axis=axis),
    vjp=lambda ct, x_type, x, *, axis: expand(ct, x_type, axis) * conjugate(_all_others(x, axis)),
    accumulator=Accumulator(
        start=lambda b, like: (b.const(1, like),),
        step=lambda b, s, x, i: (b.mul(s[0], x),),
        merge=lambda b, s, t: (b.mul(s[0], t[0]),),
        finish=lambda b, s, n: s[0],
    ),
    samples=lambda rng, dtype: [
        *samples(rng, dtype),
        Sample((np.asarray([[0, 2, 3], [0, 0, 4]], dtype),), {"axis": (1,)}),
        Sample((np.zeros((0, 2), dtype),), {"axis": (0,)}),
    ],
)


# -- extremes -------------------------------------------------------------------------------------
def _shared(ct: Any, x: Any, y: Any, x_type: ArrayType, axis: Axes) -> Any:
    """``ct / (number of ties)`` at the places that attain the extreme y, else 0."""
    attained = x == expand(y, x_type, axis)
    number = expand(sum(attained.astype(x_type.dtype), axis=axis), x_type, axis)
    return np.where(attained, ct, 0) / number


def _ranked(samples: list[Sample]) -> list[Sample]:
    """The same samples with well separated values: the order of each array's elements."""
    ranks = [np.argsort(np.argsort(s.args[0], axis=None)) for s in samples]
    return [
        Sample((np.reshape(r, s.args[0].shape).astype(s.args[0].dtype),), s.params)
        for r, s in zip(ranks, samples, strict=True)
    ]


def _extreme(ufunc: Any, name: str, doc: str, relation: str, start: float) -> Primitive:
    """Largest or smallest element."""
    return reduction(
        name,
        lambda x, *, axis: ufunc.reduce(x, axis=axis),
        doc=doc,
        out_dtype=lambda dtype: dtype,
        jvp=lambda x, x_dot, y, *, axis: sum(
            _shared(x_dot, x, y, ArrayType(x.shape, x.dtype), axis), axis=axis
        ),
        vjp=lambda ct, x_type, x, y, *, axis: _shared(expand(ct, x_type, axis), x, y, x_type, axis),
        accumulator=Accumulator(
            start=lambda b, like: (b.const(start, like),),
            step=lambda b, s, x, i: (b.extreme(relation, s[0], x),),
            merge=lambda b, s, t: (b.extreme(relation, s[0], t[0]),),
            finish=lambda b, s, n: s[0],
        ),
        kinks="ties: equal shares to all that attain it",
        samples=lambda rng, dtype: [
            *_ranked(samples(rng, dtype)),
            Sample((np.asarray([[1, 2, 2], [3, 3, 3]], dtype),), {"axis": (1,)}, kink=True),
            Sample((np.zeros((2, 2), dtype),), {"axis": (0,)}, kink=True),
        ],
    )


max = _extreme(np.maximum, "max", "y = largest x over the axes `axis`; NaN if any is", ">", -np.inf)
min = _extreme(np.minimum, "min", "y = smallest x over the axes `axis`; NaN if any is", "<", np.inf)


def _variance(x: Any, *, axis: Axes, ddof: int) -> Any:
    return np.var(x, axis=axis, ddof=ddof)


def _centered(x: Any, x_type: ArrayType, axis: Axes) -> Any:
    return x - expand(mean(x, axis=axis), x_type, axis)


def _twice_over(n: float) -> float:
    """``2 / n``; NumPy takes what is not positive for 0, by which the variance is infinite."""
    return 2 / n if n > 0 else np.inf


def _mean_square(x: Any, *, axis: Axes, ddof: int) -> Any:
    """The variance in two passes, as NumPy computes it."""
    x_type = ArrayType(x.shape, x.dtype)
    n = count(x_type, axis) - ddof
    return sum(np.square(_centered(x, x_type, axis)), axis=axis) / (n if n > 0 else 0)


var = reduction(
    "var",
    _variance,
    doc="y = sum (x - mean x)^2 / (n - ddof) over the axes `axis`",
    out_dtype=lambda dtype: dtype if dtype.kind == "f" else np.float64,
    jvp=lambda x, x_dot, y, *, axis, ddof: (
        sum(_centered(x, ArrayType(x.shape, x.dtype), axis) * x_dot, axis=axis)
        * _twice_over(count(x, axis) - ddof)
    ),
    vjp=lambda ct, x_type, x, *, axis, ddof: (
        expand(ct, x_type, axis)
        * _centered(x, x_type, axis)
        * _twice_over(count(x_type, axis) - ddof)
    ),
    expansion=_mean_square,
    flops=4,
    samples=lambda rng, dtype: (
        [Sample(s.args, {**s.params, "ddof": 0}) for s in samples(rng, dtype) if s.params["axis"]]
        + [Sample((rng.normal(size=(4, 3)).astype(dtype),), {"axis": (0,), "ddof": 1})]
        if dtype.kind != "c"
        else []
    ),
)


def _logsumexp(x: Any, *, axis: Axes) -> Any:
    peak = np.maximum.reduce(x, axis=axis, keepdims=True, initial=-np.inf)
    peak = np.where(np.isfinite(peak), peak, 0).astype(x.dtype)
    with np.errstate(divide="ignore"):
        return np.log(np.add.reduce(np.exp(x - peak), axis=axis)) + np.squeeze(peak, axis)


def _shifted(x: Any, *, axis: Axes) -> Any:
    """The same function of traced values."""
    if not count(x, axis):
        return sum(x, axis=axis) - np.inf
    peak = stop_gradient(max(x, axis=axis))
    peak = np.where(np.isfinite(peak), peak, 0)
    powers = np.exp(x - expand(peak, ArrayType(x.shape, x.dtype), axis))
    return np.log(sum(powers, axis=axis)) + peak


def _softmax(x: Any, axis: Axes) -> Any:
    """Each power's share of their sum; infinite ones share it, and minus infinity has none."""
    if not x.size:
        return x
    x_type = ArrayType(x.shape, x.dtype)
    peak = stop_gradient(max(x, axis=axis))
    is_infinite = expand(np.isinf(peak), x_type, axis)
    peak = np.where(np.isfinite(peak), peak, 0)
    powers = np.exp(x - expand(peak, x_type, axis))
    powers = np.where(is_infinite, x == np.inf, powers).astype(x.dtype)
    total = sum(powers, axis=axis)
    return powers / expand(np.where(total == 0, 1, total), x_type, axis)


logsumexp = reduction(
    "logsumexp",
    _logsumexp,
    doc="y = log sum exp x over the axes `axis`, without overflow",
    out_dtype=lambda dtype: dtype if dtype.kind == "f" else np.float64,
    jvp=lambda x, x_dot, y, *, axis: sum(x_dot * _softmax(x, axis), axis=axis),
    vjp=lambda ct, x_type, x, *, axis: expand(ct, x_type, axis) * _softmax(x, axis),
    expansion=_shifted,
    flops=20,
    kinks="all operands -inf: y = -inf and the gradient is 0; several inf share it",
    samples=lambda rng, dtype: (
        [
            *(s for s in samples(rng, dtype) if s.params["axis"]),
            Sample((np.asarray([[1000, 0], [-1000, -1000]], dtype),), {"axis": (1,)}),
        ]
        if dtype.kind == "f"
        else []
    ),
)


def _arg_extreme(function: Any, name: str, doc: str, relation: str, start: float) -> Primitive:
    """Position of the first extreme element; a NaN counts as extreme."""

    def keep(b: Any, left: Any, right: Any) -> Any:
        def choose(i: int) -> Any:
            kept = b.select(b.compare("!=", right[0], right[0]), right[i], left[i])
            kept = b.select(b.compare(relation, right[0], left[0]), right[i], kept)
            return b.select(b.compare("!=", left[0], left[0]), left[i], kept)

        return choose(0), choose(1)

    return reduction(
        name,
        lambda x, *, axis: np.asarray(function(x, axis=axis[0]), np.int64),
        doc=doc,
        out_dtype=lambda dtype: np.int64,
        jvp=NO_DERIVATIVE,
        vjp=NO_DERIVATIVE,
        accumulator=Accumulator(
            start=lambda b, like: (b.const(start, like), b.cast(b.const(0, like), np.int64)),
            step=lambda b, s, x, i: keep(b, s, (x, i)),
            merge=lambda b, s, t: keep(b, s, t),
            finish=lambda b, s, n: s[1],
        ),
        samples=lambda rng, dtype: [
            *(s for s in samples(rng, dtype) if len(s.params["axis"]) == 1),
            Sample((np.asarray([[1, 2, 2], [3, 3, 3]], dtype),), {"axis": (1,)}),
        ],
    )


argmax = _arg_extreme(
    np.argmax, "argmax", "y = position of the first largest x along `axis`", ">", -np.inf
)
argmin = _arg_extreme(
    np.argmin, "argmin", "y = position of the first smallest x along `axis`", "<", np.inf
)

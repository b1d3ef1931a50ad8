"""Folds over axes: sum, max, variance, log-sum-exp, argmax."""

from __future__ import annotations

from typing import Any

import numpy as np

from pullback.core.primitive import NO_DERIVATIVE, Primitive, Sample
from pullback.core.types import ArrayType
from pullback.ops.families import Accumulator, reduction, stretch

__all__ = ["expand"]

Axes = tuple[int, ...]


def expand(value: Any, x_type: ArrayType, axis: Axes) -> Any:
    """Put the folded axes back with length 1, ready to broadcast against the operand."""
    return np.reshape(value, tuple(1 if i in axis else n for i, n in enumerate(x_type.shape)))


def count(x_type: ArrayType, axis: Axes) -> int:
    n = 1
    for i in axis:
        n *= x_type.shape[i]
    return n


def samples(rng: np.random.Generator, dtype: np.dtype[Any]) -> list[Sample]:
    if dtype.kind != "f":
        return [Sample((rng.integers(0, 5, (2, 3)).astype(dtype),), {"axis": (1,)})]

    def draw(*shape: int) -> Any:
        return rng.normal(size=shape).astype(dtype)

    return [
        Sample((draw(3, 4),), {"axis": (0,)}),
        Sample((draw(3, 4),), {"axis": (0, 1)}),
        Sample((draw(2, 3, 2),), {"axis": (1,)}),
        Sample((draw(5),), {"axis": ()}),
        Sample((draw(1),), {"axis": (0,)}),
    ]


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


def _max_share(x: Any, y: Any, x_type: ArrayType, axis: Axes) -> Any:
    """1 / (number of ties) at the places of the maximum, else 0."""
    at_max = (x == expand(y, x_type, axis)).astype(x_type.dtype)
    return at_max / expand(sum(at_max, axis=axis), x_type, axis)


max = reduction(
    "max",
    lambda x, *, axis: np.maximum.reduce(x, axis=axis),
    doc="y = largest x over the axes `axis`; NaN if any is",
    out_dtype=lambda dtype: dtype,
    jvp=lambda x, x_dot, y, *, axis: sum(
        x_dot * _max_share(x, y, ArrayType(x.shape, x.dtype), axis), axis=axis
    ),
    vjp=lambda ct, x_type, x, y, *, axis: expand(ct, x_type, axis) * _max_share(x, y, x_type, axis),
    accumulator=Accumulator(
        start=lambda b, like: (b.const(-np.inf, like),),
        step=lambda b, s, x, i: (
            b.select(b.compare(">", s[0], x), s[0], b.select(b.compare("!=", s[0], s[0]), s[0], x)),
        ),
        merge=lambda b, s, t: (
            b.select(
                b.compare(">", s[0], t[0]), s[0], b.select(b.compare("!=", s[0], s[0]), s[0], t[0])
            ),
        ),
        finish=lambda b, s, n: s[0],
    ),
    kinks="ties: equal shares to all that attain the maximum",
    samples=lambda rng, dtype: [
        *samples(rng, dtype),
        Sample((np.asarray([[1, 2, 2], [3, 3, 3]], dtype),), {"axis": (1,)}, kink=True),
    ],
)


def _variance(x: Any, *, axis: Axes, ddof: int) -> Any:
    return np.var(x, axis=axis, ddof=ddof)


def _centered(x: Any, x_type: ArrayType, axis: Axes) -> Any:
    return x - expand(sum(x, axis=axis), x_type, axis) / count(x_type, axis)


var = reduction(
    "var",
    _variance,
    doc="y = sum (x - mean x)^2 / (n - ddof) over the axes `axis`",
    out_dtype=lambda dtype: dtype if dtype.kind == "f" else np.float64,
    jvp=lambda x, x_dot, y, *, axis, ddof: (
        sum(_centered(x, ArrayType(x.shape, x.dtype), axis) * x_dot, axis=axis)
        * (2 / (count(ArrayType(x.shape, x.dtype), axis) - ddof))
    ),
    vjp=lambda ct, x_type, x, *, axis, ddof: (
        expand(ct, x_type, axis) * _centered(x, x_type, axis) * (2 / (count(x_type, axis) - ddof))
    ),
    accumulator=Accumulator(  # Welford (1962), merged as in Chan, Golub & LeVeque (1983)
        start=lambda b, like: (b.const(0, like), b.const(0, like), b.const(0, like)),
        step=lambda b, s, x, i: _welford(b, s, x),
        merge=lambda b, s, t: _join_moments(b, s, t),
        finish=lambda b, s, n, ddof: b.div(s[2], b.const(n - ddof, s[2])),
    ),
    flops=4,
    samples=lambda rng, dtype: (
        [Sample(s.args, {**s.params, "ddof": 0}) for s in samples(rng, dtype) if s.params["axis"]]
        + [Sample((rng.normal(size=(4, 3)).astype(dtype),), {"axis": (0,), "ddof": 1})]
    ),
)


def _welford(b: Any, state: Any, x: Any) -> Any:
    n, mean, squares = state
    n = b.add(n, b.const(1, n))
    delta = b.sub(x, mean)
    mean = b.add(mean, b.div(delta, n))
    return n, mean, b.add(squares, b.mul(delta, b.sub(x, mean)))


def _join_moments(b: Any, left: Any, right: Any) -> Any:
    n = b.add(left[0], right[0])
    safe = b.select(b.compare("==", n, b.const(0, n)), b.const(1, n), n)
    delta = b.sub(right[1], left[1])
    share = b.div(right[0], safe)
    mean = b.add(left[1], b.mul(delta, share))
    return (
        n,
        mean,
        b.add(b.add(left[2], right[2]), b.mul(b.mul(delta, delta), b.mul(left[0], share))),
    )


def _logsumexp(x: Any, *, axis: Axes) -> Any:
    peak = np.maximum.reduce(x, axis=axis, keepdims=True, initial=-np.inf)
    peak = np.where(np.isfinite(peak), peak, 0).astype(x.dtype)
    with np.errstate(divide="ignore"):
        return np.log(np.add.reduce(np.exp(x - peak), axis=axis)) + np.squeeze(peak, axis)


def _softmax(x: Any, y: Any, x_type: ArrayType, axis: Axes) -> Any:
    """exp(x - y), and 0 where the whole fold is minus infinity."""
    y = expand(y, x_type, axis)
    return np.exp(x - np.where(y == -np.inf, 0, y))


logsumexp = reduction(
    "logsumexp",
    _logsumexp,
    doc="y = log sum exp x over the axes `axis`, without overflow",
    out_dtype=lambda dtype: dtype if dtype.kind == "f" else np.float64,
    jvp=lambda x, x_dot, y, *, axis: sum(
        x_dot * _softmax(x, y, ArrayType(x.shape, x.dtype), axis), axis=axis
    ),
    vjp=lambda ct, x_type, x, y, *, axis: expand(ct, x_type, axis) * _softmax(x, y, x_type, axis),
    # Running maximum and rescaled sum: Milakov and Gimelshein (2018), algorithm 3.
    accumulator=Accumulator(
        start=lambda b, like: (b.const(-np.inf, like), b.const(0, like)),
        step=lambda b, s, x, i: _join_exponentials(b, s, (x, b.const(1, x))),
        merge=lambda b, s, t: _join_exponentials(b, s, t),
        finish=lambda b, s, n: b.add(s[0], b.call("log", s[1])),
    ),
    flops=20,
    kinks="all operands -inf: y = -inf and the gradient is 0",
    samples=lambda rng, dtype: (
        [
            *(s for s in samples(rng, dtype) if s.params["axis"]),
            Sample((np.asarray([[1000, 0], [-1000, -1000]], dtype),), {"axis": (1,)}),
        ]
        if dtype.kind == "f"
        else []
    ),
)


def _join_exponentials(b: Any, left: Any, right: Any) -> Any:
    """(m, s) stands for s e^m; a part with s = 0 or m = -inf adds nothing."""
    larger = b.select(
        b.compare(">", left[0], right[0]),
        left[0],
        b.select(b.compare("!=", left[0], left[0]), left[0], right[0]),
    )
    zero = b.const(0, larger)

    def scaled(m: Any, s: Any) -> Any:
        return b.select(b.compare("==", m, larger), s, b.mul(s, b.call("exp", b.sub(m, larger))))

    none = b.compare("==", larger, b.const(-np.inf, larger))
    total = b.add(scaled(*left), scaled(*right))
    return larger, b.select(none, zero, total)


argmax = reduction(
    "argmax",
    lambda x, *, axis: _arg(np.argmax, x, axis),
    doc="y = position of the largest x along the single axis in `axis`",
    out_dtype=lambda dtype: np.int64,
    jvp=NO_DERIVATIVE,
    vjp=NO_DERIVATIVE,
    accumulator=Accumulator(
        start=lambda b, like: (b.const(-np.inf, like), b.cast(b.const(0, like), np.int64)),
        step=lambda b, s, x, i: _keep_larger(b, s, (x, i)),
        merge=lambda b, s, t: _keep_larger(b, s, t),
        finish=lambda b, s, n: s[1],
    ),
    samples=lambda rng, dtype: [s for s in samples(rng, dtype) if len(s.params["axis"]) == 1],
)


def _arg(function: Any, x: Any, axis: Axes) -> Any:
    return np.asarray(function(x, axis=axis[0]), np.int64)


def _keep_larger(b: Any, left: Any, right: Any) -> Any:
    keep = b.compare(">=", left[0], right[0])
    return b.select(keep, left[0], right[0]), b.select(keep, left[1], right[1])

"""Running sums and products."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pullback.core.primitive import Primitive, Rule, Sample
from pullback.core.types import ArrayType
from pullback.ops import reduce
from pullback.ops.families import cast, conjugate, draw, linear, move_axis

__all__ = ["doubling", "part"]


def part(x: Any, axis: int, start: int | None, stop: int | None, step: int | None = None) -> Any:
    """``x[start:stop:step]`` along ``axis``."""
    return x[(slice(None),) * axis + (slice(start, stop, step),)]


def doubling(
    join: Callable[..., tuple[Any, ...]], state: tuple[Any, ...], axis: int
) -> tuple[Any, ...]:
    """Fold the elements up to each one, with an associative ``join(*later, *earlier)``.

    In log2 n steps of doubling reach: Hillis & Steele (1986), *Data parallel algorithms*. Being
    composed, it has derivatives of all orders.
    """
    reach = 1
    while reach < state[0].shape[axis]:
        later = [part(x, axis, reach, None) for x in state]
        joined = join(*later, *[part(x, axis, None, -reach) for x in state])
        state = tuple(
            np.concatenate([part(x, axis, None, reach), y], axis)
            for x, y in zip(state, joined, strict=True)
        )
        reach *= 2
    return state


def _samples(rng: np.random.Generator, dtype: np.dtype[Any]) -> list[Sample]:
    shapes = [(3, 4), (2, 3, 4), (5,), (1,), (2, 0)]
    axes = [0, 1, 0, 0, 1]
    return [
        Sample((draw(rng, dtype, *shape),), {"axis": axis})
        for shape, axis in zip(shapes, axes, strict=True)
    ]


def _flops(types: Any, out_types: Any, params: Any) -> int:
    return int(types[0].size)


# -- sums -----------------------------------------------------------------------------------------
def _sum_from_the_end(ct: Any, axis: int) -> Any:
    backward = cumsum(part(ct, axis, None, None, -1), axis=axis)
    return part(backward, axis, None, None, -1)


cumsum: Primitive = linear(
    "cumsum",
    lambda x, *, axis: np.add.accumulate(x, axis=axis, dtype=np.add.reduce(x[:0]).dtype),
    doc="y[i] = x[0] + ... + x[i] along `axis`",
    type_rule=lambda x, *, axis: ArrayType(x.shape, np.add.reduce(np.zeros(0, x.dtype)).dtype),
    transpose=lambda ct, x_type, *, axis: cast(_sum_from_the_end(ct, axis), x_type.dtype),
    batch=lambda args, axes, params: (
        cumsum(move_axis(args[0], axes[0], 0), axis=params["axis"] + 1),
        0,
    ),
    family="cumulative",
    scalar=reduce.sum.scalar,
    flops=_flops,
    samples=_samples,
)


# -- products -------------------------------------------------------------------------------------
def _before(x: Any, axis: int) -> Any:
    """The element before each one, and 1 before the first."""
    return np.concatenate([np.ones_like(part(x, axis, 0, 1)), part(x, axis, None, -1)], axis)


def _recurrence(a: Any, b: Any, axis: int) -> Any:
    """``h[i] = a[i] h[i - 1] + b[i]``, where ``h[-1] = 0``."""

    def join(a: Any, b: Any, a0: Any, b0: Any) -> tuple[Any, Any]:
        return a * a0, a * b0 + b

    return doubling(join, (a, b), axis)[1]


def _push(primals: Any, tangents: Any, y: Any, params: Any) -> Any:
    (x,), (x_dot,), axis = primals, tangents, params["axis"]
    return _recurrence(x, _before(y, axis) * x_dot, axis)


def _pull(ct: Any, x: Any, y: Any, *, axis: int) -> Any:
    x, ct = (part(v, axis, None, None, -1) for v in (conjugate(x), ct))
    later = _recurrence(_before(x, axis), ct, axis)
    return conjugate(_before(y, axis)) * part(later, axis, None, None, -1)


cumprod: Primitive = Primitive(
    name="cumprod",
    doc="y[i] = x[0] ... x[i] along `axis`",
    numpy=lambda x, *, axis: np.multiply.accumulate(
        x, axis=axis, dtype=np.multiply.reduce(x[:0]).dtype
    ),
    type_rule=lambda x, *, axis: ArrayType(x.shape, np.multiply.reduce(np.zeros(0, x.dtype)).dtype),
    jvp=_push,
    vjp=(Rule(_pull),),
    batch=lambda args, axes, params: (
        cumprod(move_axis(args[0], axes[0], 0), axis=params["axis"] + 1),
        0,
    ),
    family="cumulative",
    scalar=reduce.prod.scalar,
    flops=_flops,
    samples=lambda rng, dtype: [
        *_samples(rng, dtype),
        Sample((np.asarray([[2, 0, 3, 4], [0, 5, 0, 2]], dtype),), {"axis": 1}),
    ],
)

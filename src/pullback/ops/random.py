"""Random bits as a function of a state, so that every recomputation draws the same numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from pullback.core.primitive import NO_DERIVATIVE, Primitive, Sample
from pullback.core.types import ArrayType, Shape
from pullback.ops.families import move_axis

__all__: list[str] = []


def _bits(state: Any, *, shape: Shape) -> Any:
    states = np.reshape(state, (-1, 3))
    n = int(np.prod(shape))
    rows = [np.random.Philox(key=s[:2], counter=[s[2], 0, 0, 0]).random_raw(n) for s in states]
    return np.reshape(np.stack(rows), (*np.shape(state)[:-1], *shape))


def _batch(args: Any, axes: Any, params: Any) -> Any:
    return random_bits(move_axis(args[0], axes[0], 0), **params), 0


random_bits = Primitive(
    name="random_bits",
    doc="uint64 of shape `shape` from Philox-4x64-10 at state (key0, key1, counter): block i of "
    "four numbers is the cipher at counter + 1 + i",
    numpy=_bits,
    type_rule=lambda state, *, shape: ArrayType((*state.shape[:-1], *shape), np.uint64),
    jvp=lambda primals, tangents, y, params: None,
    vjp=(NO_DERIVATIVE,),
    batch=_batch,
    family="general",
    flops=lambda types, out_types, params: 0,
    source="Salmon et al. (2011), Parallel random numbers: as easy as 1, 2, 3",
    samples=lambda rng, dtype: (
        []
        if dtype != np.float64
        else [
            Sample((np.array([7, 1, 0], np.uint64),), {"shape": (2, 3)}),
            Sample((np.array([[7, 1, 5], [2, 2, 0]], np.uint64),), {"shape": (5,)}),
        ]
    ),
)

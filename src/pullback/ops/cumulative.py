"""Running sums."""

from __future__ import annotations

from typing import Any

import numpy as np

from pullback.core.primitive import Primitive, Sample
from pullback.core.types import ArrayType
from pullback.ops.families import linear, move_axis

__all__: list[str] = []


def _from_the_end(ct: Any, axis: int) -> Any:
    backward = (slice(None),) * axis + (slice(None, None, -1),)
    return cumsum(ct[backward], axis=axis)[backward]


def _batch(args: Any, axes: Any, params: Any) -> Any:
    return cumsum(move_axis(args[0], axes[0], 0), axis=params["axis"] + 1), 0


def _draw(rng: np.random.Generator, dtype: np.dtype[Any], *shape: int) -> Any:
    return (rng.normal(size=shape) * 3).astype(dtype)


cumsum: Primitive = linear(
    "cumsum",
    lambda x, *, axis: np.add.accumulate(x, axis=axis, dtype=np.add.reduce(x[:0]).dtype),
    doc="y[i] = x[0] + ... + x[i] along `axis`",
    type_rule=lambda x, *, axis: ArrayType(x.shape, np.add.reduce(np.zeros(0, x.dtype)).dtype),
    transpose=lambda ct, x_type, *, axis: _from_the_end(ct, axis).astype(x_type.dtype),
    batch=_batch,
    family="cumulative",
    flops=lambda types, out_types, params: types[0].size,
    samples=lambda rng, dtype: [
        Sample((_draw(rng, dtype, 3, 4),), {"axis": 0}),
        Sample((_draw(rng, dtype, 2, 3, 4),), {"axis": 1}),
        Sample((_draw(rng, dtype, 5),), {"axis": 0}),
        Sample((_draw(rng, dtype, 1),), {"axis": 0}),
        Sample((_draw(rng, dtype, 2, 0),), {"axis": 1}),
    ],
)

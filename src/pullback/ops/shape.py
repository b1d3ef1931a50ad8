"""Primitives that move elements without computing: all linear."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pullback.core.primitive import Primitive, Sample
from pullback.core.types import PYTHONS, ArrayType, as_number
from pullback.ops.families import cast, draw, linear, move_axis, unbroadcast

__all__ = ["inverse"]


def _batch_reshape(args: Any, axes: Any, params: Any) -> Any:
    x = move_axis(args[0], axes[0], 0)
    return reshape(x, shape=(x.shape[0], *params["shape"])), 0


reshape: Primitive = linear(
    "reshape",
    lambda x, *, shape: np.reshape(x, shape),
    doc="y has the elements of x in row-major order and the shape `shape`",
    type_rule=lambda x, *, shape: x.with_shape(shape),
    transpose=lambda ct, x_type: reshape(ct, shape=x_type.shape),
    batch=_batch_reshape,
    samples=lambda rng, dtype: [
        Sample((draw(rng, dtype, 2, 3),), {"shape": (3, 2)}),
        Sample((draw(rng, dtype, 4).T,), {"shape": (1, 2, 2)}),
        Sample((draw(rng, dtype),), {"shape": (1,)}),
        Sample((draw(rng, dtype, 0, 3),), {"shape": (0,)}),
        Sample((draw(rng, dtype, 2, 3),), {"shape": (4,)}, error=ValueError, match="reshape"),
    ],
)


def inverse(axes: Sequence[int]) -> tuple[int, ...]:
    """The axes that undo a transposition by ``axes``."""
    return tuple(sorted(range(len(axes)), key=axes.__getitem__))


def _batch_transpose(args: Any, axes: Any, params: Any) -> Any:
    x = move_axis(args[0], axes[0], 0)
    return transpose(x, axes=(0, *(i + 1 for i in params["axes"]))), 0


transpose: Primitive = linear(
    "transpose",
    lambda x, *, axes: np.transpose(x, axes),
    doc="axis i of y is axis axes[i] of x",
    type_rule=lambda x, *, axes: x.with_shape(tuple(x.shape[i] for i in axes)),
    transpose=lambda ct, *, axes: transpose(ct, axes=inverse(axes)),
    batch=_batch_transpose,
    samples=lambda rng, dtype: [
        Sample((draw(rng, dtype, 2, 3),), {"axes": (1, 0)}),
        Sample((draw(rng, dtype, 2, 3, 4),), {"axes": (2, 0, 1)}),
    ],
)


def _batch_broadcast(args: Any, axes: Any, params: Any) -> Any:
    x, shape = move_axis(args[0], axes[0], 0), params["shape"]
    x = np.reshape(x, (x.shape[0], *(1,) * (len(shape) - x.ndim + 1), *x.shape[1:]))
    return broadcast_to(x, shape=(x.shape[0], *shape)), 0


broadcast_to = linear(
    "broadcast_to",
    lambda x, *, shape: np.broadcast_to(x, shape),
    doc="y repeats x along new leading axes and axes of length 1",
    type_rule=lambda x, *, shape: x.with_shape(shape),
    transpose=lambda ct, x_type: unbroadcast(ct, x_type),
    batch=_batch_broadcast,
    samples=lambda rng, dtype: [
        Sample((draw(rng, dtype, 3, 1),), {"shape": (2, 3, 4)}),
        Sample((draw(rng, dtype),), {"shape": (2,)}),
    ],
)


def _batch_astype(args: Any, axes: Any, params: Any) -> Any:
    return astype(args[0], **params), axes[0]


number: Primitive = linear(
    "number",
    as_number,
    doc="y = x, which promotes as a number of Python does: what operators make of such numbers",
    family="elementwise",
    scalar=lambda b, x: x,
    traits=("exact",),
    type_rule=lambda x: ArrayType(x.shape, x.dtype, not x.shape and x.dtype in PYTHONS),
    transpose=lambda ct: ct,
    batch=lambda args, axes, params: (number(*args), axes[0]),
    samples=lambda rng, dtype: [Sample((draw(rng, dtype),))] if dtype.kind in "fc" else [],
)

astype = linear(
    "astype",
    lambda x, *, dtype: np.asarray(x).astype(dtype),
    doc="y = x rounded to `dtype`",
    traits=("exact",),
    type_rule=lambda x, *, dtype: ArrayType(x.shape, dtype),
    transpose=lambda ct, x_type: cast(ct, x_type.dtype),
    batch=_batch_astype,
    samples=lambda rng, dtype: [
        Sample((draw(rng, dtype, 3),), {"dtype": np.dtype(d)})
        for d in ("float64", "float32", "complex128", "complex64")
        if dtype.kind != "c" or d.startswith("c")  # NumPy warns of the part that is discarded
    ],
)


def _concatenate_type(*types: ArrayType, axis: int) -> ArrayType:
    shape = list(types[0].shape)
    shape[axis] = sum(t.shape[axis] for t in types)
    return ArrayType(tuple(shape), np.result_type(*[t.dtype for t in types]))


def _concatenate_jvp(primals: Any, tangents: Any, y: Any, params: Any) -> Any:
    return concatenate(
        *[
            np.zeros(np.shape(p), y.dtype) if t is None else t
            for p, t in zip(primals, tangents, strict=True)
        ],
        **params,
    )


def _concatenate_vjp(
    ct: Any, types: Sequence[ArrayType], needs: Sequence[bool], params: Any
) -> Any:
    axis, start, parts = params["axis"], 0, []
    for type, needed in zip(types, needs, strict=True):
        stop = start + type.shape[axis]
        key = (slice(None),) * axis + (slice(start, stop),)
        parts.append(cast(ct[key], type.dtype) if needed else None)
        start = stop
    return parts


def _batch_concatenate(args: Any, axes: Any, params: Any) -> Any:
    n = next(a.shape[axis] for a, axis in zip(args, axes, strict=True) if axis is not None)
    moved = [
        np.broadcast_to(a, (n, *np.shape(a))) if axis is None else move_axis(a, axis, 0)
        for a, axis in zip(args, axes, strict=True)
    ]
    return concatenate(*moved, axis=params["axis"] + 1), 0


concatenate = Primitive(
    name="concatenate",
    doc="y joins the operands along `axis`",
    numpy=lambda *xs, axis: np.concatenate(xs, axis),
    type_rule=_concatenate_type,
    jvp=_concatenate_jvp,
    vjp=_concatenate_vjp,
    batch=_batch_concatenate,
    family="general",
    flops=lambda types, out_types, params: 0,
    samples=lambda rng, dtype: [
        Sample((draw(rng, dtype, 2, 3), draw(rng, dtype, 1, 3)), {"axis": 0}),
        Sample(
            (draw(rng, dtype, 2, 1), draw(rng, dtype, 2, 3), draw(rng, dtype, 2, 0)), {"axis": 1}
        ),
    ],
)

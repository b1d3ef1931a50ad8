"""Linear systems, determinants and the Cholesky factor of matrices in the last two axes.

Giles (2008), *Collected matrix derivative results for forward and reverse mode algorithmic
differentiation*; Murray (2016), *Differentiation of the Cholesky decomposition*, equations 8-10.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pullback.core.primitive import ZERO, Primitive, Rule, Sample
from pullback.core.types import ArrayType
from pullback.ops.families import move_axis, unbroadcast

__all__: list[str] = []


def _turned(x: Any) -> Any:
    return np.swapaxes(x, -1, -2)


def _inverse(x: Any) -> Any:
    return solve(x, np.eye(x.shape[-1], dtype=x.dtype))


def _batch(primitive: Callable[[], Primitive]) -> Callable[..., Any]:
    """Batch axes to the front; operands without one broadcast."""

    def batch(args: Sequence[Any], axes: Sequence[int | None], params: Any) -> Any:
        pairs = list(zip(args, axes, strict=True))
        ndim = max(np.ndim(a) - (axis is not None) for a, axis in pairs)
        moved = []
        for a, axis in pairs:
            if axis is not None:
                a = move_axis(a, axis, 0)
                a = np.reshape(a, (a.shape[0], *(1,) * (ndim + 1 - a.ndim), *a.shape[1:]))
            moved.append(a)
        return primitive()(*moved, **params), 0

    return batch


def _matrices(rng: np.random.Generator, dtype: np.dtype[Any], *shape: int) -> Any:
    """Symmetric matrices with eigenvalues near 2."""
    x = rng.uniform(-0.3, 0.3, shape)
    return (x + _turned(x) + 2 * np.eye(shape[-1])).astype(dtype)


def _square(x: ArrayType) -> ArrayType:
    if x.ndim < 2 or x.shape[-1] != x.shape[-2]:
        raise ValueError(f"expected square matrices, not {x}")
    return x


def _matrix_samples(rng: np.random.Generator, dtype: np.dtype[Any]) -> list[Sample]:
    if dtype.kind != "f":
        return []
    return [
        Sample((_matrices(rng, dtype, 3, 3),)),
        Sample((_matrices(rng, dtype, 2, 2, 2),)),
        Sample((_matrices(rng, dtype, 1, 1),)),
        Sample((np.ones((2, 3), dtype),), error=ValueError, match="square|broadcast"),
    ]


# -- linear systems -------------------------------------------------------------------------------
def _solve_type(a: ArrayType, b: ArrayType) -> ArrayType:
    if _square(a).shape[-1] != b.shape[-2]:
        raise ValueError(f"{a} and {b} do not make a linear system")
    stack = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    return ArrayType((*stack, *b.shape[-2:]), np.result_type(a.dtype, b.dtype))


def _solve_jvp(primals: Any, tangents: Any, y: Any, params: Any) -> Any:
    (a, _), (a_dot, b_dot) = primals, tangents
    if a_dot is None:
        return solve(a, b_dot)
    change = -np.matmul(a_dot, y)
    return solve(a, change if b_dot is None else b_dot + change)


def _solve_flops(types: Sequence[ArrayType], out_types: Sequence[ArrayType], params: Any) -> int:
    n = types[0].shape[-1]
    return 2 * types[0].size * n // 3 + 2 * out_types[0].size * n


solve: Primitive = Primitive(
    name="solve",
    doc="x1 y = x2 for square matrices x1, with the right-hand sides in the columns of x2",
    numpy=np.linalg.solve,
    type_rule=_solve_type,
    jvp=_solve_jvp,
    vjp=(
        Rule(
            lambda ct, x_type, x1, y: unbroadcast(
                -np.matmul(solve(_turned(x1), ct), _turned(y)), x_type
            )
        ),
        Rule(lambda ct, x_type, x1: unbroadcast(solve(_turned(x1), ct), x_type)),
    ),
    batch=_batch(lambda: solve),
    family="general",
    flops=_solve_flops,
    samples=lambda rng, dtype: (
        [
            Sample((_matrices(rng, dtype, 3, 3), rng.normal(size=(3, 2)).astype(dtype))),
            Sample((_matrices(rng, dtype, 2, 2, 2), rng.normal(size=(2, 1)).astype(dtype))),
            Sample((_matrices(rng, dtype, 2, 2), rng.normal(size=(3, 2, 2)).astype(dtype))),
            Sample(
                (np.zeros((2, 2), dtype), np.ones((2, 1), dtype)),
                error=ValueError,
                match="Singular",
            ),
        ]
        if dtype.kind == "f"
        else []
    ),
    source="Giles (2008), section 2.3.1",
)

# -- determinants ---------------------------------------------------------------------------------
log_abs_det: Primitive = Primitive(
    name="log_abs_det",
    doc="y = ln |det x|",
    numpy=lambda x: np.asarray(np.linalg.slogdet(x)[1]),
    type_rule=lambda x: x.with_shape(_square(x).shape[:-2]),
    jvp=lambda primals, tangents, y, params: np.trace(
        solve(primals[0], tangents[0]), axis1=-2, axis2=-1
    ),
    vjp=(Rule(lambda ct, x: ct[..., None, None] * _turned(_inverse(x))),),
    batch=_batch(lambda: log_abs_det),
    family="general",
    flops=lambda types, out_types, params: 2 * types[0].size * types[0].shape[-1] // 3,
    samples=_matrix_samples,
    source="Giles (2008), section 2.2.4",
)

det_sign: Primitive = Primitive(
    name="det_sign",
    doc="y = the sign of det x",
    numpy=lambda x: np.asarray(np.linalg.slogdet(x)[0]),
    type_rule=log_abs_det.type_rule,
    jvp=lambda primals, tangents, y, params: None,
    vjp=(ZERO,),
    batch=_batch(lambda: det_sign),
    family="general",
    flops=log_abs_det.flops,
    samples=_matrix_samples,
)


# -- Cholesky -------------------------------------------------------------------------------------
def _half(x: Any) -> Any:
    """The lower triangle with half of the diagonal."""
    return np.tril(x) - 0.5 * x * np.eye(x.shape[-1], dtype=x.dtype)


def _symmetric(x: Any) -> Any:
    return 0.5 * (x + _turned(x))


def _cholesky_jvp(primals: Any, tangents: Any, y: Any, params: Any) -> Any:
    left = solve(y, _symmetric(tangents[0]))
    return np.matmul(y, _half(_turned(solve(y, _turned(left)))))


def _cholesky_vjp(ct: Any, y: Any) -> Any:
    inner = _half(np.matmul(_turned(y), ct))
    left = solve(_turned(y), inner)
    return _symmetric(_turned(solve(_turned(y), _turned(left))))


cholesky: Primitive = Primitive(
    name="cholesky",
    doc="y y^T = (x + x^T) / 2 with y lower triangular",
    numpy=lambda x: np.linalg.cholesky(_symmetric(x)),
    type_rule=_square,
    jvp=_cholesky_jvp,
    vjp=(Rule(_cholesky_vjp),),
    batch=_batch(lambda: cholesky),
    family="general",
    flops=lambda types, out_types, params: types[0].size * types[0].shape[-1] // 3,
    samples=_matrix_samples,
    source="Murray (2016), equations 8 and 10",
)

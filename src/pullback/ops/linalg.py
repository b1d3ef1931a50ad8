"""Linear systems, determinants and the Cholesky factor of matrices in the last two axes.

Giles (2008), *Collected matrix derivative results for forward and reverse mode algorithmic
differentiation*; Murray (2016), *Differentiation of the Cholesky decomposition*, equations 8-10.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pullback.core.primitive import ZERO, Primitive, Rule, Sample
from pullback.core.types import ArrayType, type_of
from pullback.ops.families import move_axis, unbroadcast
from pullback.ops.reduce import others

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
# The determinant is a polynomial: its derivatives exist at singular matrices too, where no inverse
# does. With x = U S V^T they are products of singular values with one or two left out.
def _singular_values(x: Any) -> tuple[Any, Any, Any, Any]:
    _square(type_of(x))
    u, s, vt = np.linalg.svd(x)
    return u, s, vt, np.round(np.linalg.det(u) * np.linalg.det(vt))


def _cofactor(x: Any) -> Any:
    """``det(U V^T) U P V^T``, ``P`` diagonal: the products of all other singular values."""
    u, s, vt, sign = _singular_values(x)
    return np.matmul(u * (sign[..., None] * others(s, s.ndim - 1))[..., None, :], vt)


def _cofactor_along(x: Any, direction: Any) -> Any:
    """The change of the cofactors as x moves: products without two of the singular values."""
    u, s, vt, sign = _singular_values(x)
    diagonal = np.eye(x.shape[-1], dtype=bool)
    pairs = others(np.where(diagonal, 1, s[..., None, :]), s.ndim)
    pairs = np.where(diagonal, 0, pairs * sign[..., None, None])
    turned = np.matmul(np.matmul(_turned(u), direction), _turned(vt))
    own = np.matmul(pairs, np.diagonal(turned, axis1=-2, axis2=-1)[..., None])
    return np.matmul(np.matmul(u, np.where(diagonal, own, -pairs * _turned(turned))), vt)


def _curvature(x: Any, first: Any, second: Any) -> Any:
    """Change of ``cofactor_along(x, first)`` as x moves along ``second``; x must be regular."""
    inverse = _inverse(x)
    a, b = np.matmul(inverse, first), np.matmul(inverse, second)
    ab, ba = np.matmul(a, b), np.matmul(b, a)
    t_a, t_b, t_ab = (np.trace(m, axis1=-2, axis2=-1)[..., None, None] for m in (a, b, ab))
    unit = np.eye(x.shape[-1], dtype=x.dtype)
    middle = (t_a * t_b - t_ab) * unit - t_a * b - t_b * a + ab + ba
    return det(x)[..., None, None] * _turned(np.matmul(middle, inverse))


def _along_jvp(primals: Any, tangents: Any, y: Any, params: Any) -> Any:
    (x, direction), (x_dot, direction_dot) = primals, tangents
    moved = None if x_dot is None else _curvature(x, direction, x_dot)
    if direction_dot is None:
        return moved
    own = cofactor_along(x, direction_dot)
    return own if moved is None else moved + own


def _along_samples(rng: np.random.Generator, dtype: np.dtype[Any]) -> list[Sample]:
    fitting = [s for s in _matrix_samples(rng, dtype) if s.error is None]
    return [
        Sample((s.args[0], rng.normal(size=s.args[0].shape).astype(dtype)), s.params)
        for s in fitting
    ]


def _singular_samples(rng: np.random.Generator, dtype: np.dtype[Any]) -> list[Sample]:
    """The same, and matrices of ranks 2, 1 and 0."""
    if dtype.kind != "f":
        return []
    thin = rng.normal(size=(3, 2)).astype(dtype)
    ranks = np.asarray([[[1, 2], [2, 4]], [[0, 0], [0, 0]]], dtype)
    return [*_matrix_samples(rng, dtype), Sample((thin @ thin.T,)), Sample((ranks,))]


det: Primitive = Primitive(
    name="det",
    doc="y = det x",
    numpy=lambda x: np.asarray(np.linalg.det(x)),
    type_rule=lambda x: x.with_shape(_square(x).shape[:-2]),
    jvp=lambda primals, tangents, y, params: np.sum(
        cofactor(primals[0]) * tangents[0], axis=(-2, -1)
    ),
    vjp=(Rule(lambda ct, x: ct[..., None, None] * cofactor(x)),),
    batch=_batch(lambda: det),
    family="general",
    expansion=lambda x: det_sign(x) * np.exp(log_abs_det(x)),
    flops=lambda types, out_types, params: 2 * types[0].size * types[0].shape[-1] // 3,
    samples=_singular_samples,
    source="Jacobi's formula, with the cofactors from singular values",
)

cofactor: Primitive = Primitive(
    name="cofactor",
    doc="y = the signed minors of x, the gradient of det x",
    numpy=_cofactor,
    type_rule=_square,
    jvp=lambda primals, tangents, y, params: cofactor_along(primals[0], tangents[0]),
    vjp=(Rule(lambda ct, x: cofactor_along(x, ct)),),
    batch=_batch(lambda: cofactor),
    family="general",
    flops=lambda types, out_types, params: 20 * types[0].size * types[0].shape[-1],
    samples=_matrix_samples,
    source="Stewart (1998), On the adjugate matrix",
)

cofactor_along: Primitive = Primitive(
    name="cofactor_along",
    doc="y = the second derivative of det x1 along x2, as a matrix",
    numpy=_cofactor_along,
    type_rule=lambda x, direction: ArrayType(
        np.broadcast_shapes(_square(x).shape, direction.shape), x.dtype
    ),
    jvp=_along_jvp,
    vjp=(
        Rule(lambda ct, x_type, x1, x2: unbroadcast(_curvature(x1, x2, ct), x_type)),
        Rule(lambda ct, x_type, x1: unbroadcast(cofactor_along(x1, ct), x_type)),
    ),
    batch=_batch(lambda: cofactor_along),
    family="general",
    flops=lambda types, out_types, params: 24 * types[0].size * types[0].shape[-1],
    samples=_along_samples,
    source="Stewart (1998), On the adjugate matrix",
)

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


def _mirrored(x: Any) -> Any:
    """The symmetric matrix whose lower triangle is that of ``x``."""
    return np.tril(x) + _turned(np.tril(x, -1))


def _cholesky_jvp(primals: Any, tangents: Any, y: Any, params: Any) -> Any:
    left = solve(y, _mirrored(tangents[0]))
    return np.matmul(y, _half(_turned(solve(y, _turned(left)))))


def _cholesky_vjp(ct: Any, y: Any) -> Any:
    inner = _half(np.matmul(_turned(y), ct))
    left = solve(_turned(y), inner)
    of_both = _turned(solve(_turned(y), _turned(left)))
    return _half(of_both + _turned(of_both))


cholesky: Primitive = Primitive(
    name="cholesky",
    doc="y y^T = x with y lower triangular; reads the lower triangle of x, as NumPy does",
    numpy=np.linalg.cholesky,
    type_rule=_square,
    jvp=_cholesky_jvp,
    vjp=(Rule(_cholesky_vjp),),
    batch=_batch(lambda: cholesky),
    family="general",
    flops=lambda types, out_types, params: types[0].size * types[0].shape[-1] // 3,
    samples=_matrix_samples,
    source="Murray (2016), equations 8 and 10",
)

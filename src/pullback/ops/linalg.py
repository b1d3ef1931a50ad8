"""Linear systems, determinants and the Cholesky factor of matrices in the last two axes.

Giles (2008), *Collected matrix derivative results for forward and reverse mode algorithmic
differentiation*; Murray (2016), *Differentiation of the Cholesky decomposition*, equations 8-10.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pullback.core.primitive import ZERO, Primitive, Rule, Sample
from pullback.core.source import here
from pullback.core.types import ArrayType, is_differentiable, type_of
from pullback.ops.families import cast, conjugate, draw, move_axis, unbroadcast
from pullback.ops.openblas import solve_triangle
from pullback.ops.reduce import others

__all__ = ["batched", "dagger", "half", "mirrored", "square"]

SMALL = 16  # rows of matrices whose zeros are not looked for


def _turned(x: Any) -> Any:
    return np.swapaxes(x, -1, -2)


def dagger(x: Any) -> Any:
    """The conjugate transpose of matrices in the last two axes."""
    return conjugate(_turned(x))


def half(x: Any) -> Any:
    """The lower triangle with half of the diagonal."""
    return np.tril(x) - 0.5 * x * np.eye(x.shape[-1], dtype=x.dtype)


def mirrored(x: Any) -> Any:
    """The symmetric or Hermitian matrix whose lower triangle is that of ``x``."""
    lower = half(x)
    return lower + dagger(lower)


def _inverse(x: Any) -> Any:
    return solve(x, np.eye(x.shape[-1], dtype=x.dtype))


def batched(primitive: Callable[[], Primitive]) -> Callable[..., Any]:
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
        y = primitive()(*moved, **params)
        return y, (0,) * len(y) if primitive().multiple else 0

    return batch


def _matrices(rng: np.random.Generator, dtype: np.dtype[Any], *shape: int) -> Any:
    """Symmetric or Hermitian matrices with eigenvalues near 2."""
    x = rng.uniform(-0.3, 0.3, shape)
    if dtype.kind == "c":
        x = x + 1j * rng.uniform(-0.3, 0.3, shape)
    return (x + dagger(x) + 2 * np.eye(shape[-1])).astype(dtype)


def no_matrix(x: ArrayType) -> np.linalg.LinAlgError:
    """NumPy's refusal of a vector or a number in place of a matrix, with the user's line."""
    return np.linalg.LinAlgError(
        f"{x.ndim}-dimensional array given. Array must be at least two-dimensional: {x}, {here()}"
    )


def square(x: ArrayType) -> ArrayType:
    """``x`` itself, if it is a type of square matrices."""
    if x.ndim < 2:
        raise no_matrix(x)
    if x.shape[-1] != x.shape[-2]:
        raise ValueError(f"expected square matrices, not {x}")
    return x


def _matrix_samples(rng: np.random.Generator, dtype: np.dtype[Any]) -> list[Sample]:
    if not is_differentiable(dtype):
        return []
    return [
        Sample((_matrices(rng, dtype, 3, 3),)),
        Sample((_matrices(rng, dtype, 2, 2, 2),)),
        Sample((_matrices(rng, dtype, 1, 1),)),
        Sample((np.ones((2, 3), dtype),), error=ValueError, match="square|broadcast"),
    ]


# -- linear systems -------------------------------------------------------------------------------
def _solve_type(a: ArrayType, b: ArrayType) -> ArrayType:
    if square(a).shape[-1] != b.shape[-2]:
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


def _solve(a: Any, b: Any) -> Any:
    """``np.linalg.solve``; triangular matrices, such as Cholesky factors, by substitution."""
    if a.ndim == 2 and b.ndim == 2 and a.shape[0] == a.shape[1] == b.shape[0] >= SMALL:
        lower = not np.triu(a, 1).any()
        if lower or not np.tril(a, -1).any():
            dtype = np.result_type(a, b)
            return solve_triangle(a, b, lower, False).astype(dtype, copy=False)
    return np.linalg.solve(a, b)


solve: Primitive = Primitive(
    name="solve",
    doc="x1 y = x2 for square matrices x1, with the right-hand sides in the columns of x2",
    numpy=_solve,
    type_rule=_solve_type,
    jvp=_solve_jvp,
    vjp=(
        Rule(
            lambda ct, x_type, x1, y: unbroadcast(
                -np.matmul(solve(dagger(x1), ct), dagger(y)), x_type
            )
        ),
        Rule(lambda ct, x_type, x1: unbroadcast(solve(dagger(x1), ct), x_type)),
    ),
    batch=batched(lambda: solve),
    family="general",
    flops=_solve_flops,
    samples=lambda rng, dtype: (
        [
            Sample((_matrices(rng, dtype, 3, 3), draw(rng, dtype, 3, 2))),
            Sample((_matrices(rng, dtype, 2, 2, 2), draw(rng, dtype, 2, 1))),
            Sample((_matrices(rng, dtype, 2, 2), draw(rng, dtype, 3, 2, 2))),
            Sample((np.tril(_matrices(rng, dtype, 16, 16)), draw(rng, dtype, 16, 1))),
            Sample(
                (np.zeros((2, 2), dtype), np.ones((2, 1), dtype)),
                error=ValueError,
                match="Singular",
            ),
        ]
        if is_differentiable(dtype)
        else []
    ),
    source="Giles (2008), section 2.3.1",
)


def _triangular(a: Any, b: Any, *, lower: bool, turned: bool) -> Any:
    stack = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    y = np.empty((*stack, *b.shape[-2:]), np.result_type(a, b))
    many_a, many_b = (np.broadcast_to(m, (*stack, *m.shape[-2:])) for m in (a, b))
    for place in np.ndindex(stack):
        y[place] = solve_triangle(many_a[place], many_b[place], lower, turned)
    return y


def _triangular_jvp(primals: Any, tangents: Any, y: Any, params: Any) -> Any:
    (a, _), (a_dot, b_dot) = primals, tangents
    if a_dot is not None:
        a_dot = triangle(a_dot, params["lower"])
        change = -np.matmul(dagger(a_dot) if params["turned"] else a_dot, y)
        b_dot = change if b_dot is None else b_dot + change
    return solve_triangular(a, b_dot, **params)


def _triangular_vjp(
    ct: Any, x_type: ArrayType, x1: Any, y: Any, *, lower: bool, turned: bool
) -> Any:
    b_bar = solve_triangular(x1, ct, lower=lower, turned=not turned)
    change = np.matmul(y, dagger(b_bar)) if turned else np.matmul(b_bar, dagger(y))
    return unbroadcast(-triangle(change, lower), x_type)


def triangle(x: Any, lower: bool) -> Any:
    """One triangle of ``x``, diagonal included."""
    return np.tril(x) if lower else np.triu(x)


solve_triangular: Primitive = Primitive(
    name="solve_triangular",
    doc="x1 y = x2 for a triangle of x1, `lower` or upper; x1^H y = x2 if `turned`",
    numpy=_triangular,
    type_rule=lambda a, b, *, lower, turned: _solve_type(a, b),
    jvp=_triangular_jvp,
    vjp=(
        Rule(_triangular_vjp),
        Rule(
            lambda ct, x_type, x1, *, lower, turned: unbroadcast(
                solve_triangular(x1, ct, lower=lower, turned=not turned), x_type
            )
        ),
    ),
    batch=batched(lambda: solve_triangular),
    family="general",
    flops=lambda types, out_types, params: out_types[0].size * types[0].shape[-1],
    samples=lambda rng, dtype: (
        [
            Sample(
                (_matrices(rng, dtype, *stack, 3, 3), draw(rng, dtype, *stack[1:], 3, 2)),
                {"lower": lower, "turned": turned},
            )
            for lower, turned, stack in (
                (True, False, ()),
                (True, True, (2,)),
                (False, False, (2, 2)),
                (False, True, ()),
            )
        ]
        if is_differentiable(dtype)
        else []
    ),
    source="Giles (2008), section 2.3.1, with what the triangle leaves out set to zero",
)


# -- determinants ---------------------------------------------------------------------------------
# The determinant is a polynomial: its derivatives exist at singular matrices too, where no inverse
# does. With x = U S V^T they are products of singular values with one or two left out.
def _singular_values(x: Any) -> tuple[Any, Any, Any, Any]:
    square(type_of(x))
    u, s, vt = np.linalg.svd(x)
    sign = np.linalg.det(u) * np.linalg.det(vt)
    return np.conj(u), s, np.conj(vt), sign if x.dtype.kind == "c" else np.round(sign)


def _cofactor(x: Any) -> Any:
    """``det(U V^T) U P V^T``, ``P`` diagonal: the products of all other singular values.

    Of complex x it is the same of the conjugates of the singular vectors.
    """
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
    fitting = [s for s in _matrix_samples(rng, dtype) if s.error is None and s.args[0].size > 1]
    return [Sample((s.args[0], draw(rng, dtype, *s.args[0].shape)), s.params) for s in fitting]


def _singular_samples(rng: np.random.Generator, dtype: np.dtype[Any]) -> list[Sample]:
    """The same, and matrices of ranks 2, 1 and 0."""
    if not is_differentiable(dtype):
        return []
    # Whole numbers that elimination divides without rounding, so that the determinant is exactly 0.
    flat = np.asarray([[1, 2, 3], [0, 1, 1], [1, 3, 4]], dtype)
    ranks = np.asarray([[[1, 2], [2, 4]], [[0, 0], [0, 0]]], dtype)
    return [*_matrix_samples(rng, dtype), Sample((flat,)), Sample((ranks,))]


det: Primitive = Primitive(
    name="det",
    doc="y = det x",
    numpy=lambda x: np.asarray(np.linalg.det(x)),
    type_rule=lambda x: x.with_shape(square(x).shape[:-2]),
    jvp=lambda primals, tangents, y, params: np.sum(
        cofactor(primals[0]) * tangents[0], axis=(-2, -1)
    ),
    vjp=(Rule(lambda ct, x: ct[..., None, None] * conjugate(cofactor(x))),),
    batch=batched(lambda: det),
    family="general",
    expansion=lambda x: (
        (det_phase if x.dtype.kind == "c" else det_sign)(x) * np.exp(log_abs_det(x))
    ),
    flops=lambda types, out_types, params: 2 * types[0].size * types[0].shape[-1] // 3,
    samples=_singular_samples,
    source="Jacobi's formula, with the cofactors from singular values",
)

cofactor: Primitive = Primitive(
    name="cofactor",
    doc="y = the signed minors of x, the gradient of det x",
    numpy=_cofactor,
    type_rule=square,
    jvp=lambda primals, tangents, y, params: cofactor_along(primals[0], tangents[0]),
    vjp=(Rule(lambda ct, x: conjugate(cofactor_along(x, conjugate(ct)))),),
    batch=batched(lambda: cofactor),
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
        np.broadcast_shapes(square(x).shape, direction.shape), x.dtype
    ),
    jvp=_along_jvp,
    vjp=(
        Rule(
            lambda ct, x_type, x1, x2: unbroadcast(
                conjugate(_curvature(x1, x2, conjugate(ct))), x_type
            )
        ),
        Rule(
            lambda ct, x_type, x1: unbroadcast(conjugate(cofactor_along(x1, conjugate(ct))), x_type)
        ),
    ),
    batch=batched(lambda: cofactor_along),
    family="general",
    flops=lambda types, out_types, params: 24 * types[0].size * types[0].shape[-1],
    samples=_along_samples,
    source="Stewart (1998), On the adjugate matrix",
)


def _trace_of_ratio(primals: Any, tangents: Any) -> Any:
    """``tr(x^-1 x_dot)``, the derivative of ln det x."""
    return np.trace(solve(primals[0], tangents[0]), axis1=-2, axis2=-1)


def _phase_vjp(ct: Any, x: Any, y: Any) -> Any:
    turn = np.imag(conjugate(y) * ct)[..., None, None]
    return 1j * turn * dagger(_inverse(x))


log_abs_det: Primitive = Primitive(
    name="log_abs_det",
    doc="y = ln |det x|",
    numpy=lambda x: np.asarray(np.linalg.slogdet(x)[1]),
    type_rule=lambda x: ArrayType(square(x).shape[:-2], np.finfo(x.dtype).dtype),
    jvp=lambda primals, tangents, y, params: cast(_trace_of_ratio(primals, tangents), y.dtype),
    vjp=(Rule(lambda ct, x: ct[..., None, None] * dagger(_inverse(x))),),
    batch=batched(lambda: log_abs_det),
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
    batch=batched(lambda: det_sign),
    family="general",
    flops=log_abs_det.flops,
    samples=lambda rng, dtype: _matrix_samples(rng, dtype) if dtype.kind == "f" else [],
)

det_phase: Primitive = Primitive(
    name="det_phase",
    doc="y = det x / |det x| of complex x",
    numpy=lambda x: np.asarray(np.linalg.slogdet(x)[0]),
    type_rule=lambda x: x.with_shape(square(x).shape[:-2]),
    jvp=lambda primals, tangents, y, params: 1j * y * np.imag(_trace_of_ratio(primals, tangents)),
    vjp=(Rule(_phase_vjp),),
    batch=batched(lambda: det_phase),
    family="general",
    flops=log_abs_det.flops,
    samples=lambda rng, dtype: (
        [
            Sample((s.args[0] * (1 + 0.2j) + 0.1j,), s.params, error=s.error)
            for s in _matrix_samples(rng, dtype)
        ]
        if dtype.kind == "c"
        else []
    ),
    source="the imaginary part of ln det, whose real part is log_abs_det",
)


# -- Cholesky -------------------------------------------------------------------------------------
def _between(y: Any, x: Any, turned: bool) -> Any:
    """``y^-1 x y^-H`` for lower triangular y; ``y^-H x y^-1`` if ``turned``."""
    left = solve_triangular(y, x, lower=True, turned=turned)
    return dagger(solve_triangular(y, dagger(left), lower=True, turned=turned))


def _cholesky_jvp(primals: Any, tangents: Any, y: Any, params: Any) -> Any:
    return np.matmul(y, half(_between(y, mirrored(tangents[0]), turned=False)))


def _cholesky_vjp(ct: Any, y: Any) -> Any:
    of_both = _between(y, half(np.matmul(dagger(y), ct)), turned=True)
    return half(of_both + dagger(of_both))


cholesky: Primitive = Primitive(
    name="cholesky",
    doc="y y^H = x with y lower triangular; reads the lower triangle of x, as NumPy does",
    numpy=np.linalg.cholesky,
    type_rule=square,
    jvp=_cholesky_jvp,
    vjp=(Rule(_cholesky_vjp),),
    batch=batched(lambda: cholesky),
    family="general",
    flops=lambda types, out_types, params: types[0].size * types[0].shape[-1] // 3,
    samples=_matrix_samples,
    source="Murray (2016), equations 8 and 10",
)

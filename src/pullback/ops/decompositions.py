"""Eigenvalues and eigenvectors, singular values, QR, and the pseudoinverse.

Vectors belong to a value only up to a phase, and those of a repeated value only up to a rotation. A
function that does not depend on that choice is differentiated right, whatever LAPACK chose. At a
repeated value the eigenvectors themselves have no derivative: what reaches them must cancel, as it
does for functions of the values alone and for vectors that are dropped; what does not is refused,
and is NaN where only shapes are known.

Giles (2008), *Collected matrix derivative results for forward and reverse mode algorithmic
differentiation*; Townsend (2016), *Differentiating the singular value decomposition*; Wan & Zhang
(2019), *Automatic differentiation for complex valued SVD*, arXiv:1909.02659; Boeddeker et al.
(2017), *On the computation of complex-valued gradients with application to statistically optimum
beamforming*, arXiv:1701.00392; Golub & Pereyra (1973), *The differentiation of pseudo-inverses*.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pullback.core.primitive import ForwardRule, Primitive, Rule, Sample
from pullback.core.source import here
from pullback.core.types import ArrayType, is_differentiable
from pullback.errors import NotDifferentiableError
from pullback.ops.families import cast, conjugate, draw
from pullback.ops.linalg import batched, dagger, half, mirrored, solve, solve_triangular, square

__all__: list[str] = []

NEAR = 32.0  # multiples of n eps times the largest value: how close repeated values come to be


# -- what the rules have in common ----------------------------------------------------------------
def _real(dtype: np.dtype[Any]) -> Any:
    return np.finfo(dtype).dtype


def _diagonal(x: Any) -> Any:
    return np.diagonal(x, axis1=-2, axis2=-1)


def _off_diagonal(x: Any) -> Any:
    return np.where(np.eye(x.shape[-1], dtype=bool), 0, x)


def _matrix(diagonal: Any) -> Any:
    """Diagonal matrices."""
    return diagonal[..., None, :] * np.eye(diagonal.shape[-1], dtype=diagonal.dtype)


def _spread(x: Any) -> Any:
    """The largest size of each matrix of a stack, to compare its elements with."""
    sizes = np.abs(x)
    return np.max(sizes, axis=(-2, -1), keepdims=True) if x.size else np.sum(sizes)


def _gaps(w: Any) -> tuple[Any, Any]:
    """``w_j - w_i`` with 1 in the place of zeros, and where it is zero up to rounding."""
    eps = np.finfo(w.dtype).eps
    gaps = w[..., None, :] - w[..., :, None]
    near = np.abs(gaps) <= NEAR * w.shape[-1] * eps * _spread(w[..., None])
    return np.where(near, 1, gaps), near


def _quotient(x: Any, divisor: Any, near: Any, size: Any = None) -> tuple[Any, Any]:
    """``x / divisor``, and where it is not determined.

    Where ``near``, the quotient is 0 if x is 0 there too, up to rounding of numbers of ``size``;
    else it is NaN. A tangent of vectors that nobody reads does no harm that way.
    """
    bound = 1e3 * x.shape[-1] * np.finfo(x.dtype).eps * (_spread(x) if size is None else size)
    is_lost = np.logical_and(near, np.abs(x) > bound)
    lost = np.where(is_lost, np.nan, 0).astype(x.dtype)
    return np.where(near, lost, x / np.where(near, 1, divisor)), is_lost


def _pushed(x: Any, divisor: Any, near: Any) -> Any:
    return _quotient(x, divisor, near)[0]


def _pulled(x: Any, divisor: Any, near: Any, size: Any, what: str) -> Any:
    """The same of a cotangent, which is read for certain.

    Raises:
        NotDifferentiableError: where it is not determined, if values are known.
    """
    quotient, is_lost = _quotient(x, divisor, near, size)
    if isinstance(is_lost, np.ndarray) and is_lost.any():
        raise NotDifferentiableError(
            f"{what}: the function depends on the vectors of a repeated value, which have no "
            "derivative",
            where=str(here()),
            fix="use the values alone (eigvalsh, svdvals, norm), pinv or solve, or leave out the "
            "vectors of the repeated value",
        )
    return quotient


def _decomposition(
    name: str,
    numpy: Callable[..., Any],
    *,
    doc: str,
    type_rule: Callable[..., Any],
    jvp: Callable[..., Any],
    pull: Callable[..., Any],
    samples: Callable[..., list[Sample]],
    flops: int,
    source: str,
) -> Primitive:
    """A factorization ``x -> several arrays``.

    ``jvp(x_dot, x, *outputs, **params)`` gives a tangent per output, ``pull(cotangents, x,
    *outputs, **params)`` the cotangent of x from those of the outputs, zeros included.
    """

    def forward(operands: Any, needs: Any, params: Any) -> Any:
        outputs = primitive(*operands, **params)
        return outputs, (operands[0], *outputs)

    def backward(residuals: Any, cts: Any, needs: Any, types: Any, params: Any) -> Any:
        given = [
            np.zeros_like(y) if ct is None else ct for ct, y in zip(cts, residuals[1:], strict=True)
        ]
        return [cast(pull(given, *residuals, **params), types[0].dtype)]

    primitive = Primitive(
        name=name,
        doc=doc,
        numpy=lambda x, **params: tuple(numpy(x, **params)),
        type_rule=type_rule,
        jvp=lambda primals, tangents, y, params: jvp(tangents[0], primals[0], *y, **params),
        vjp=ForwardRule(forward, backward),
        batch=batched(lambda: primitive),
        family="general",
        flops=lambda types, out_types, params: (
            flops * types[0].size * min(types[0].shape[-2:], default=0)
        ),
        samples=samples,
        source=source,
        multiple=True,
    )
    return primitive


# -- symmetric and Hermitian eigenvalues ----------------------------------------------------------
def _eigh_jvp(x_dot: Any, x: Any, w: Any, v: Any, *, lower: bool) -> Any:
    x_dot = mirrored(x_dot if lower else dagger(x_dot))
    inner = np.matmul(dagger(v), np.matmul(x_dot, v))
    gaps, near = _gaps(w)
    turn = _pushed(_off_diagonal(inner), gaps, near)
    return np.real(_diagonal(inner)), np.matmul(v, turn)


def _eigh_pull(cts: Any, x: Any, w: Any, v: Any, *, lower: bool) -> Any:
    w_bar, v_bar = cts
    gaps, near = _gaps(w)
    turn = _off_diagonal(np.matmul(dagger(v), v_bar))
    turn = _pulled(turn, gaps, near, _spread(v_bar), "eigh")
    inner = turn + _matrix(w_bar)
    both = np.matmul(np.matmul(v, inner), dagger(v))
    x_bar = half(both + dagger(both))
    return x_bar if lower else dagger(x_bar)


def _distinct(rng: np.random.Generator, dtype: np.dtype[Any], *shape: int) -> Any:
    """Symmetric matrices with eigenvalues near 1, 2, 3, ..."""
    x = rng.uniform(-0.2, 0.2, shape)
    return (x + dagger(x) + np.diag(np.arange(1.0, 1 + shape[-1]))).astype(dtype)


eigh = _decomposition(
    "eigh",
    lambda x, *, lower: np.linalg.eigh(x, "L" if lower else "U"),
    doc="x = v diag(w) v^H with w ascending; reads one triangle of x, `lower` or upper",
    type_rule=lambda x, *, lower: (
        ArrayType(square(x).shape[:-1], _real(x.dtype)),
        x.with_shape(x.shape),
    ),
    jvp=_eigh_jvp,
    pull=_eigh_pull,
    samples=lambda rng, dtype: (
        [
            Sample((_distinct(rng, dtype, 3, 3),), {"lower": True}),
            Sample((_distinct(rng, dtype, 2, 2, 2),), {"lower": False}),
            Sample((_distinct(rng, dtype, 1, 1),), {"lower": True}),
            Sample((np.ones((2, 3), dtype),), {"lower": True}, error=ValueError, match="square"),
        ]
        if dtype.kind == "f"
        else []
    ),
    flops=9,
    source="Giles (2008), section 3.1; Boeddeker et al. (2017), section 4.15",
)


# -- general eigenvalues --------------------------------------------------------------------------
def _largest(v: Any) -> Any:
    """1 at the largest component of each vector, which LAPACK makes real, else 0."""
    sizes = np.abs(v)
    rows = np.argmax(sizes, axis=-2)
    return (np.arange(v.shape[-2])[:, None] == rows[..., None, :]).astype(_real(v.dtype))


def _eig_jvp(x_dot: Any, x: Any, w: Any, v: Any) -> Any:
    inner = solve(v, np.matmul(cast(x_dot, v.dtype), v))
    gaps, near = _gaps(w)
    v_dot = np.matmul(v, _pushed(_off_diagonal(inner), gaps, near))
    length = np.real(np.sum(conjugate(v) * v_dot, axis=-2, keepdims=True))
    mark = _largest(v)
    phase = np.sum(mark * np.imag(v_dot), axis=-2, keepdims=True) / np.sum(
        mark * np.real(v), axis=-2, keepdims=True
    )
    return _diagonal(inner), v_dot - v * (length + 1j * phase)


def _eig_pull(cts: Any, x: Any, w: Any, v: Any) -> Any:
    w_bar, v_bar = cts
    mark = _largest(v)
    along = np.sum(conjugate(v) * v_bar, axis=-2, keepdims=True)
    phase = np.imag(along) / np.sum(mark * np.real(v), axis=-2, keepdims=True)
    v_bar = v_bar - v * np.real(along) - 1j * mark * phase
    gaps, near = _gaps(w)
    turn = _off_diagonal(np.matmul(dagger(v), v_bar))
    turn = _pulled(turn, conjugate(gaps), near, _spread(v_bar), "eig")
    return solve(dagger(v), np.matmul(turn + _matrix(w_bar), dagger(v)))


def _eig(x: Any) -> Any:
    dtype = np.result_type(x, 1j)
    return [np.asarray(part, dtype) for part in np.linalg.eig(x)]


eig = _decomposition(
    "eig",
    _eig,
    doc="x v = v diag(w), complex; vectors of length 1 whose largest component is real",
    type_rule=lambda x: (
        ArrayType(square(x).shape[:-1], np.result_type(x.dtype, 1j)),
        ArrayType(x.shape, np.result_type(x.dtype, 1j)),
    ),
    jvp=_eig_jvp,
    pull=_eig_pull,
    samples=lambda rng, dtype: (
        [
            Sample((np.diag([1.0, 2, 4]).astype(dtype) + draw(rng, dtype, 3, 3) / 20,)),
            Sample((np.diag([1.0, 3]).astype(dtype) + draw(rng, dtype, 2, 2, 2) / 20,)),
            *[Sample((np.array([[1, 3], [-2, 1]], dtype),))] * (dtype.kind == "f"),
            Sample((np.ones((2, 3), dtype),), error=ValueError, match="square"),
        ]
        if is_differentiable(dtype)
        else []
    ),
    flops=25,
    source="Boeddeker et al. (2017), section 4.12, with LAPACK's normalization of the vectors",
)


# -- singular values ------------------------------------------------------------------------------
def _thin(u: Any, vh: Any, k: int) -> tuple[Any, Any]:
    return u[..., :, :k], dagger(vh[..., :k, :])


def _sums(s: Any) -> tuple[Any, Any]:
    """``s_i + s_j`` with 1 in the place of zeros, and where it is zero up to rounding."""
    sums = s[..., None, :] + s[..., :, None]
    is_zero = sums <= NEAR * s.shape[-1] * np.finfo(s.dtype).eps * _spread(s[..., None])
    return np.where(is_zero, 1, sums), is_zero


def _outside(u: Any, x: Any) -> Any:
    """What of ``x`` is orthogonal to the columns of ``u``."""
    return x - np.matmul(u, np.matmul(dagger(u), x))


def _svd_jvp(x_dot: Any, x: Any, u: Any, s: Any, vh: Any, *, full: bool) -> Any:
    k = s.shape[-1]
    thin, v = _thin(u, vh, k)
    inner = np.matmul(dagger(thin), np.matmul(x_dot, v))
    (gaps, near), (sums, zero) = _gaps(s), _sums(s)
    # dU - dV is antihermitian / (s_i + s_j) and dU + dV hermitian / (s_j - s_i), off the diagonal.
    spun = _pushed(inner - dagger(inner), sums, zero) / 2
    bent = _pushed(_off_diagonal(inner + dagger(inner)), gaps, near) / 2
    none, row = np.diagonal(zero, axis1=-2, axis2=-1), s[..., None, :]
    left = np.matmul(x_dot, v)
    right = np.matmul(dagger(x_dot), thin)
    u_dot = np.matmul(thin, bent + spun) + _pushed(_outside(thin, left), row, none[..., None, :])
    v_dot = np.matmul(v, bent - spun) + _pushed(_outside(v, right), row, none[..., None, :])
    if full:
        u_dot, v_dot = _completed(u, u_dot, k), _completed(dagger(vh), v_dot, k)
    return u_dot, np.real(_diagonal(inner)), dagger(v_dot)


def _completed(u: Any, u_dot: Any, k: int) -> Any:
    """The change of all columns, if the last ones stay orthogonal without turning."""
    if u.shape[-1] == k:
        return u_dot
    first, rest = u[..., :, :k], u[..., :, k:]
    return np.concatenate([u_dot, -np.matmul(first, np.matmul(dagger(u_dot), rest))], axis=-1)


def _svd_pull(cts: Any, x: Any, u: Any, s: Any, vh: Any, *, full: bool) -> Any:
    u_bar, s_bar, v_bar = cts[0], cts[1], dagger(cts[2])
    k = s.shape[-1]
    thin, v = _thin(u, vh, k)
    if full:
        u_bar, v_bar = _folded(u, u_bar, k), _folded(dagger(vh), v_bar, k)
    size = _spread(u_bar) + _spread(v_bar)
    a, b = np.matmul(dagger(thin), u_bar), np.matmul(dagger(v), v_bar)
    (gaps, near), (sums, zero) = _gaps(s), _sums(s)
    bent = _pulled(_off_diagonal(a + b), gaps, near, size, "svd")
    spun = _pulled(a - b - dagger(a - b), sums, zero, size, "svd")
    inner = (bent + dagger(bent) + spun) / 2 + _matrix(s_bar)
    none, row = np.diagonal(zero, axis1=-2, axis2=-1)[..., None, :], s[..., None, :]
    left = _pulled(_outside(thin, u_bar), row, none, size, "svd")
    right = _pulled(_outside(v, v_bar), row, none, size, "svd")
    x_bar = np.matmul(np.matmul(thin, inner) + left, dagger(v))
    return x_bar + np.matmul(thin, dagger(right))


def _folded(u: Any, u_bar: Any, k: int) -> Any:
    """The cotangent of the first columns, with what the last ones send through them."""
    if u.shape[-1] == k:
        return u_bar
    first, rest = u[..., :, :k], u[..., :, k:]
    sent = np.matmul(rest, np.matmul(dagger(u_bar[..., :, k:]), first))
    return u_bar[..., :, :k] - sent


def _svd_type(x: ArrayType, *, full: bool) -> Any:
    m, n = x.shape[-2:]
    k, stack = min(m, n), x.shape[:-2]
    return (
        x.with_shape((*stack, m, m if full else k)),
        ArrayType((*stack, k), _real(x.dtype)),
        x.with_shape((*stack, n if full else k, n)),
    )


def _rectangular(rng: np.random.Generator, dtype: np.dtype[Any], *shape: int) -> Any:
    """Matrices with singular values near 1, 2, 3, ..."""
    k = min(shape[-2:])
    x = rng.uniform(-0.2, 0.2, shape)
    if dtype.kind == "c":
        x = x + 1j * rng.uniform(-0.2, 0.2, shape)
    x[..., :k, :k] += np.diag(np.arange(1.0, 1 + k))
    return x.astype(dtype)


svd = _decomposition(
    "svd",
    lambda x, *, full: np.linalg.svd(x, full_matrices=full),
    doc="x = u diag(s) v^H with s descending; square u and v if `full`",
    type_rule=_svd_type,
    jvp=_svd_jvp,
    pull=_svd_pull,
    samples=lambda rng, dtype: (
        [
            Sample((_rectangular(rng, dtype, *shape),), {"full": full})
            for shape, full in (
                ((3, 3), True),
                ((4, 2), False),
                ((2, 2, 3), False),
                ((1, 1), True),
            )
        ]
        if dtype.kind == "f"
        else []
    ),
    flops=20,
    source="Townsend (2016), section 1; Wan & Zhang (2019), equation 8",
)


# -- QR -------------------------------------------------------------------------------------------
def _right_divided(x: Any, r: Any) -> Any:
    """``x r^-1`` for upper triangular r."""
    return dagger(solve_triangular(r, dagger(x), lower=False, turned=True))


def _qr_jvp(x_dot: Any, x: Any, q: Any, r: Any) -> Any:
    ratio = _right_divided(x_dot, r)
    inner = np.matmul(dagger(q), ratio)
    lower = np.tril(inner, -1)
    turn = lower - dagger(lower)
    if inner.dtype.kind == "c":  # the diagonal of r stays real
        turn = turn + _matrix(1j * np.imag(_diagonal(inner)))
    return ratio - np.matmul(q, inner - turn), np.matmul(inner - turn, r)


def _qr_pull(cts: Any, x: Any, q: Any, r: Any) -> Any:
    q_bar, r_bar = cts
    inner = np.matmul(r, dagger(np.triu(r_bar))) - np.matmul(dagger(q_bar), q)
    return _right_divided_turned(q_bar + np.matmul(q, mirrored(inner)), r)


def _right_divided_turned(x: Any, r: Any) -> Any:
    """``x r^-H`` for upper triangular r."""
    return dagger(solve_triangular(r, dagger(x), lower=False, turned=False))


def _qr_type(x: ArrayType) -> Any:
    m, n = x.shape[-2:]
    if m < n:
        raise ValueError(f"expected matrices with no more columns than rows, not {x}")
    return x.with_shape(x.shape), x.with_shape((*x.shape[:-2], n, n))


qr = _decomposition(
    "qr",
    np.linalg.qr,
    doc="x = q r with orthonormal columns q and upper triangular r, for no more columns than rows",
    type_rule=_qr_type,
    jvp=_qr_jvp,
    pull=_qr_pull,
    samples=lambda rng, dtype: (
        [Sample((_rectangular(rng, dtype, *shape),)) for shape in ((3, 3), (2, 4, 2), (1, 1))]
        if is_differentiable(dtype)
        else []
    ),
    flops=4,
    source="Walter & Lehmann (2012), Algorithmic differentiation of linear algebra functions",
)


# -- the pseudoinverse ----------------------------------------------------------------------------
def _pinv_jvp(primals: Any, tangents: Any, y: Any, params: Any) -> Any:
    (x,), (x_dot,) = primals, tangents
    turned = dagger(x_dot)
    first = np.matmul(np.matmul(y, x_dot), y)
    second = np.matmul(np.matmul(y, dagger(y)), _off_range(turned, x, y))
    third = np.matmul(_off_rows(turned, x, y), np.matmul(dagger(y), y))
    return second + third - first


def _off_range(z: Any, x: Any, y: Any) -> Any:
    """``z (1 - x y)``."""
    return z - np.matmul(np.matmul(z, x), y)


def _off_rows(z: Any, x: Any, y: Any) -> Any:
    """``(1 - y x) z``."""
    return z - np.matmul(y, np.matmul(x, z))


def _pinv_vjp(ct: Any, x: Any, y: Any) -> Any:
    turned, z = dagger(ct), dagger(y)
    first = np.matmul(np.matmul(z, ct), z)
    second = np.matmul(turned - np.matmul(x, np.matmul(y, turned)), np.matmul(y, z))
    third = np.matmul(np.matmul(z, y), turned - np.matmul(np.matmul(turned, y), x))
    return second + third - first


pinv: Primitive = Primitive(
    name="pinv",
    doc="y = the Moore-Penrose inverse of x; singular values below `rtol` times the largest are 0",
    numpy=lambda x, *, rtol: np.linalg.pinv(x, rtol=rtol),
    type_rule=lambda x, *, rtol: x.with_shape((*x.shape[:-2], x.shape[-1], x.shape[-2])),
    jvp=_pinv_jvp,
    vjp=(Rule(_pinv_vjp),),
    batch=batched(lambda: pinv),
    family="general",
    flops=lambda types, out_types, params: 22 * types[0].size * min(types[0].shape[-2:], default=0),
    samples=lambda rng, dtype: (
        [
            Sample((_rectangular(rng, dtype, *shape),), {"rtol": 1e-15})
            for shape in ((3, 3), (3, 2), (2, 2, 3))
        ]
        if is_differentiable(dtype)
        else []
    ),
    kinks="where the rank changes it jumps; the derivative is that at constant rank",
    source="Golub & Pereyra (1973), equation 4.12",
)

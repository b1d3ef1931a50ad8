"""``scipy.linalg`` for traced arrays: the names and arguments of SciPy, over this library's rules.

``check_finite`` and ``overwrite_...`` are taken and change nothing: a NaN is passed on, and nothing
is overwritten. Stacks of matrices in the last two axes, as in SciPy. All other names are SciPy's.

Sources: N. Higham (2008), *Functions of Matrices*, theorem 3.6 (the Fréchet derivative is a block
of the function of a block matrix); R. Bartels, G. Stewart (1972), *Solution of the matrix equation
AX + XB = C*.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy.linalg

from pullback.core.primitive import Primitive, Rule, Sample
from pullback.core.source import here
from pullback.core.types import ArrayType
from pullback.errors import ArgumentError, DTypeError
from pullback.ops import linalg as own
from pullback.ops.families import cast, conjugate, draw
from pullback.ops.linalg import batched, dagger, mirrored, square
from pullback.scipy.names import names_of
from pullback.scipy.opaque import floats, one_by_one, require

__all__ = [
    "block_diag", "cho_factor", "cho_solve", "cholesky", "circulant", "cosm", "det", "eigh",
    "eigvalsh", "expm", "inv", "logm", "norm", "pinv", "qr", "sinm", "solve", "solve_banded",
    "solve_continuous_lyapunov", "solve_sylvester", "solve_toeplitz", "solve_triangular", "sqrtm",
    "svd", "svdvals", "tanhm", "toeplitz",
]  # fmt: skip


__getattr__, __dir__ = names_of(scipy.linalg)


def _t(x: Any) -> Any:
    return np.swapaxes(x, -1, -2)


# -- linear systems -------------------------------------------------------------------------------
ASSUMED: dict[str | None, Callable[[Any, bool], Any]] = {
    None: lambda a, lower: a,
    "gen": lambda a, lower: a,
    "general": lambda a, lower: a,
    "sym": lambda a, lower: _symmetric(a, lower),
    "symmetric": lambda a, lower: _symmetric(a, lower),
    "her": lambda a, lower: mirrored(a if lower else dagger(a)),
    "hermitian": lambda a, lower: mirrored(a if lower else dagger(a)),
    "pos": lambda a, lower: mirrored(a if lower else dagger(a)),
    "positive definite": lambda a, lower: mirrored(a if lower else dagger(a)),
    "upper triangular": lambda a, lower: np.triu(a),
    "lower triangular": lambda a, lower: np.tril(a),
}


def _symmetric(a: Any, lower: bool) -> Any:
    return np.tril(a) + _t(np.tril(a, -1)) if lower else np.triu(a) + _t(np.triu(a, 1))


def _by_columns(function: Callable[[Any], Any], b: Any) -> Any:
    """``function`` of right-hand sides in columns, for one that may be a vector."""
    return function(b[:, None])[..., 0] if b.ndim == 1 else function(b)


def solve(
    a: Any,
    b: Any,
    lower: bool = False,
    overwrite_a: bool = False,
    overwrite_b: bool = False,
    check_finite: bool = True,
    assume_a: str | None = None,
    transposed: bool = False,
) -> Any:
    """The x with ``a x = b``; ``assume_a`` says which part of ``a`` is read, as in SciPy.

    Raises:
        UnsupportedError: for an ``assume_a`` that is not one of SciPy's dense forms.

    >>> import numpy as np
    >>> import pullback as pb
    >>> a = np.array([[2.0, 0.0], [0.0, 4.0]])
    >>> pb.grad(lambda a: np.sum(pb.scipy.linalg.solve(a, np.ones(2))))(a).round(4).tolist()
    [[-0.25, -0.125], [-0.125, -0.0625]]
    """
    a, b = floats(a, b)
    if assume_a not in ASSUMED:
        require("linalg.solve", "leave assume_a out", assume_a=(assume_a, None))
    a = ASSUMED[assume_a](a, lower)
    a = _t(a) if transposed else a
    return _by_columns(lambda b: own.solve(a, b), b)


def solve_triangular(
    a: Any,
    b: Any,
    trans: int | str = 0,
    lower: bool = False,
    unit_diagonal: bool = False,
    overwrite_b: bool = False,
    check_finite: bool = True,
) -> Any:
    """The x with ``a x = b`` for a triangle of ``a``; ``a^T x`` or ``a^H x`` by ``trans``.

    >>> import numpy as np
    >>> import pullback as pb
    >>> a = np.array([[2.0, 9.0], [1.0, 4.0]])
    >>> pb.scipy.linalg.solve_triangular(a, np.array([2.0, 5.0]), lower=True)
    array([1., 1.])
    """
    a, b = floats(a, b)
    if trans not in (0, 1, 2, "N", "T", "C"):
        raise ArgumentError(
            f"solve_triangular: trans={trans!r}", where=str(here()), fix="pass 0, 1 or 2"
        )
    if unit_diagonal:
        strict = np.tril(a, -1) if lower else np.triu(a, 1)
        a = strict + np.eye(a.shape[-1], dtype=a.dtype)
    if trans in (1, "T"):
        a = conjugate(a)
    turned = trans not in (0, "N")
    return _by_columns(lambda b: own.solve_triangular(a, b, lower=lower, turned=turned), b)


def cholesky(
    a: Any, lower: bool = False, overwrite_a: bool = False, check_finite: bool = True
) -> Any:
    """``a = u^H u``, or ``l l^H`` if ``lower``; SciPy's default is the upper factor.

    >>> import numpy as np
    >>> import pullback as pb
    >>> float(pb.scipy.linalg.cholesky(np.array([[4.0]]))[0, 0])
    2.0
    """
    a = floats(a)
    return own.cholesky(a) if lower else dagger(own.cholesky(dagger(a)))


def cho_factor(
    a: Any, lower: bool = False, overwrite_a: bool = False, check_finite: bool = True
) -> tuple[Any, bool]:
    """The Cholesky factor for :func:`cho_solve`; its other triangle is that of ``a``, as SciPy's.

    >>> import numpy as np
    >>> import pullback as pb
    >>> c = pb.scipy.linalg.cho_factor(np.array([[4.0, 2.0], [2.0, 5.0]]))
    >>> pb.scipy.linalg.cho_solve(c, np.array([8.0, 12.0]))
    array([1., 2.])
    """
    a = floats(a)
    factor = cholesky(a, lower)
    return factor + (np.triu(a, 1) if lower else np.tril(a, -1)), lower


def cho_solve(
    c_and_lower: tuple[Any, bool], b: Any, overwrite_b: bool = False, check_finite: bool = True
) -> Any:
    """The x with ``a x = b`` by what :func:`cho_factor` made of ``a``."""
    c, lower = c_and_lower
    c, b = floats(c, b)

    def solved(b: Any) -> Any:
        half = own.solve_triangular(c, b, lower=lower, turned=not lower)
        return own.solve_triangular(c, half, lower=lower, turned=bool(lower))

    return _by_columns(solved, b)


def _banded(ab: Any, b: Any, *, bands: tuple[int, int]) -> Any:
    dtype = np.result_type(ab, b)
    x = scipy.linalg.solve_banded(bands, ab, b, check_finite=False)
    return np.asarray(x).astype(dtype, copy=False)


def _places(bands: tuple[int, int], n: int) -> tuple[Any, Any, Any]:
    """Rows and columns of what lies in ``ab``, and what of it is inside of the matrix."""
    columns = np.broadcast_to(np.arange(n), (sum(bands) + 1, n))
    rows = columns + np.arange(-bands[1], bands[0] + 1)[:, None]
    return np.clip(rows, 0, n - 1), columns, (rows >= 0) & (rows < n)


def _turned_bands(ab: Any, bands: tuple[int, int]) -> Any:
    """The conjugate transpose, in the bands ``(upper, lower)``."""
    n = ab.shape[-1]
    rows, columns, inside = _places(bands[::-1], n)
    found = ab[bands[1] + columns - rows, rows]
    return np.where(inside, conjugate(found), 0)


def _banded_product(ab: Any, x: Any, bands: tuple[int, int]) -> Any:
    turned = conjugate(_turned_bands(ab, bands))  # row j of it: what multiplies x[j - ...]
    rows, _, inside = _places(bands[::-1], ab.shape[-1])
    return np.sum(np.where(inside, turned, 0)[..., None] * x[rows], axis=0)


def _banded_jvp(primals: Any, tangents: Any, y: Any, params: Any) -> Any:
    (ab, _), (ab_dot, b_dot) = primals, tangents
    if ab_dot is not None:
        change = -_banded_product(ab_dot, y, **params)
        b_dot = change if b_dot is None else b_dot + change
    return banded(ab, b_dot, **params)


def _banded_pull(ct: Any, x_type: ArrayType, x1: Any, y: Any, *, bands: Any) -> Any:
    weights = banded(_turned_bands(x1, bands), ct, bands=bands[::-1])
    rows, columns, inside = _places(bands, x1.shape[-1])
    found = -np.sum(weights[rows] * conjugate(y)[columns], axis=-1)
    return cast(np.where(inside, found, 0), x_type.dtype)


def _banded_samples(rng: np.random.Generator, dtype: np.dtype[Any]) -> list[Sample]:
    if dtype.kind not in "fc":
        return []
    ab = rng.uniform(-0.5, 0.5, (4, 5))
    ab[1] += 3
    args = ab.astype(dtype), draw(rng, dtype, 5, 2)
    return [Sample(args, {"bands": (2, 1)})]


banded: Primitive = Primitive(
    name="solve_banded",
    doc="x1 y = x2 for a matrix with `bands` = (lower, upper) diagonals beside the main one",
    numpy=_banded,
    type_rule=lambda ab, b, *, bands: ArrayType(b.shape, np.result_type(ab.dtype, b.dtype)),
    jvp=_banded_jvp,
    vjp=(
        Rule(_banded_pull),
        Rule(
            lambda ct, x_type, x1, *, bands: cast(
                banded(_turned_bands(x1, bands), ct, bands=bands[::-1]), x_type.dtype
            )
        ),
    ),
    batch=one_by_one(lambda: banded),
    family="general",
    flops=lambda types, out_types, params: 2 * types[0].size * types[1].shape[-1],
    samples=_banded_samples,
    source="the derivative of a linear system, kept to the bands",
)


def solve_banded(
    l_and_u: Any,
    ab: Any,
    b: Any,
    overwrite_ab: bool = False,
    overwrite_b: bool = False,
    check_finite: bool = True,
) -> Any:
    """The x with ``a x = b`` for the diagonals ``ab[u + i - j, j] = a[i, j]``, as in SciPy.

    >>> import numpy as np
    >>> import pullback as pb
    >>> ab = np.array([[0.0, 1.0], [2.0, 2.0], [1.0, 0.0]])
    >>> pb.scipy.linalg.solve_banded((1, 1), ab, np.array([3.0, 3.0]))
    array([1., 1.])
    """
    ab, b = floats(ab, b)
    bands = (int(l_and_u[0]), int(l_and_u[1]))
    if ab.ndim != 2 or ab.shape != (sum(bands) + 1, b.shape[0]):
        raise ArgumentError(
            f"solve_banded: ab has shape {ab.shape} for {b.shape[0]} unknowns and bands {bands}",
            where=str(here()),
            fix=f"pass ab of shape ({sum(bands) + 1}, {b.shape[0]})",
        )
    return _by_columns(lambda b: banded(ab, b, bands=bands), b)


def _sylvester(a: Any, b: Any, q: Any) -> Any:
    dtype = np.result_type(a, b, q)
    return np.asarray(scipy.linalg.solve_sylvester(a, b, q)).astype(dtype, copy=False)


def _sylvester_jvp(primals: Any, tangents: Any, y: Any, params: Any) -> Any:
    (a, b, _), (a_dot, b_dot, total) = primals, tangents
    for part in (
        None if a_dot is None else -np.matmul(a_dot, y),
        None if b_dot is None else -np.matmul(y, b_dot),
    ):
        if part is not None:
            total = part if total is None else total + part
    return sylvester(a, b, total)


def _sylvester_samples(rng: np.random.Generator, dtype: np.dtype[Any]) -> list[Sample]:
    if dtype.kind not in "fc":
        return []
    a, b = 0.3 * draw(rng, dtype, 3, 3) / 3, 0.3 * draw(rng, dtype, 2, 2) / 3
    a, b = a + 2 * np.eye(3, dtype=dtype), b + 2 * np.eye(2, dtype=dtype)
    return [Sample((a.astype(dtype), b.astype(dtype), draw(rng, dtype, 3, 2)))]


sylvester: Primitive = Primitive(
    name="sylvester",
    doc="x1 y + y x2 = x3",
    numpy=_sylvester,
    type_rule=lambda a, b, q: ArrayType(q.shape, np.result_type(a.dtype, b.dtype, q.dtype)),
    jvp=_sylvester_jvp,
    vjp=(
        Rule(
            lambda ct, x_type, x1, x2, y: cast(
                -np.matmul(sylvester(dagger(x1), dagger(x2), ct), dagger(y)), x_type.dtype
            )
        ),
        Rule(
            lambda ct, x_type, x1, x2, y: cast(
                -np.matmul(dagger(y), sylvester(dagger(x1), dagger(x2), ct)), x_type.dtype
            )
        ),
        Rule(lambda ct, x_type, x1, x2: cast(sylvester(dagger(x1), dagger(x2), ct), x_type.dtype)),
    ),
    batch=one_by_one(lambda: sylvester),
    family="general",
    flops=lambda types, out_types, params: 25 * types[0].size * types[0].shape[-1],
    samples=_sylvester_samples,
    source="Bartels & Stewart (1972); the equation is linear in y",
)


def solve_sylvester(a: Any, b: Any, q: Any) -> Any:
    """The x with ``a x + x b = q``.

    >>> import numpy as np
    >>> import pullback as pb
    >>> float(pb.scipy.linalg.solve_sylvester(np.eye(1), 3 * np.eye(1), np.eye(1))[0, 0])
    0.25
    """
    return sylvester(*floats(a, b, q))


def solve_continuous_lyapunov(a: Any, q: Any) -> Any:
    """The x with ``a x + x a^H = q``."""
    a, q = floats(a, q)
    return sylvester(a, dagger(a), q)


# -- functions of matrices ------------------------------------------------------------------------
FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "expm": scipy.linalg.expm,
    "sqrtm": scipy.linalg.sqrtm,
    "logm": scipy.linalg.logm,
    "cosm": scipy.linalg.cosm,
    "sinm": scipy.linalg.sinm,
    "tanhm": scipy.linalg.tanhm,
}


def _function(x: Any, *, name: str) -> Any:
    flat = x.reshape((-1, *x.shape[-2:]))
    rows = [FUNCTIONS[name](m) for m in flat]
    if x.dtype.kind != "c" and any(np.iscomplexobj(row) for row in rows):
        raise DTypeError(
            f"{name} of this real matrix is complex",
            where=str(here()),
            fix="pass x.astype(complex)",
        )
    y = np.stack(rows) if rows else flat
    return y.reshape(x.shape).astype(x.dtype, copy=False)


def _frechet(x: Any, direction: Any, name: str) -> Any:
    """The derivative of the function at ``x`` along ``direction``: Higham, equation 3.16."""
    upper = np.concatenate([x, direction], axis=-1)
    lower = np.concatenate([0 * x, x], axis=-1)
    n = x.shape[-1]
    both = matrix_function(np.concatenate([upper, lower], axis=-2), name=name)
    return both[..., :n, n:]


def _function_samples(rng: np.random.Generator, dtype: np.dtype[Any]) -> list[Sample]:
    if dtype.kind not in "fc":
        return []
    x = 0.2 * draw(rng, dtype, 2, 3, 3) / 3 + np.diag([1.0, 1.5, 2.0])
    args = (x.astype(dtype),)
    return [Sample(args, {"name": name}) for name in ("expm", "sqrtm", "logm")]


matrix_function: Primitive = Primitive(
    name="matrix_function",
    doc="y = the function `name` of square matrices: expm, sqrtm, logm, cosm, sinm or tanhm",
    numpy=_function,
    type_rule=lambda x, *, name: square(x),
    jvp=lambda primals, tangents, y, params: _frechet(primals[0], tangents[0], **params),
    vjp=(Rule(lambda ct, x, *, name: _frechet(dagger(x), ct, name)),),
    batch=batched(lambda: matrix_function),
    family="general",
    flops=lambda types, out_types, params: 30 * types[0].size * types[0].shape[-1],
    samples=_function_samples,
    source="Higham (2008), theorem 3.6 and section 3.2",
)


def expm(A: Any) -> Any:  # noqa: N803 - SciPy's name
    """The exponential of square matrices.

    >>> import numpy as np
    >>> import pullback as pb
    >>> pb.grad(lambda t: np.trace(pb.scipy.linalg.expm(t * np.eye(2))))(0.0)
    np.float64(2.0)
    """
    return matrix_function(floats(A), name="expm")


def sqrtm(A: Any) -> Any:  # noqa: N803
    """The principal square root of square matrices; complex ones for complex ``A`` only."""
    return matrix_function(floats(A), name="sqrtm")


def logm(A: Any) -> Any:  # noqa: N803
    """The principal logarithm of square matrices; complex ones for complex ``A`` only."""
    return matrix_function(floats(A), name="logm")


def cosm(A: Any) -> Any:  # noqa: N803
    """The cosine of square matrices."""
    return matrix_function(floats(A), name="cosm")


def sinm(A: Any) -> Any:  # noqa: N803
    """The sine of square matrices."""
    return matrix_function(floats(A), name="sinm")


def tanhm(A: Any) -> Any:  # noqa: N803
    """The hyperbolic tangent of square matrices."""
    return matrix_function(floats(A), name="tanhm")


# -- decompositions, and NumPy's functions under SciPy's arguments -------------------------------
def inv(
    a: Any,
    overwrite_a: bool = False,
    check_finite: bool = True,
    *,
    assume_a: str | None = None,
    lower: bool = False,
) -> Any:
    """The inverse of square matrices."""
    a = floats(a)
    return solve(a, np.eye(a.shape[-1], dtype=a.dtype), lower, assume_a=assume_a)


def det(a: Any, overwrite_a: bool = False, check_finite: bool = True) -> Any:
    """The determinant of square matrices."""
    return np.linalg.det(floats(a))


def eigh(
    a: Any,
    b: Any = None,
    *,
    lower: bool = True,
    eigvals_only: bool = False,
    overwrite_a: bool = False,
    overwrite_b: bool = False,
    type: int = 1,
    check_finite: bool = True,
    subset_by_index: Any = None,
    subset_by_value: Any = None,
    driver: str | None = None,
) -> Any:
    """Eigenvalues w and vectors v of Hermitian ``a``, or of ``a v = w b v``; v by columns."""
    require(
        "linalg.eigh",
        type=(type, 1),
        subset_by_index=(subset_by_index, None),
        subset_by_value=(subset_by_value, None),
    )
    a = floats(a)
    if b is None:
        w, v = np.linalg.eigh(a, "L" if lower else "U")
        return w if eigvals_only else (w, v)
    factor = cholesky(floats(b) if lower else dagger(floats(b)), lower=True)
    half = own.solve_triangular(
        factor, mirrored(a if lower else dagger(a)), lower=True, turned=False
    )
    middle = own.solve_triangular(factor, dagger(half), lower=True, turned=False)
    w, v = np.linalg.eigh(dagger(middle))
    return w if eigvals_only else (w, own.solve_triangular(factor, v, lower=True, turned=True))


def eigvalsh(a: Any, b: Any = None, **options: Any) -> Any:
    """Eigenvalues of Hermitian ``a``, as :func:`eigh` has them."""
    return eigh(a, b, eigvals_only=True, **options)


def svd(
    a: Any,
    full_matrices: bool = True,
    compute_uv: bool = True,
    overwrite_a: bool = False,
    check_finite: bool = True,
    lapack_driver: str = "gesdd",
) -> Any:
    """``a = u s vh``."""
    if not compute_uv:
        return svdvals(a)
    return np.linalg.svd(floats(a), full_matrices)


def svdvals(a: Any, overwrite_a: bool = False, check_finite: bool = True) -> Any:
    """Singular values."""
    return np.linalg.svd(floats(a), compute_uv=False)


def qr(
    a: Any,
    overwrite_a: bool = False,
    lwork: Any = None,
    mode: str = "full",
    pivoting: bool = False,
    check_finite: bool = True,
) -> Any:
    """``a = q r``; modes ``full``, ``economic`` and ``r``."""
    require("linalg.qr", pivoting=(pivoting, False))
    if mode not in ("full", "economic", "r"):
        require("linalg.qr", "choose full, economic or r", mode=(mode, "full"))
    modes = {"full": "complete", "economic": "reduced", "r": "r"}
    found = np.linalg.qr(floats(a), modes[mode])  # type: ignore[call-overload]
    return (found,) if mode == "r" else found


def pinv(a: Any, *, atol: Any = None, rtol: Any = None, return_rank: bool = False,
         check_finite: bool = True) -> Any:  # fmt: skip
    """The Moore-Penrose inverse; singular values below ``rtol`` of the largest count as zero."""
    require("linalg.pinv", atol=(atol, None), return_rank=(return_rank, False))
    a = floats(a)
    default = max(a.shape[-2:]) * float(np.finfo(a.dtype).eps)
    return np.linalg.pinv(a, rtol=default if rtol is None else rtol)


def norm(
    a: Any,
    ord: Any = None,
    axis: Any = None,
    keepdims: bool = False,
    check_finite: bool = True,
) -> Any:
    """The norm of vectors or matrices."""
    return np.linalg.norm(floats(a), ord, axis, keepdims)


# -- matrices of a pattern ------------------------------------------------------------------------
def block_diag(*arrs: Any) -> Any:
    """The matrix with the given blocks along its diagonal.

    >>> import numpy as np
    >>> import pullback as pb
    >>> pb.scipy.linalg.block_diag(np.ones((1, 2)), 3.0).tolist()
    [[1.0, 1.0, 0.0], [0.0, 0.0, 3.0]]
    """
    blocks = [np.atleast_2d(floats(a)) for a in arrs]
    width = sum(block.shape[-1] for block in blocks)
    rows, start = [], 0
    for block in blocks:
        right = width - start - block.shape[-1]
        rows.append(np.pad(block, ((0, 0), (start, right))))
        start += block.shape[-1]
    return np.concatenate(rows, axis=0)


def toeplitz(c: Any, r: Any = None) -> Any:
    """The matrix with first column ``c`` and first row ``r`` (by default the conjugate of ``c``).

    >>> import pullback as pb
    >>> pb.scipy.linalg.toeplitz([1.0, 2.0], [1.0, 3.0]).tolist()
    [[1.0, 3.0], [2.0, 1.0]]
    """
    c = floats(c)
    r = conjugate(c) if r is None else floats(r)
    if c.ndim != 1 or r.ndim != 1:
        raise ArgumentError(
            f"toeplitz: c has shape {c.shape}, r {r.shape}",
            where=str(here()),
            fix="pass one vector each",
        )
    values = np.concatenate([c[::-1], r[1:]])
    rows, columns = np.arange(c.shape[0])[:, None], np.arange(r.shape[0])
    return values[c.shape[0] - 1 - rows + columns]


def circulant(c: Any) -> Any:
    """The matrix whose columns are ``c``, each turned one further down."""
    c = floats(c)
    steps = np.arange(c.shape[-1])
    return c[..., (steps[:, None] - steps) % c.shape[-1]]


def solve_toeplitz(c_or_cr: Any, b: Any, check_finite: bool = True) -> Any:
    """The x with ``T x = b`` for a Toeplitz matrix, solved as a full one."""
    pair: Sequence[Any] = c_or_cr if isinstance(c_or_cr, tuple) else (c_or_cr, None)
    return solve(toeplitz(*pair), b)

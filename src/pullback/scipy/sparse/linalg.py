"""``scipy.sparse.linalg`` for traced arrays: direct solves. All other names are SciPy's.

Iterative solves of functions are ``pullback.optimize.linear_solve``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse.linalg

from pullback.core.primitive import Primitive, Rule, Sample
from pullback.core.source import here
from pullback.core.types import ArrayType
from pullback.errors import ArgumentError
from pullback.ops.families import cast, conjugate, draw
from pullback.scipy.names import names_of
from pullback.scipy.opaque import floats, one_by_one
from pullback.scipy.sparse.matrix import Pattern, from_scipy, sparse_product

__all__ = ["spsolve"]


__getattr__, __dir__ = names_of(scipy.sparse.linalg)


def _solved(values: Any, b: Any, *, pattern: Pattern) -> Any:
    dtype = np.result_type(values, b)
    matrix = pattern.matrix(np.asarray(values).astype(dtype)).tocsc()
    try:
        factors = scipy.sparse.linalg.splu(matrix)
    except RuntimeError as error:
        raise np.linalg.LinAlgError(f"spsolve: {error}") from error
    return factors.solve(np.ascontiguousarray(b, dtype))


def _jvp(primals: Any, tangents: Any, y: Any, params: Any) -> Any:
    (values, _), (values_dot, b_dot) = primals, tangents
    if values_dot is not None:
        change = -sparse_product(values_dot, y, **params)
        b_dot = change if b_dot is None else b_dot + change
    return sparse_solve(values, b_dot, **params)


def _turned(x: Any, ct: Any, pattern: Pattern) -> Any:
    return sparse_solve(conjugate(x), ct, pattern=pattern.turned())


def _pull_values(ct: Any, x_type: ArrayType, x1: Any, y: Any, *, pattern: Pattern) -> Any:
    weights = _turned(x1, ct, pattern)
    found = -np.sum(weights[pattern.rows] * conjugate(y)[pattern.columns], axis=-1)
    return cast(found, x_type.dtype)


def _samples(rng: np.random.Generator, dtype: np.dtype[Any]) -> list[Sample]:
    if dtype not in (np.float64, np.complex128):
        return []
    pattern = Pattern(np.array([0, 1, 2, 0, 2]), np.array([0, 1, 2, 2, 1]), (3, 3))
    values = (np.array([2.0, 3.0, 2.5, 0.4, -0.3]) + 0.1 * draw(rng, dtype, 5)).astype(dtype)
    return [Sample((values, draw(rng, dtype, 3, 2)), {"pattern": pattern})]


sparse_solve: Primitive = Primitive(
    name="sparse_solve",
    doc="A y = x2 for the square matrix A of `pattern` with the values x1",
    numpy=_solved,
    type_rule=lambda values, b, *, pattern: ArrayType(
        b.shape, np.result_type(values.dtype, b.dtype)
    ),
    jvp=_jvp,
    vjp=(
        Rule(_pull_values),
        Rule(lambda ct, x_type, x1, *, pattern: cast(_turned(x1, ct, pattern), x_type.dtype)),
    ),
    batch=one_by_one(lambda: sparse_solve),
    family="general",
    flops=lambda types, out_types, params: 20 * types[0].size + 4 * out_types[0].size,
    samples=_samples,
    source="the derivative of a linear system, kept to the pattern",
)


def spsolve(A: Any, b: Any, permc_spec: Any = None, use_umfpack: bool = True) -> Any:  # noqa: N803
    """The x with ``A x = b``; the derivative in the values of ``A`` stays within its pattern.

    Args:
        A: a sparse matrix of SciPy, or of :mod:`pullback.scipy.sparse` with traced values.
        b: ``(n,)`` or ``(n, m)``, dense.

    Raises:
        LinAlgError: if ``A`` is singular.

    >>> import numpy as np
    >>> import pullback as pb
    >>> def solved(data):
    ...     a = pb.scipy.sparse.coo_array((data, ([0, 1], [0, 1])), (2, 2))
    ...     return np.sum(pb.scipy.sparse.linalg.spsolve(a, np.ones(2)))
    >>> pb.grad(solved)(np.array([1.0, 2.0])).tolist()
    [-1.0, -0.25]
    """
    a, b = from_scipy(A), floats(b)
    if a.shape[0] != a.shape[1] or b.shape[0] != a.shape[0] or b.ndim > 2:
        raise ArgumentError(
            f"spsolve: {a.shape[0]}x{a.shape[1]} unknowns and a right-hand side {b.shape}",
            where=str(here()),
            fix="pass a square matrix and a row of b for each unknown",
        )
    if b.ndim == 1:
        return sparse_solve(a.data, b[:, None], pattern=a.pattern)[:, 0]
    return sparse_solve(a.data, b, pattern=a.pattern)

"""Eigenvalues of symmetric operators: extreme ones, their density, and the condition number.

Algorithm: Lanczos tridiagonalisation with full reorthogonalisation (two passes), and stochastic
Lanczos quadrature over random probes for the density.

Sources:
    B. Ghorbani, S. Krishnan, Y. Xiao (2019), "An Investigation into Neural Net Optimization via
    Hessian Eigenvalue Density", algorithms 1 and 2.
    S. Ubaru, J. Chen, Y. Saad (2017), "Fast Estimation of tr(f(A)) via Stochastic Lanczos
    Quadrature".
    Extreme eigenvalues: ARPACK's implicitly restarted Lanczos method, through SciPy.

Cost: one product of the operator a step, ``O(n m)`` memory for ``m`` steps.
Known limits: the number of probes, not of steps, limits the accuracy of traces; the predicted
standard deviation is reported for that.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from scipy.linalg import eigh_tridiagonal
from scipy.sparse.linalg import LinearOperator, eigsh, minres

from pullback.core.source import here
from pullback.errors import ArgumentError, ShapeError

__all__ = ["SpectralDensity", "condition_number", "eigenvalues", "lanczos", "spectral_density"]

SMALL = 64  # below this many rows the matrix is formed: n products cost less than restarts


def require_square(op: Any, name: str) -> int:
    if len(op.shape) != 2 or op.shape[0] != op.shape[1]:
        raise ShapeError(
            f"{name} needs a symmetric operator, and got one of shape {op.shape}",
            where=str(here()),
            fix="use kind='hessian' or 'gauss_newton'; for singular values use scipy's svds",
        )
    return int(op.shape[0])


def eigenvalues(
    op: Any, k: int = 1, which: str = "LA", *, tol: float = 0.0, seed: int = 0
) -> tuple[Any, Any]:
    """The ``k`` extreme eigenvalues of a symmetric operator, and their eigenvectors.

    Args:
        op: a symmetric ``LinearOperator`` or array, ``(n, n)``.
        k: how many, ``1 <= k <= n``.
        which: ``"LA"`` the largest, ``"SA"`` the smallest, ``"LM"`` the largest in magnitude.
        tol: relative accuracy; 0 stands for that of the dtype.
        seed: of the random start vector.

    Returns:
        Eigenvalues ``(k,)``, ascending, and eigenvectors as columns, ``(n, k)``, each of norm 1.

    Raises:
        ArgumentError: for another ``which``, or ``k`` out of range.
        ShapeError: if ``op`` is not square.

    >>> import numpy as np
    >>> import pullback as pb
    >>> op = pb.linear_operator(lambda x: np.sum(np.array([1.0, 5.0, 3.0]) * x**2), np.ones(3))
    >>> pb.curvature.eigenvalues(op, k=2)[0].round(6)
    array([ 6., 10.])
    """
    n = require_square(op, "eigenvalues")
    if which not in ("LA", "SA", "LM"):
        raise ArgumentError(
            f"eigenvalues: which={which!r}",
            where=str(here()),
            fix='use "LA" (largest), "SA" (smallest) or "LM" (largest magnitude)',
        )
    if not 1 <= k <= n:
        raise ArgumentError(
            f"eigenvalues: k={k} of a matrix with {n} rows",
            where=str(here()),
            fix=f"choose k from 1 to {n}",
        )
    if n <= max(SMALL, 2 * k):
        values, vectors = np.linalg.eigh(op @ np.eye(n, dtype=op.dtype))
        order = {"LA": np.argsort(values), "SA": np.argsort(-values)}
        chosen = np.sort(order.get(which, np.argsort(np.abs(values)))[-k:])
        return values[chosen], vectors[:, chosen]
    start = np.random.default_rng(seed).normal(size=n).astype(op.dtype)
    values, vectors = eigsh(op, k, which=which, tol=tol, v0=start)
    order_found = np.argsort(values)
    return values[order_found], vectors[:, order_found]


def lanczos(op: Any, n_steps: int, start: Any) -> tuple[Any, Any, Any]:
    """Tridiagonal form of a symmetric operator on the Krylov space of ``start``.

    Returns:
        Diagonal ``(m,)``, off-diagonal ``(m - 1,)`` and basis ``(n, m)`` in float64, with
        ``basis^T op basis = T``; ``m < n_steps`` if the space is exhausted sooner.

    >>> import numpy as np
    >>> from pullback.curvature import lanczos
    >>> diagonal, beside, basis = lanczos(np.diag([1.0, 2.0]), 2, np.array([1.0, 1.0]))
    >>> diagonal, beside
    (array([1.5, 1.5]), array([0.5]))
    """
    n = require_square(op, "lanczos")
    basis = np.zeros((n, min(n_steps, n)))
    diagonal: list[float] = []
    beside: list[float] = []
    v = np.asarray(start, np.float64) / np.linalg.norm(start)
    scale = 0.0
    for j in range(basis.shape[1]):
        basis[:, j] = v
        w = np.asarray(op @ v, np.float64)
        diagonal.append(float(v @ w))
        for _ in range(2):  # the first pass leaves rounding errors that the second removes
            w = w - basis[:, : j + 1] @ (basis[:, : j + 1].T @ w)
        length = float(np.linalg.norm(w))
        scale = max(scale, abs(diagonal[-1]), length)
        if j + 1 == basis.shape[1] or length <= n * np.finfo(op.dtype).eps * scale:
            break
        beside.append(length)
        v = w / length
    m = len(diagonal)
    return np.array(diagonal), np.array(beside[: m - 1]), basis[:, :m]


@dataclasses.dataclass(frozen=True)
class SpectralDensity:
    """Density of the eigenvalues of an operator; made by :func:`spectral_density`.

    Attributes:
        grid: where the density is given, ``(p,)``.
        density: smoothed share of eigenvalues per unit at each point, ``(p,)``; its integral is 1.
        nodes, weights: eigenvalues and shares as the probes saw them, ``(runs, steps)``.
        sigma: width of the smoothing kernel, in units of eigenvalues.
        trace: estimate of the sum of all eigenvalues.
        trace_std: its predicted standard deviation, from the spread over the probes.
    """

    grid: Any
    density: Any
    nodes: Any
    weights: Any
    sigma: float
    trace: float
    trace_std: float


def spectral_density(
    op: Any,
    num_runs: int = 10,
    lanczos_steps: int = 80,
    *,
    sigma: float | None = None,
    grid: Any = None,
    seed: int = 0,
) -> SpectralDensity:
    """Density of the eigenvalues by stochastic Lanczos quadrature.

    ``phi(t) = 1/k sum_i sum_j w_ij N(t; theta_ij, sigma^2)``: eigenvalues ``theta_ij`` of the
    tridiagonal matrix of probe ``i``, weighted by the squared first entries of its eigenvectors.

    Args:
        op: a symmetric ``LinearOperator`` or array, ``(n, n)``.
        num_runs: random probes, ``k``.
        lanczos_steps: steps of each, ``m``: one product with ``op`` a step.
        sigma: width of the kernel; 1% of the largest magnitude if it is not given.
        grid: points at which the density is wanted; 1,000 that cover the spectrum if not given.
        seed: of the probes.

    >>> import numpy as np
    >>> import pullback as pb
    >>> found = pb.curvature.spectral_density(np.diag(np.arange(1.0, 51.0)), seed=1)
    >>> bool(abs(found.trace - 1275) < 3 * found.trace_std + 1e-6)
    True
    """
    n = require_square(op, "spectral_density")
    rng = np.random.default_rng(seed)
    steps = min(lanczos_steps, n)
    nodes, weights = np.zeros((num_runs, steps)), np.zeros((num_runs, steps))
    for i in range(num_runs):
        diagonal, beside, _ = lanczos(op, steps, rng.choice([-1.0, 1.0], size=n))
        theta, vectors = eigh_tridiagonal(diagonal, beside)
        nodes[i, : theta.size], nodes[i, theta.size :] = theta, theta[-1]
        weights[i, : theta.size] = vectors[0] ** 2
    largest = float(np.max(np.abs(nodes)))
    sigma = sigma or 0.01 * largest or 1.0
    if grid is None:
        grid = np.linspace(nodes.min() - 4 * sigma, nodes.max() + 4 * sigma, 1000)
    grid = np.asarray(grid, np.float64)
    distance = (grid[:, None, None] - nodes) / sigma
    kernel = np.exp(-0.5 * distance**2) / (sigma * np.sqrt(2 * np.pi))
    traces = n * np.sum(nodes * weights, axis=1)
    spread = float(np.std(traces, ddof=1) / np.sqrt(num_runs)) if num_runs > 1 else np.inf
    density = np.sum(kernel * weights, axis=(1, 2)) / num_runs
    return SpectralDensity(grid, density, nodes, weights, sigma, float(np.mean(traces)), spread)


def condition_number(op: Any, *, tol: float = 1e-6, seed: int = 0) -> float:
    """Ratio of the largest to the smallest magnitude of an eigenvalue of a symmetric operator.

    The largest comes from Lanczos steps, the smallest from Lanczos steps on the inverse, each
    applied by MINRES to the relative accuracy ``tol``. Infinite for a matrix that is singular to
    rounding.

    >>> import numpy as np
    >>> import pullback as pb
    >>> round(pb.curvature.condition_number(np.diag([2.0, -8.0, 4.0])), 6)
    4.0
    """
    n = require_square(op, "condition_number")
    if n <= SMALL:
        values = np.abs(np.linalg.eigvalsh(op @ np.eye(n, dtype=op.dtype)))
        smallest, largest = float(values.min()), float(values.max())
    else:
        largest = float(np.abs(eigenvalues(op, 1, "LM", tol=tol, seed=seed)[0][0]))
        inverse = LinearOperator(
            (n, n), lambda v: minres(op, np.reshape(v, -1), rtol=tol)[0], dtype=op.dtype
        )
        smallest = 1 / float(np.abs(eigenvalues(inverse, 1, "LM", tol=tol, seed=seed)[0][0]))
    if smallest <= n * np.finfo(op.dtype).eps * largest:
        return float("inf")
    return largest / smallest

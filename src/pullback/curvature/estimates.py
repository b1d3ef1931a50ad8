"""Trace and diagonal of an operator from products with random vectors.

Sources:
    M. Hutchinson (1990), "A Stochastic Estimator of the Trace of the Influence Matrix".
    R. Meyer, C. Musco, C. Musco, D. Woodruff (2021), "Hutch++: Optimal Stochastic Trace
    Estimation", algorithm 1.
    E. Epperly, J. Tropp, R. Webber (2024), "XTrace: Making the Most of Every Sample in Stochastic
    Trace Estimation", section 2.2.
    C. Bekas, E. Kokiopoulou, Y. Saad (2007), "An Estimator for the Diagonal of a Matrix".
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from pullback.core.source import here
from pullback.curvature.spectrum import require_square
from pullback.errors import ArgumentError

__all__ = ["Estimate", "diagonal", "trace"]

METHODS = ("hutchinson", "hutch++", "xtrace")


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A random estimate: its ``value``, and the ``std`` (standard deviation) to expect of it."""

    value: Any
    std: Any


def probes(rng: np.random.Generator, n: int, k: int) -> Any:
    """Columns of random signs: the probes of least variance for Hutchinson's estimate."""
    return rng.choice([-1.0, 1.0], size=(n, k))


def mean(samples: Any) -> Estimate:
    """Mean and standard error over the last axis."""
    k = samples.shape[-1]
    spread = (
        np.std(samples, axis=-1, ddof=1) / np.sqrt(k) if k > 1 else np.full_like(samples, np.inf)
    )
    return Estimate(np.mean(samples, axis=-1), spread)


def trace(op: Any, num_samples: int = 30, *, method: str = "hutch++", seed: int = 0) -> Estimate:
    """Trace of a square operator from ``num_samples`` products.

    Args:
        op: a ``LinearOperator`` or array, ``(n, n)``; symmetric for ``"hutch++"``'s guarantee.
        num_samples: products to spend; if it is at least ``n`` the trace is exact.
        method: ``"hutchinson"`` (``Var = 2 (||A||_F^2 - sum A_ii^2) / k`` for symmetric ``A``),
            ``"hutch++"`` (a third of the products find the large eigenvalues, which are then summed
            exactly), or ``"xtrace"`` (each product serves both purposes).
        seed: of the probes.

    Raises:
        ArgumentError: for another method, or fewer than 6 products.
        ShapeError: if ``op`` is not square.

    >>> import numpy as np
    >>> import pullback as pb
    >>> pb.curvature.trace(np.diag([1.0, 2.0, 3.0]))
    Estimate(value=6.0, std=0.0)
    """
    n = require_square(op, "trace")
    if method not in METHODS:
        raise ArgumentError(
            f"trace: method={method!r}",
            where=str(here()),
            fix="choose one of " + ", ".join(METHODS),
        )
    if num_samples >= n:
        return Estimate(float(np.trace(op @ np.eye(n))), 0.0)
    if num_samples < 6:
        raise ArgumentError(
            f"trace: {num_samples} products say nothing about their own error",
            where=str(here()),
            fix="spend 6 or more",
        )
    rng = np.random.default_rng(seed)
    if method == "xtrace":
        return xtrace(op, rng.normal(size=(n, num_samples // 2)))  # no direction is preferred
    if method == "hutchinson":
        signs = probes(rng, n, num_samples)
        found = mean(np.sum(signs * (op @ signs), axis=0))
        return Estimate(float(found.value), float(found.std))
    third = num_samples // 3
    basis, _ = np.linalg.qr(op @ probes(rng, n, third))
    signs = probes(rng, n, num_samples - 2 * third)
    signs = signs - basis @ (basis.T @ signs)
    exact = np.trace(basis.T @ (op @ basis))
    rest = mean(np.sum(signs * (op @ signs), axis=0))
    return Estimate(float(exact + rest.value), float(rest.std))


def xtrace(op: Any, signs: Any) -> Estimate:
    """The mean over all ways to leave one probe out of the basis and to test with it.

    Leaving out column ``i`` of ``op @ signs`` takes one direction ``s_i`` from the basis ``Q``
    (the normalised columns of ``R^-T``), so that no second factorisation is needed.
    """
    n, k = signs.shape
    basis, upper = np.linalg.qr(op @ signs)
    image = op @ basis
    left_out = np.linalg.inv(upper).T
    left_out = left_out / np.linalg.norm(left_out, axis=0)
    core = basis.T @ image
    total = np.trace(core)
    estimates = []
    for i in range(k):
        s = left_out[:, i]
        inside = basis.T @ signs[:, i]
        inside = inside - s * (s @ inside)  # of the probe, in the basis without its own column
        rest = signs[:, i] - basis @ inside
        scale = (n - k + 1) / float(rest @ rest)  # the length that a probe in that space has
        tested = rest @ (op @ signs[:, i] - image @ inside)
        estimates.append(total - s @ core @ s + scale * tested)
    found = mean(np.array(estimates))
    return Estimate(float(found.value), float(found.std))


def diagonal(op: Any, num_samples: int = 30, *, seed: int = 0) -> Estimate:
    """Diagonal of a square operator: ``E[z * (A z)]`` over random signs ``z``.

    Returns:
        An :class:`Estimate` of two vectors ``(n,)``; exact if ``num_samples`` is at least ``n``.

    >>> import numpy as np
    >>> import pullback as pb
    >>> pb.curvature.diagonal(np.diag([1.0, 2.0])).value
    array([1., 2.])
    """
    n = require_square(op, "diagonal")
    if num_samples >= n:
        return Estimate(np.diagonal(op @ np.eye(n)).copy(), np.zeros(n))
    signs = probes(np.random.default_rng(seed), n, num_samples)
    return mean(signs * (op @ signs))

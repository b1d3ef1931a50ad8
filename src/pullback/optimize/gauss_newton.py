"""Gauss-Newton and Levenberg-Marquardt for many residuals with sparse Jacobians.

Each step solves ``(J^T J + damping diag(J^T J)) s = -J^T r``. Gauss-Newton has no damping, and
halves a step that does not help. Levenberg-Marquardt raises or lowers the damping by how well the
linear model foretold the decrease (Nielsen's rule). Where a group of unknowns falls into small
blocks that meet in no residual (the points of a bundle adjustment), these are eliminated first: the
Schur complement is a small dense system for the rest.

Sources:
    D. Marquardt (1963), "An Algorithm for Least-Squares Estimation of Nonlinear Parameters".
    H. B. Nielsen (1999), "Damping Parameter in Marquardt's Method", IMM-REP-1999-05, equation 2.21.
    B. Triggs et al. (2000), "Bundle Adjustment: A Modern Synthesis", section 6.1.

Known limits: no bounds, no robust losses (``trf`` has both). Gauss-Newton needs a Jacobian of full
rank.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import linalg, optimize, sparse
from scipy.sparse.linalg import splu

from pullback import tree
from pullback.core.source import here
from pullback.errors import ArgumentError
from pullback.optimize.variables import Variables

__all__ = ["METHODS", "blocks_of", "run"]

METHODS = ("gauss-newton", "levenberg-marquardt")
INTERRUPTED = 130  # the status of a run that Ctrl-C ended, as a shell numbers it
FIRST_DAMPING = 1e-3
LEAST_STEP = 1e-10  # of Gauss-Newton, below which it gives up
Vector = np.ndarray[Any, Any]
MESSAGES = {
    0: "the largest number of function evaluations was reached (max_nfev)",
    1: "`gtol` is satisfied: the gradient is small",
    2: "`ftol` is satisfied: the cost changes no more",
    3: "`xtol` is satisfied: the steps are small",
    -1: "no step along the Gauss-Newton direction lowers the cost",
    INTERRUPTED: "stopped by Ctrl-C: x is the best point so far",
}


def blocks_of(variables: Variables, name: str | None) -> Vector | None:
    """Numbers of the unknowns in the field ``name`` of the start, a row for each block."""
    if name is None:
        return None
    numbered = variables.unravel(np.arange(variables.n, dtype=np.float64))
    if not isinstance(numbered, dict) or name not in numbered:
        raise ArgumentError(
            f"least_squares: x0 has no entry eliminate={name!r}",
            where=str(here()),
            fix="pass x0 as a dictionary, and the key of the group of unknowns to eliminate",
        )
    leaves = tree.leaves(numbered[name])
    if len(leaves) != 1 or np.ndim(leaves[0]) == 0:
        raise ArgumentError(
            f"least_squares: eliminate={name!r} is not one array with a row for each block",
            where=str(here()),
            fix="keep the blocks as rows of one array, such as points of shape (n, 3)",
        )
    return np.asarray(leaves[0], np.int64).reshape(len(leaves[0]), -1)


@dataclass(frozen=True)
class Limits:
    """When a run ends; the meaning is that of SciPy's ``least_squares``."""

    ftol: float = 1e-8
    xtol: float = 1e-8
    gtol: float = 1e-8
    max_nfev: int = 200


def run(
    value: Callable[[Vector], Vector],
    jacobian: Callable[[Vector], Any],
    start: Vector,
    method: str,
    blocks: Vector | None,
    progress: bool,
    options: dict[str, Any],
) -> Any:
    """Minimise half the sum of squares of ``value``; SciPy's result."""
    unknown = set(options) - {"ftol", "xtol", "gtol", "max_nfev"}
    if unknown:
        raise ArgumentError(
            f"least_squares: {method} takes no {', '.join(sorted(unknown))}",
            where=str(here()),
            fix="use method='trf', or pass ftol, xtol, gtol or max_nfev only",
        )
    search = Search(value, jacobian, start, method == METHODS[1], blocks, Limits(**options))
    try:
        status = search.run(progress)
    except KeyboardInterrupt:
        status = INTERRUPTED
    return search.result(status)


class Search:
    """The state of a run: the best point, its residuals and Jacobian, the damping."""

    def __init__(
        self,
        value: Callable[[Vector], Vector],
        jacobian: Callable[[Vector], Any],
        start: Vector,
        is_damped: bool,
        blocks: Vector | None,
        limits: Limits,
    ) -> None:
        self.value = value
        self.jacobian = jacobian
        self.blocks = blocks
        self.limits = limits
        self.is_damped = is_damped
        self.damping, self.growth = FIRST_DAMPING if is_damped else 0.0, 2.0
        self.x = start
        self.n_values = self.n_jacobians = 0
        self.r = self.evaluate(start)
        self.cost = 0.5 * float(self.r @ self.r)
        self.linearize()

    def evaluate(self, x: Vector) -> Vector:
        self.n_values += 1
        return self.value(x)

    def linearize(self) -> None:
        self.n_jacobians += 1
        self.J = self.jacobian(self.x)
        self.gradient = self.J.T @ self.r
        self.normal = self.J.T @ self.J
        self.scale = self.normal.diagonal()

    def run(self, progress: bool) -> int:
        for number in range(1, self.limits.max_nfev + 1):
            if np.max(np.abs(self.gradient), initial=0.0) <= self.limits.gtol:
                return 1
            status = self.step()
            if progress:
                print(f"step {number}: {self.cost:.10g}", file=sys.stderr)  # noqa: T201
            if status is not None:
                return status
            if self.n_values >= self.limits.max_nfev:
                return 0
        return 0

    def step(self) -> int | None:
        """One attempt at a step; the status with which the run ends, if it does."""
        step = self.solve()
        length = 1.0
        while True:
            x = self.x + length * step
            r = self.evaluate(x)
            cost = 0.5 * float(r @ r)
            if self.is_damped or cost < self.cost or self.n_values >= self.limits.max_nfev:
                break
            length /= 2
            if length < LEAST_STEP:
                return -1
        is_short = np.linalg.norm(length * step) <= self.limits.xtol * (
            self.limits.xtol + np.linalg.norm(self.x)
        )
        decrease = self.cost - cost
        if not decrease > 0:  # NaN included
            self.damping, self.growth = self.damping * self.growth, 2 * self.growth
            return 3 if is_short else None
        is_flat = decrease <= self.limits.ftol * self.cost
        if self.is_damped:
            foretold = 0.5 * float(step @ (self.damping * self.scale * step - self.gradient))
            self.damping *= max(1 / 3, 1 - (2 * decrease / foretold - 1) ** 3)
            self.growth = 2.0
        self.x, self.r, self.cost = x, r, cost
        self.linearize()
        return 2 if is_flat else 3 if is_short else None

    def solve(self) -> Vector:
        damped = self.damping * np.where(self.scale > 0, self.scale, 1.0)
        if not sparse.issparse(self.normal):
            matrix = self.normal + np.diag(damped)
            return np.asarray(linalg.solve(matrix, -self.gradient, assume_a="sym"))
        matrix = sparse.csc_array(self.normal + sparse.diags_array(damped))
        if self.blocks is None:
            return np.asarray(splu(matrix).solve(-self.gradient))
        return by_elimination(matrix, -self.gradient, self.blocks)

    def result(self, status: int) -> Any:
        return optimize.OptimizeResult(
            x=self.x,
            cost=self.cost,
            fun=self.r,
            jac=self.J,
            grad=self.gradient,
            optimality=float(np.max(np.abs(self.gradient), initial=0.0)),
            active_mask=np.zeros(self.x.size, int),
            nfev=self.n_values,
            njev=self.n_jacobians,
            status=status,
            message=MESSAGES[status],
            success=0 < status < INTERRUPTED,
        )


def by_elimination(matrix: Any, right: Vector, blocks: Vector) -> Vector:
    """Solution of a symmetric system whose unknowns ``blocks`` (a row each) touch only the others.

    With ``[[U, W], [W^T, V]]`` and ``V`` block diagonal: ``(U - W V^-1 W^T) a = right_a - W V^-1
    right_b`` and ``V b = right_b - W^T a``.
    """
    count, width = blocks.shape
    inner = blocks.ravel()
    is_inner = np.zeros(right.size, bool)
    is_inner[inner] = True
    outer = np.flatnonzero(~is_inner)
    columns = matrix[:, inner]
    square = columns[inner].tocoo()
    if np.any(square.row // width != square.col // width):
        raise ArgumentError(
            "least_squares: the unknowns to eliminate are not independent blocks",
            where=str(here()),
            details=["two rows of that array meet in one residual"],
            fix="eliminate another group, or pass eliminate=None",
        )
    dense = np.zeros((count, width, width))
    dense[square.row // width, square.row % width, square.col % width] = square.data
    inverse = np.linalg.inv(dense)
    order = np.arange(count + 1)
    inverted = sparse.bsr_array((inverse, order[:-1], order)).tocsr()
    mixed = sparse.csr_array(columns[outer])
    carried = mixed @ inverted
    complement = matrix[outer][:, outer].toarray() - (carried @ mixed.T).toarray()
    found = np.empty_like(right)
    found[outer] = linalg.solve(complement, right[outer] - carried @ right[inner], assume_a="sym")
    found[inner] = inverted @ (right[inner] - mixed.T @ found[outer])
    return found

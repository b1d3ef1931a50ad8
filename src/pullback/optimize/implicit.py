"""Functions that are given by equations: their derivatives come from the equations, not the solver.

If ``F(x, theta) = 0`` defines ``x(theta)``, then ``J_x x' + J_theta theta' = 0``: one linear solve
gives a directional derivative, and one with the transposed matrix a gradient, whatever the solver
did to find ``x`` and however many steps it took.

Sources: the implicit function theorem; Griewank & Walther (2008), section 15; M. Blondel et al.
(2022), "Efficient and Modular Implicit Differentiation", arXiv:2105.15183.

Cost: a solve, and for each derivative a linear solve: of ``n^3`` operations if dense, of one JVP of
``F`` a step if iterative. Known limits: where ``J_x`` is singular there is no derivative, and NumPy
raises ``LinAlgError``; an ``argmin`` with a constraint that is just about to become active has
one-sided derivatives only, and gets that of the active set that the solver found.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy import optimize
from scipy.sparse import linalg as sparse_linalg

from pullback import tree
from pullback.control.implicit import Problem, implicit
from pullback.core.array import Array
from pullback.core.graph import Graph
from pullback.core.source import here
from pullback.core.types import is_differentiable, type_of
from pullback.errors import ArgumentError, ConvergenceError, ShapeError
from pullback.optimize.minimize import minimize
from pullback.optimize.root import root
from pullback.transforms.derivatives import as_leaves, grad
from pullback.transforms.evaluate import evaluate
from pullback.transforms.mode import Jacobian
from pullback.transforms.passes.dce import dce
from pullback.transforms.stage import stage

__all__ = ["argmin", "fixed_point", "implicit_root", "linear_solve"]

Function = Callable[..., Any]
LINEAR_SOLVERS = ("dense", "cg", "minres", "gmres")
FEW = 500  # unknowns up to which a dense Jacobian serves the solver


class Equations:
    """Functions of ``(x, *args)`` on vectors, with what they read from outside as arguments.

    ``fun`` returns a list of vectors; ``part(k)`` is the function that gives the ``k``-th.
    """

    def __init__(self, fun: Function, x0: Any, args: tuple[Any, ...], name: str) -> None:
        x_leaves, x_structure = as_leaves(plain_start(x0, name), "x0")
        self.x0, self.unravel = tree.ravel(tree.unflatten(x_structure, x_leaves))
        leaves, structure = tree.flatten(args)
        leaves = [leaf if hasattr(leaf, "dtype") else np.asarray(leaf) for leaf in leaves]

        def flat(x: Any, *theta: Any) -> list[Any]:
            return list(map(tree.joined, fun(self.unravel(x), *tree.unflatten(structure, theta))))

        self.staged = stage(flat, [type_of(self.x0), *map(type_of, leaves)], name)
        self.n_captured = len(self.staged.captured)
        self.theta = [*self.staged.captured, *leaves]
        self.sizes = [v.type.size for v in self.staged.graph.outputs]

    def part(self, k: int) -> Function:
        graph, n = self.staged.graph, self.n_captured
        only = dce(Graph(graph.inputs, graph.equations, (graph.outputs[k],)))
        return lambda x, *theta: evaluate(only, [*theta[:n], x, *theta[n:]])[0]

    def require(self, n_unknowns: int, name: str) -> None:
        if self.sizes[0] != n_unknowns:
            raise ShapeError(
                f"{name}: the function returns {self.sizes[0]} values for {n_unknowns} unknowns",
                where=str(here()),
                fix="return one value for each unknown",
            )


def plain_start(x0: Any, name: str) -> Any:
    """``x0`` without derivatives: a solution does not depend on where the search began."""

    def value(leaf: Any) -> Any:
        if type(leaf) is Array:
            return leaf.traced_by.concrete(leaf, f"{name}: the starting point")
        return leaf

    return tree.map(value, x0)


def named(fun: Function, default: str) -> str:
    return f"{default} of {getattr(fun, '__name__', 'a function')}"


def linear_by(name: str) -> Function | None:
    """The function that solves linear systems by the method ``name``; ``None`` for dense ones."""
    if name not in LINEAR_SOLVERS:
        raise ArgumentError(
            f"there is no linear solver {name!r}",
            where=str(here()),
            fix="choose one of " + ", ".join(LINEAR_SOLVERS),
        )
    return None if name == "dense" else lambda matvec, b: linear_solve(matvec, b, name)


def implicit_root(
    fun: Function,
    x0: Any,
    *args: Any,
    solver: Function | None = None,
    linear_solver: str = "dense",
) -> Any:
    """The ``x`` with ``fun(x, *args) = 0``, as a differentiable function of ``args``.

    Args:
        fun: NumPy code that can be staged; returns as many numbers as ``x`` holds. What it reads
            from outside may be traced, too.
        x0: where the search starts: a container of float arrays; has no derivative.
        args: containers of arrays.
        solver: ``solver(residual, x0) -> x`` on plain vectors, such as one of SciPy's; the default
            is :func:`pullback.optimize.root` (``krylov`` above 500 unknowns).
        linear_solver: ``"dense"`` forms the Jacobian of ``fun`` for the derivatives; ``"cg"``
            (symmetric positive definite), ``"minres"`` (symmetric) and ``"gmres"`` need only
            products with it.

    Returns:
        A container like ``x0``: in both modes, nested, under ``vmap`` (example by example) and
        compiled (the solver is called back).

    Raises:
        ConvergenceError: if the solver fails.
        ShapeError: if ``fun`` returns another number of values.

    >>> import numpy as np
    >>> import pullback as pb
    >>> def cube_root(a):
    ...     return pb.implicit_root(lambda x: x**3 - a, np.array(1.0))
    >>> float(cube_root(8.0).round(6)), float(pb.grad(cube_root)(8.0).round(6))
    (2.0, 0.083333)
    """
    name = named(fun, "implicit_root")
    equations = Equations(lambda x, *args: [fun(x, *args)], x0, args, name)
    equations.require(equations.x0.size, name)
    residual = equations.part(0)
    search = solver or default_root(name)

    def solve(*theta: Any) -> Any:
        return search(lambda x: residual(x, *theta), equations.x0)

    problem = Problem(name, residual, solve, type_of(equations.x0), linear_by(linear_solver))
    return equations.unravel(implicit(*equations.theta, problem=problem))


def default_root(name: str) -> Function:
    def solve(residual: Function, start: Any) -> Any:
        if start.size <= FEW:
            found = root(residual, start, tol=1e-13)
        else:
            found = root(residual, start, method="krylov", tol=1e-10)
        # Near the end of the digits a search stops without progress, and has arrived.
        size = np.abs(residual(start)).max(initial=0)
        if not found.success and not np.abs(found.fun).max(initial=0) <= 1e-10 * max(size, 1e-300):
            raise not_converged(name, found.message)
        return found.x

    return solve


def not_converged(name: str, message: str) -> ConvergenceError:
    return ConvergenceError(
        f"{name}: the solver found no solution",
        where=str(here()),
        details=[" ".join(message.split())],
        fix="start nearer to a solution, or pass solver=, a method that finds it",
    )


def fixed_point(
    fun: Function,
    x0: Any,
    *args: Any,
    solver: Function | None = None,
    linear_solver: str = "dense",
) -> Any:
    """The ``x`` with ``x = fun(x, *args)``, as a differentiable function of ``args``.

    Arguments and errors are those of :func:`implicit_root`; ``solver(residual, x0)`` gets
    ``fun(x) - x``.

    >>> import numpy as np
    >>> import pullback as pb
    >>> def kepler(e, mean):  # the eccentric anomaly
    ...     return pb.fixed_point(lambda x: mean + e * np.sin(x), np.array(1.0))
    >>> float(pb.grad(kepler)(0.1, 1.0).round(6))
    0.929061
    """

    def difference(x: Any, *args: Any) -> Any:
        return tree.map(lambda after, before: after - before, fun(x, *args), x)

    difference.__name__ = getattr(fun, "__name__", "a function")
    return implicit_root(difference, x0, *args, solver=solver, linear_solver=linear_solver)


def linear_solve(matvec: Function, b: Any, method: str = "gmres", tol: float = 1e-12) -> Any:
    """The ``x`` with ``matvec(x) = b`` by an iterative method, differentiable in all it reads.

    Args:
        matvec: a linear function of a vector ``(n,)``, NumPy code; what it reads from outside may
            be traced.
        b: ``(n,)``.
        method: ``"cg"`` for symmetric positive definite functions, ``"minres"`` for symmetric ones,
            ``"gmres"`` for all.
        tol: norm of the rest relative to that of ``b``.

    Raises:
        ConvergenceError: if the method does not reach ``tol``.

    >>> import numpy as np
    >>> import pullback as pb
    >>> def solved(c):
    ...     return np.sum(pb.optimize.linear_solve(lambda x: c * x, np.ones(3), "cg"))
    >>> float(pb.grad(solved)(2.0).round(6))
    -0.75
    """
    if linear_by(method) is None:
        raise ArgumentError(
            "linear_solve: a function has no dense form",
            where=str(here()),
            fix='use np.linalg.solve for a matrix, or "cg", "minres" or "gmres"',
        )
    kind = type_of(b)
    if kind.ndim != 1 or not is_differentiable(kind.dtype):
        raise ShapeError(
            f"linear_solve: the right-hand side is {kind}",
            where=str(here()),
            fix="pass a vector of floats (np.reshape(b, -1))",
        )
    equations = Equations(
        lambda x, b: [matvec(x) - b], np.zeros(kind.shape, kind.dtype), (b,), method
    )
    equations.require(kind.size, "linear_solve")
    residual = equations.part(0)

    def solve(*theta: Any) -> Any:
        shift = residual(np.zeros(kind.shape, kind.dtype), *theta)
        operator = sparse_linalg.LinearOperator(
            (kind.size, kind.size),
            lambda v: residual(np.ravel(v), *theta) - shift,
            dtype=kind.dtype,
        )
        return iterate(method, operator, -shift, tol)

    problem = Problem("linear_solve", residual, solve, kind, linear_by(method))
    return implicit(*equations.theta, problem=problem)


def iterate(method: str, operator: Any, right: Any, tol: float) -> Any:
    """SciPy's iterative method, or an error where it does not arrive."""
    n = right.size
    settings: dict[str, Any] = {
        "rtol": max(tol, 10 * float(np.finfo(right.dtype).eps)),
        "maxiter": 10 * n + 100,
    }
    if method == "gmres":
        settings["restart"] = min(n, 50)
    x, info = getattr(sparse_linalg, method)(operator, right, **settings)
    if info != 0:
        raise not_converged("linear_solve", f"{method} stopped at step {info}")
    return x


def argmin(
    fun: Function,
    x0: Any,
    *args: Any,
    equality: Function | None = None,
    inequality: Function | None = None,
    solver: Function | None = None,
    linear_solver: str = "dense",
) -> Any:
    """The ``x`` that minimises ``fun(x, *args)``, as a differentiable function of ``args``.

    The derivative is that of the first-order conditions: ``grad fun = 0``, or with constraints the
    KKT system of those that are active at the solution.

    Args:
        fun: NumPy code that can be staged; returns one number.
        x0: where the search starts: a container of float arrays; has no derivative.
        args: containers of arrays, passed to the constraints, too.
        equality: ``equality(x, *args) = 0``: an array or container.
        inequality: ``inequality(x, *args) >= 0``, as in SciPy.
        solver: ``solver(fun, x0) -> x`` on plain vectors, where ``fun`` returns a number; the
            default is :func:`pullback.optimize.minimize` (BFGS, or SLSQP with constraints),
            followed by Newton steps on the conditions.
        linear_solver: as in :func:`implicit_root`; ``"cg"`` suits a minimum without constraints.

    Raises:
        ConvergenceError: if no minimum is found.

    >>> import numpy as np
    >>> import pullback as pb
    >>> x, y = np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 2.0])
    >>> def ridge(strength):
    ...     return pb.argmin(lambda w: np.sum((x * w - y) ** 2) + strength * w**2, np.array(0.0))
    >>> float(ridge(1.0).round(6)), float(pb.grad(ridge)(1.0).round(6))
    (0.733333, -0.048889)
    """
    name = named(fun, "argmin")
    x_leaves, x_structure = as_leaves(plain_start(x0, name), "x0")
    x0 = tree.unflatten(x_structure, x_leaves)
    kkt = Conditions(fun, equality, inequality, x0, args, name)

    def solve(*theta: Any) -> Any:
        return kkt.solve(theta, solver)

    problem = Problem(name, kkt.residual, solve, type_of(kkt.start), linear_by(linear_solver))
    return kkt.unravel(implicit(*kkt.equations.theta, problem=problem)[: kkt.n])


class Conditions:
    """The first-order conditions of a minimum: ``F(x, lambda, mu) = 0``.

    ``grad f - lambda grad h - mu grad p = 0``, ``h = 0`` and ``mu p = 0`` for the problem
    ``min f`` under ``h = 0``, ``p >= 0`` (J. Nocedal, S. Wright (2006), *Numerical Optimization*,
    theorem 12.1).
    """

    def __init__(
        self,
        fun: Function,
        equality: Function | None,
        inequality: Function | None,
        x0: Any,
        args: tuple[Any, ...],
        name: str,
    ) -> None:
        self.name = name
        vector, self.unravel = tree.ravel(x0)
        self.n = vector.size

        def values(x: Any, *args: Any) -> list[Any]:
            x = self.unravel(x)
            found = [fun(x, *args)]
            found += [() if c is None else c(x, *args) for c in (equality, inequality)]
            return [tree.joined(part).astype(vector.dtype) for part in found]

        counts = Equations(values, vector, args, name).sizes
        if counts[0] != 1:
            raise ShapeError(
                f"{name}: the function returns {counts[0]} values",
                where=str(here()),
                fix="return one number (np.sum, np.mean)",
            )
        self.n_equal, self.n_unequal = counts[1:]
        self.start = np.zeros(self.n + self.n_equal + self.n_unequal, vector.dtype)
        self.start[: self.n] = vector

        def conditions(z: Any, *args: Any) -> list[Any]:
            x, equal, unequal = self.split(z)

            def lagrangian(x: Any) -> Any:
                value, zero, positive = values(x, *args)
                return value[0] - np.sum(equal * zero) - np.sum(unequal * positive)

            value, zero, positive = values(x, *args)
            slack = unequal * positive
            return [tree.joined((grad(lagrangian)(x), zero, slack)), value, zero, positive]

        self.equations = Equations(conditions, self.start, args, name)
        parts = map(self.equations.part, range(4))
        self.residual, self.objective, self.equality, self.inequality = parts

    def split(self, z: Any) -> tuple[Any, Any, Any]:
        middle = self.n + self.n_equal
        return z[: self.n], z[self.n : middle], z[middle:]

    def solve(self, theta: Sequence[Any], solver: Function | None) -> Any:
        """Minimise, find the multipliers, and polish all with Newton's steps."""

        def extended(x: Any) -> Any:
            return tree.joined((x, self.start[self.n :]))

        def objective(x: Any) -> Any:
            return self.objective(extended(x), *theta)[0]

        def bound(function: Function) -> Function:
            return lambda x: function(extended(x), *theta)

        start = self.start[: self.n]
        if solver is not None:
            x, message = np.asarray(solver(objective, start)), "solver returned"
        else:
            kinds = (("eq", self.n_equal, self.equality), ("ineq", self.n_unequal, self.inequality))
            constraints = [{"type": kind, "fun": bound(f)} for kind, size, f in kinds if size]
            options = {"ftol": 1e-15, "maxiter": 500} if constraints else {"gtol": 1e-9}
            with np.errstate(all="ignore"):  # a search without end overflows, and is refused below
                found = minimize(objective, start, constraints=constraints, options=options)
            x, message = found.x, found.message
        z = self.polished(self.with_multipliers(x, theta, bound), theta)
        rest = np.abs(self.residual(z, *theta)).max(initial=0)
        if not rest <= 1e-6 * max(1.0, float(np.abs(self.residual(self.start, *theta)).max())):
            raise not_converged(self.name, f"{message}; the conditions fail by {rest:.2g}")
        return z

    def with_multipliers(self, x: Any, theta: Sequence[Any], bound: Function) -> Any:
        """``x`` with the multipliers that fit it best, those of inequalities not negative."""
        z = self.start.copy()
        z[: self.n] = x
        if self.n_equal + self.n_unequal:
            slope = self.residual(z, *theta)[: self.n]  # of f alone: the multipliers are zero
            rows = [Jacobian(bound(f))(x) for f in (self.equality, self.inequality)]
            values = self.inequality(z, *theta)
            active = values <= 1e-6 * max(1.0, float(np.abs(values).max(initial=0)))
            rows[1] = rows[1] * active[:, None]
            low = np.concatenate([np.full(self.n_equal, -np.inf), np.zeros(self.n_unequal)])
            fit = optimize.lsq_linear(np.concatenate(rows).T, slope, (low, np.inf))
            z[self.n :] = fit.x * np.concatenate([np.ones(self.n_equal), active])
        return z

    def polished(self, z: Any, theta: Sequence[Any]) -> Any:
        """Newton's steps on the conditions, as long as they help; none for many unknowns."""
        if z.size > FEW:
            return z
        rest = self.residual(z, *theta)
        for _ in range(10):
            try:
                step = np.linalg.solve(Jacobian(lambda z: self.residual(z, *theta))(z), -rest)
            except np.linalg.LinAlgError:
                return z
            after = self.residual(z + step, *theta)
            if not np.abs(after).max(initial=0) < np.abs(rest).max(initial=0):
                return z
            z, rest = z + step, after
        return z

"""``scipy.optimize.minimize`` with the derivatives taken from the function."""

from __future__ import annotations

import inspect
import itertools
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import optimize

from pullback.core.source import here
from pullback.errors import ArgumentError
from pullback.optimize.objective import Objective, VectorFunction
from pullback.optimize.variables import Variables

__all__ = ["minimize"]

# What each method of SciPy can use of the derivatives.
VALUES = ("nelder-mead", "powell", "cobyla", "cobyqa")
PRODUCTS = ("newton-cg", "trust-ncg", "trust-krylov", "trust-constr")
MATRICES = ("dogleg", "trust-exact")
GRADIENTS = ("cg", "bfgs", "l-bfgs-b", "tnc", "slsqp")
INTERRUPTED = 130  # the status of a run that Ctrl-C ended, as a shell numbers it


def minimize(
    fun: Callable[..., Any],
    x0: Any,
    args: tuple[Any, ...] = (),
    method: str | Callable[..., Any] | None = None,
    *,
    bounds: Any = None,
    constraints: Any = (),
    tol: float | None = None,
    callback: Callable[..., Any] | None = None,
    options: dict[str, Any] | None = None,
    compile: bool = False,
    progress: bool = False,
) -> Any:
    """Minimise the scalar function ``fun(x, *args)``: SciPy's ``minimize`` without ``jac``.

    The gradient, the Hessian products of ``Newton-CG``, ``trust-ncg``, ``trust-krylov`` and
    ``trust-constr``, the Hessian of ``trust-exact`` and ``dogleg``, and the Jacobians of
    constraints are derivatives of the functions themselves. Value and gradient are computed
    together, once per point.

    Args:
        fun: NumPy code; returns one number.
        x0: the point to start from: a vector, or any container of float arrays, which ``fun`` gets.
        args: further arguments, passed on without derivatives.
        method: one of SciPy's; ``None`` chooses as SciPy does (BFGS, L-BFGS-B or SLSQP).
        bounds: for a vector whatever SciPy takes. For a container a pair ``(lower, upper)``, each
            a number, ``None``, or a container like ``x0`` whose leaves may be numbers or ``None``.
        constraints: SciPy's dictionaries, ``LinearConstraint`` and ``NonlinearConstraint``; their
            functions get what ``fun`` gets.
        tol, callback, options: as in SciPy; the callback gets containers.
        compile: whether the derivatives run as native code. Worth it for many or long evaluations.
        progress: whether each step is reported on standard error.

    Returns:
        SciPy's ``OptimizeResult``; ``x`` and ``jac`` are containers like ``x0``. After Ctrl-C it
        holds the best point so far, with ``success=False`` and ``status=130``.

    Raises:
        ArgumentError: for an unknown method, and for bounds that do not fit ``x0``.
        ShapeError: if ``fun`` does not return one number.

    Reference:
        SciPy's documentation of ``scipy.optimize.minimize``; J. Nocedal, S. Wright (2006),
        *Numerical Optimization*.

    >>> import numpy as np
    >>> import pullback as pb
    >>> def distance(p):
    ...     return np.sum((p["a"] - 3.0) ** 2) + (p["b"] + 1.0) ** 2
    >>> result = pb.optimize.minimize(distance, {"a": np.zeros(2), "b": 0.0})
    >>> result.x["a"].round(6), round(float(result.x["b"]), 6)
    (array([3., 3.]), -1.0)
    """
    variables = Variables(x0)
    objective = Objective(fun, variables, args, compile)
    pair = None if variables.is_vector else variables.bounds(bounds)
    try:
        result = optimize.minimize(
            objective.value if lowered(method) in VALUES else objective.value_and_gradient,
            variables.start,
            method=method,
            bounds=bounds if pair is None else optimize.Bounds(*pair),
            constraints=constraints_of(constraints, variables, lowered(method)),
            tol=tol,
            callback=watcher(callback, progress, variables, objective),
            options=options,
            **derivatives(objective, method),
        )
    except KeyboardInterrupt:
        value, gradient = objective.value_and_gradient(objective.best)
        result = optimize.OptimizeResult(
            x=objective.best,
            fun=value,
            jac=gradient,
            success=False,
            status=INTERRUPTED,
            message="stopped by Ctrl-C: x is the best point so far",
        )
    return variables.result(result, "jac")


def lowered(method: Any) -> Any:
    return method.lower() if isinstance(method, str) else method


def derivatives(objective: Objective, method: Any) -> dict[str, Any]:
    """Arguments ``jac``, ``hess`` and ``hessp`` of SciPy's ``minimize`` for a method."""
    method = lowered(method)
    if method in VALUES:
        return {}
    if method is None or method in GRADIENTS:
        return {"jac": True}
    if method in MATRICES:
        return {"jac": True, "hess": objective.hessian}
    if method in PRODUCTS or callable(method):
        return {"jac": True, "hessp": objective.hessian_product}
    raise ArgumentError(
        f"minimize: there is no method {method!r}",
        where=str(here()),
        fix="choose one of SciPy's: " + ", ".join((*GRADIENTS, *PRODUCTS, *MATRICES, *VALUES)),
    )


def constraints_of(constraints: Any, variables: Variables, method: Any) -> Any:
    """SciPy's constraints, their functions on vectors and with Jacobians."""
    if isinstance(constraints, (list, tuple)):
        return [constraint_of(constraint, variables, method) for constraint in constraints]
    return constraint_of(constraints, variables, method)


def constraint_of(constraint: Any, variables: Variables, method: Any) -> Any:
    if isinstance(constraint, dict):
        function = VectorFunction(constraint["fun"], variables, tuple(constraint.get("args", ())))
        return {"type": constraint["type"], "fun": function.value, "jac": function.jacobian}
    if isinstance(constraint, optimize.NonlinearConstraint):
        function = VectorFunction(constraint.fun, variables)
        # The other methods warn of second derivatives that they do not use.
        second = {"hess": function.curvature} if method == "trust-constr" else {}
        return optimize.NonlinearConstraint(
            function.value,
            constraint.lb,
            constraint.ub,
            jac=function.jacobian,
            keep_feasible=constraint.keep_feasible,
            **second,
        )
    return constraint


def watcher(
    callback: Callable[..., Any] | None,
    progress: bool,
    variables: Variables,
    objective: Objective,
) -> Callable[..., Any] | None:
    """The callback that SciPy calls with vectors, for one that takes containers."""
    if callback is None and not progress:
        return None
    steps = itertools.count(1)

    def report() -> None:
        if progress:
            print(f"step {next(steps)}: {objective.best_value:.10g}", file=sys.stderr)  # noqa: T201

    def watch(x: Any, *rest: Any) -> Any:
        report()
        return callback and callback(variables.unravel(np.array(x)), *rest)

    def watch_result(intermediate_result: Any) -> Any:
        report()
        assert callback is not None
        return callback(intermediate_result=variables.result(intermediate_result, "jac"))

    # SciPy looks at the name of the parameter, too.
    named = callback is not None and [*inspect.signature(callback).parameters]
    return watch_result if named == ["intermediate_result"] else watch

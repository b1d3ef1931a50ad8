"""``scipy.optimize.root`` with the Jacobian taken from the function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from scipy import optimize

from pullback.core.source import here
from pullback.errors import ShapeError
from pullback.optimize.objective import VectorFunction
from pullback.optimize.variables import Variables

__all__ = ["root"]

WITH_JACOBIAN = ("hybr", "lm")


def root(
    fun: Callable[..., Any],
    x0: Any,
    args: tuple[Any, ...] = (),
    method: str = "hybr",
    *,
    compile: bool = False,
    **options: Any,
) -> Any:
    """A point ``x`` where ``fun(x, *args)`` is zero: SciPy's ``root``, without ``jac``.

    Args:
        fun: NumPy code; returns as many numbers as ``x`` holds, in an array or a container.
        x0: the point to start from: a vector, or any container of float arrays.
        args: further arguments, passed on without derivatives.
        method: one of SciPy's; ``"hybr"`` and ``"lm"`` use the Jacobian.
        compile: whether function and Jacobian run as native code.
        options: the other arguments of SciPy's function (``tol``, ``callback``, ``options``).

    Returns:
        SciPy's ``OptimizeResult``; ``x`` is a container like ``x0``. To differentiate the solution
        with respect to what ``fun`` depends on, use :func:`pullback.implicit_root`.

    Raises:
        ShapeError: if ``fun`` returns another number of values.

    >>> import numpy as np
    >>> import pullback as pb
    >>> solution = pb.optimize.root(lambda x: np.cos(x) - x, 1.0)
    >>> solution.x.round(6)
    array([0.739085])
    """
    variables = Variables(x0)
    function = VectorFunction(fun, variables, args, compile)
    n_values = function.value(variables.start).size
    if n_values != variables.n and method != "lm":
        raise ShapeError(
            f"root: the function returns {n_values} values for {variables.n} unknowns",
            where=str(here()),
            fix="return one value for each unknown, or use method='lm' or least_squares",
        )
    jac = function.jacobian if method in WITH_JACOBIAN else None
    return variables.result(
        optimize.root(function.value, variables.start, method=method, jac=jac, **options)
    )

"""``scipy.optimize.least_squares`` and ``curve_fit`` with Jacobians taken from the functions."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import optimize

from pullback.core.source import here
from pullback.errors import ArgumentError
from pullback.optimize.objective import VectorFunction
from pullback.optimize.variables import Variables

__all__ = ["curve_fit", "least_squares"]


def least_squares(
    fun: Callable[..., Any],
    x0: Any,
    args: tuple[Any, ...] = (),
    *,
    bounds: Any = None,
    method: str = "trf",
    compile: bool = False,
    **options: Any,
) -> Any:
    """Minimise half the sum of squares of ``fun(x, *args)``: SciPy's ``least_squares``.

    Args:
        fun: NumPy code; returns the residuals: an array, or a container of arrays.
        x0: the point to start from: a vector, or any container of float arrays.
        args: further arguments, passed on without derivatives.
        bounds: ``(lower, upper)``, each a number, ``None``, or like ``x0``; or SciPy's ``Bounds``.
        method: ``"trf"``, ``"dogbox"`` or ``"lm"``, as in SciPy.
        compile: whether residuals and Jacobian run as native code.
        options: the other arguments of SciPy's function (``loss``, ``f_scale``, ``xtol``, ...).

    Returns:
        SciPy's ``OptimizeResult``: ``x`` and ``grad`` like ``x0``; ``fun`` a vector, ``jac`` a
        matrix with a row for each residual and a column for each element of ``x0``.

    Raises:
        ArgumentError: for bounds that do not fit ``x0``.

    >>> import numpy as np
    >>> import pullback as pb
    >>> t = np.linspace(0, 1, 5)
    >>> y = 2.0 * np.exp(-3.0 * t)
    >>> fit = pb.optimize.least_squares(lambda p: p[0] * np.exp(-p[1] * t) - y, [1.0, 1.0])
    >>> fit.x.round(6)
    array([2., 3.])
    """
    variables = Variables(x0)
    function = VectorFunction(fun, variables, args, compile)
    pair = variables.bounds(bounds)
    if pair is not None:
        options["bounds"] = pair
    result = optimize.least_squares(
        function.value, variables.start, function.jacobian, method=method, **options
    )
    return variables.result(result, "grad", "active_mask")


def curve_fit(
    f: Callable[..., Any],
    xdata: Any,
    ydata: Any,
    p0: Any = None,
    sigma: Any = None,
    absolute_sigma: bool = False,
    *,
    bounds: Any = None,
    method: str | None = None,
    compile: bool = False,
    **options: Any,
) -> Any:
    """Fit ``f(xdata, *p)`` to ``ydata``: SciPy's ``curve_fit``, with the Jacobian taken from ``f``.

    Args:
        f: NumPy code; ``f(xdata, a, b, ...)`` returns the model at all data.
        xdata: whatever ``f`` takes first.
        ydata: ``(m,)``.
        p0: the parameters to start from; ``None`` stands for ones. If it is a container other than
            a list, a tuple or an array of numbers, ``f(xdata, p)`` gets it whole.
        sigma: standard deviations of ``ydata``, ``(m,)``, or its covariance matrix ``(m, m)``.
        absolute_sigma: whether ``sigma`` is taken as it is, not up to a factor.
        bounds: ``(lower, upper)``, each a number, ``None``, or like ``p0``.
        method: ``"lm"``, ``"trf"`` or ``"dogbox"``; ``None`` chooses as SciPy does.
        compile: whether model and Jacobian run as native code.
        options: the other arguments of SciPy's function (``maxfev``, ``full_output``, ...).

    Returns:
        ``(popt, pcov)``: the parameters, like ``p0``, and their covariance matrix over all their
        elements in order; more with ``full_output=True``.

    Raises:
        ArgumentError: if the number of parameters cannot be told, or bounds do not fit.

    >>> import numpy as np
    >>> import pullback as pb
    >>> t = np.linspace(0, 2, 9)
    >>> popt, pcov = pb.optimize.curve_fit(lambda t, a, b: a * np.exp(-b * t), t, 3 * np.exp(-t))
    >>> popt.round(6)
    array([3., 1.])
    """
    if p0 is None:
        p0 = np.ones(n_parameters(f))
    variables = Variables(p0, "p0")

    def model(p: Any) -> Any:
        return f(xdata, *p) if variables.is_vector else f(xdata, p)

    function = VectorFunction(model, variables, (), compile)
    pair = variables.bounds(bounds)
    if pair is not None:
        options["bounds"] = pair
    popt, *rest = optimize.curve_fit(
        lambda _, *p: function.value(np.asarray(p)),
        np.arange(np.size(ydata)),  # the data stay in the model, whatever they are
        ydata,
        variables.start,
        sigma,
        absolute_sigma,
        method=method,
        jac=lambda _, *p: function.jacobian(np.asarray(p)),
        **options,
    )
    return variables.unravel(popt), *rest


def n_parameters(f: Callable[..., Any]) -> int:
    """How many parameters ``f(xdata, ...)`` has, by its signature."""
    kinds = [p.kind for p in inspect.signature(f).parameters.values()]
    named = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    if any(kind not in named for kind in kinds) or len(kinds) < 2:
        raise ArgumentError(
            "curve_fit cannot tell how many parameters the model has",
            where=str(here()),
            fix="pass p0, the parameters to start from",
        )
    return len(kinds) - 1

"""SciPy's ``least_squares`` and ``curve_fit``, with Jacobians taken from the functions."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import optimize

from pullback.core.source import here
from pullback.errors import ArgumentError
from pullback.optimize import gauss_newton
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
    sparse: bool | str = False,
    eliminate: str | None = None,
    progress: bool = False,
    **options: Any,
) -> Any:
    """Minimise half the sum of squares of ``fun(x, *args)``: SciPy's ``least_squares``.

    Args:
        fun: NumPy code; returns the residuals: an array, or a container of arrays.
        x0: the point to start from: a vector, or any container of float arrays.
        args: further arguments, passed on without derivatives.
        bounds: ``(lower, upper)``, each a number, ``None``, or like ``x0``; or SciPy's ``Bounds``.
        method: ``"trf"``, ``"dogbox"`` or ``"lm"``, as in SciPy; or, for many unknowns without
            bounds, ``"gauss-newton"`` or ``"levenberg-marquardt"``, which solve normal equations.
        compile: whether residuals and Jacobian run as native code.
        sparse: whether the Jacobian is a ``csr_array`` (see :func:`pullback.sparse_jacobian`);
            ``"auto"``: if its pattern saves most derivatives. Not for ``"lm"``.
        eliminate: for the two methods of ours, the key of an array in the dictionary ``x0`` whose
            rows meet in no residual, such as the points of a bundle adjustment: they are
            eliminated from each linear system (Schur complement), and the Jacobian is sparse.
        progress: whether each step is reported on standard error.
        options: the other arguments of SciPy's function (``loss``, ``f_scale``, ``xtol``, ...);
            for the methods of ours ``ftol``, ``xtol``, ``gtol`` and ``max_nfev``.

    Returns:
        SciPy's ``OptimizeResult``: ``x`` and ``grad`` like ``x0``; ``fun`` a vector, ``jac`` a
        matrix with a row for each residual and a column for each element of ``x0``. After Ctrl-C
        it holds the best point so far, with ``success=False`` and ``status=130``.

    Raises:
        ArgumentError: for bounds that do not fit ``x0``, and for what a method does not take.

    >>> import numpy as np
    >>> import pullback as pb
    >>> t = np.linspace(0, 1, 5)
    >>> y = 2.0 * np.exp(-3.0 * t)
    >>> fit = pb.optimize.least_squares(lambda p: p[0] * np.exp(-p[1] * t) - y, [1.0, 1.0])
    >>> fit.x.round(6)
    array([2., 3.])
    """
    variables = Variables(x0)
    is_own = method in gauss_newton.METHODS
    check(method, is_own, bounds, sparse, eliminate)
    function = VectorFunction(fun, variables, args, compile, sparse or eliminate is not None)
    pair = variables.bounds(bounds)
    if pair is not None:
        options["bounds"] = pair
    best = Best(function.value, progress and not is_own)
    blocks = gauss_newton.blocks_of(variables, eliminate)
    try:
        if is_own:
            result = gauss_newton.run(
                best.value, function.jacobian, variables.start, method, blocks, progress, options
            )
        else:
            result = optimize.least_squares(
                best.value, variables.start, function.jacobian, method=method, **options
            )
    except KeyboardInterrupt:
        result = interrupted(function, variables.start if best.x is None else best.x)
    return variables.result(result, "grad", "active_mask")


def check(method: str, is_own: bool, bounds: Any, sparse: Any, eliminate: Any) -> None:
    """Refuse combinations that no method takes."""
    problems = {
        "bounds need 'trf' or 'dogbox'": is_own and bounds is not None,
        "eliminate needs 'gauss-newton' or 'levenberg-marquardt'": not is_own
        and eliminate is not None,
        "a sparse Jacobian needs another method": method == "lm" and bool(sparse),
    }
    for problem, is_present in problems.items():
        if is_present:
            raise ArgumentError(
                f"least_squares: method={method!r}, but {problem}",
                where=str(here()),
                fix="choose such a method, or leave the argument out",
            )


class Best:
    """Residuals, and the point of the least cost so far."""

    def __init__(self, residuals: Callable[[Any], Any], progress: bool) -> None:
        self.residuals = residuals
        self.progress = progress
        self.x: Any = None
        self.cost = np.inf

    def value(self, v: Any) -> Any:
        r = self.residuals(v)
        cost = 0.5 * float(r @ r)
        if cost < self.cost:
            self.x, self.cost = np.array(v), cost
            if self.progress:
                print(f"cost: {cost:.10g}", file=sys.stderr)  # noqa: T201
        return r


def interrupted(function: VectorFunction, x: Any) -> Any:
    r, jac = function.value(x), function.jacobian(x)
    gradient = jac.T @ r
    return optimize.OptimizeResult(
        x=x,
        cost=0.5 * float(r @ r),
        fun=r,
        jac=jac,
        grad=gradient,
        optimality=float(np.max(np.abs(gradient), initial=0.0)),
        active_mask=np.zeros(x.size, int),
        status=gauss_newton.INTERRUPTED,
        message=gauss_newton.MESSAGES[gauss_newton.INTERRUPTED],
        success=False,
    )


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

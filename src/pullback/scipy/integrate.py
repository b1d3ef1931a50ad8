"""``scipy.integrate`` for traced code: sums of samples, quadrature, and differential equations.

The derivative of an integral is the integral of the derivative, and the values at its bounds;
SciPy computes all of them with the given tolerances. For differential equations see
:mod:`pullback.scipy.odes`. Functions are NumPy code that can be staged, and may read traced values
from outside. All other names are SciPy's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.integrate

from pullback import tree
from pullback.core.array import Array
from pullback.core.primitive import ForwardRule, Primitive, Sample
from pullback.core.source import here
from pullback.core.types import ArrayType, is_differentiable, type_of
from pullback.errors import ArgumentError
from pullback.ops.identity import stop_gradient
from pullback.scipy.names import names_of
from pullback.scipy.odes import Flow, flow
from pullback.scipy.opaque import floats, one_by_one, require
from pullback.transforms.derivatives import jvp, vjp
from pullback.transforms.evaluate import evaluate
from pullback.transforms.stage import stage

__all__ = ["cumulative_trapezoid", "odeint", "quad", "simpson", "solve_ivp", "trapezoid"]

Function = Callable[..., Any]


__getattr__, __dir__ = names_of(scipy.integrate)


# -- sums of samples ------------------------------------------------------------------------------
def trapezoid(y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1) -> Any:
    """The integral of samples ``y`` by lines.

    >>> import numpy as np
    >>> import pullback as pb
    >>> pb.grad(pb.scipy.integrate.trapezoid)(np.ones(3)).tolist()
    [0.5, 1.0, 0.5]
    """
    return np.trapezoid(floats(y), x if x is None else floats(x), dx, axis)


def cumulative_trapezoid(
    y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1, initial: float | None = None
) -> Any:
    """The integrals of samples ``y`` up to each of them; with ``initial=0`` as many as samples."""
    require("integrate.cumulative_trapezoid", initial=(initial or None, None))
    y = np.moveaxis(floats(y), axis, -1)
    steps = dx
    if x is not None:
        x = floats(x)
        steps = np.diff(x if x.ndim == 1 else np.moveaxis(x, axis, -1))
    found = np.cumsum(0.5 * (y[..., 1:] + y[..., :-1]) * steps, axis=-1)
    if initial is not None:
        found = np.pad(found, [(0, 0)] * (found.ndim - 1) + [(1, 0)])
    return np.moveaxis(found, -1, axis)


def simpson(y: Any, x: Any = None, *, dx: float = 1.0, axis: int = -1) -> Any:
    """The integral of samples ``y`` by parabolas; linear in ``y``, with SciPy's weights.

    Raises:
        UnsupportedError: if ``x`` is traced: :func:`trapezoid` is differentiable in it.

    >>> import numpy as np
    >>> import pullback as pb
    >>> pb.grad(pb.scipy.integrate.simpson)(np.ones(3)).round(4).tolist()
    [0.3333, 1.3333, 0.3333]
    """
    for name, value in (("x", x), ("dx", dx)):
        if type(value) is Array:
            fix = "use trapezoid, which is differentiable in x"
            require("integrate.simpson", fix, **{name: (f"traced {value.dtype}", None)})
    y = np.moveaxis(floats(y), axis, -1)
    if x is not None and np.ndim(x) > 1:
        require("integrate.simpson", "pass the vector of points", x=(np.shape(x), None))
    weights = scipy.integrate.simpson(np.eye(y.shape[-1]), x=x, dx=dx, axis=-1)
    return np.matmul(y, weights.astype(y.dtype))


# -- functions with what they read ----------------------------------------------------------------
def _closed(fun: Function, types: Sequence[ArrayType], args: tuple[Any, ...], name: str) -> Any:
    """``fun(*inputs, *args)`` as a function of vectors and one vector of all else it reads.

    Returns:
        ``(function(*inputs, theta), theta, size of the result)``.
    """
    leaves, structure = tree.flatten(args)
    leaves = [leaf if hasattr(leaf, "dtype") else np.asarray(leaf) for leaf in leaves]
    n = len(types)

    def flat(*values: Any) -> list[Any]:
        found = fun(*values[:n], *tree.unflatten(structure, list(values[n:])))
        if isinstance(found, (list, tuple)):
            found = np.stack([np.asarray(f, np.float64) if np.isscalar(f) else f for f in found])
        return [np.reshape(floats(found), (-1,))]

    staged = stage(flat, [*types, *map(type_of, leaves)], name)
    graph, n_captured = staged.graph, len(staged.captured)
    given = [*staged.captured, *leaves]
    moving = [i for i, v in enumerate(given) if is_differentiable(type_of(v).dtype)]
    shapes = [type_of(given[i]) for i in moving]
    parts = [np.reshape(given[i], (-1,)).astype(np.float64) for i in moving]
    theta = np.concatenate(parts) if parts else np.zeros(0)

    def function(*values: Any) -> Any:
        *inputs, vector = values
        full, start = list(given), 0
        for i, kind in zip(moving, shapes, strict=True):
            part = np.reshape(vector[start : start + kind.size], kind.shape)
            full[i] = part.astype(kind.dtype, copy=False)
            start += kind.size
        return evaluate(graph, [*full[:n_captured], *inputs, *full[n_captured:]])[0]

    return function, theta, graph.output_types[0].size


# -- quadrature -----------------------------------------------------------------------------------
@dataclass(frozen=True, eq=False)
class Integrand:
    """A function ``f(t, theta)`` to a vector, and SciPy's options; hashed by identity."""

    name: str
    fun: Function
    size: int
    options: tuple[tuple[str, Any], ...] = ()

    def __repr__(self) -> str:
        return self.name

    def integrate(self, a: Any, b: Any, theta: Any) -> Any:
        """The integral from a to b, and behind it SciPy's estimate of its error."""
        options = dict(self.options)
        if self.size == 1:
            found = scipy.integrate.quad(
                lambda t: self.fun(np.float64(t), theta)[0], a, b, **options
            )[:2]
            return np.array(found)
        options.pop("limit", None)
        value, error = scipy.integrate.quad_vec(
            lambda t: self.fun(np.float64(t), theta), a, b, **options
        )[:2]
        return np.append(value, error)


def _ends(problem: Integrand, a: Any, b: Any, theta: Any) -> tuple[Any, Any]:
    """The integrand at both bounds; 0 at infinite ones, which do not move."""
    found = []
    for end in (a, b):
        finite = np.isfinite(stop_gradient(end))
        found.append(np.where(finite, problem.fun(np.where(finite, end, 0.0), theta), 0.0))
    return found[0], found[1]


def _push(primals: Any, tangents: Any, y: Any, params: Any) -> Any:
    (a, b, theta), problem = primals, params["problem"]
    total: Any = np.zeros(problem.size)
    if tangents[2] is not None:

        def moved(t: Any, both: Any) -> Any:
            k = both.shape[0] // 2
            return jvp(lambda theta: problem.fun(t, theta), (both[:k],), (both[k:],))[1]

        inner = Integrand(f"tangent of {problem.name}", moved, problem.size, problem.options)
        both = np.concatenate([theta, tangents[2]])
        total = integral(a, b, both, problem=inner)[:-1]
    low, high = _ends(problem, a, b, theta)
    for slope, dot in ((-low, tangents[0]), (high, tangents[1])):
        if dot is not None:
            total = total + slope * dot
    return np.concatenate([total, np.zeros(1)])


def _pull(ct: Any, types: Any, needs: Any, saved: Any, problem: Integrand) -> Any:
    a, b, theta = saved
    weights = ct[:-1]
    low, high = _ends(problem, a, b, theta)
    theta_bar = None
    if needs[2]:
        k = theta.shape[0]

        def pulled(t: Any, both: Any) -> Any:
            return vjp(lambda theta: problem.fun(t, theta), both[:k])[1](both[k:])[0]

        inner = Integrand(f"adjoint of {problem.name}", pulled, k, problem.options)
        theta_bar = integral(a, b, np.concatenate([theta, weights]), problem=inner)[:-1]
    return [-np.sum(low * weights), np.sum(high * weights), theta_bar]


def _backward(saved: Any, ct: Any, needs: Any, types: Any, params: Any) -> Any:
    (ct,) = ct if isinstance(ct, (list, tuple)) else (ct,)
    found = _pull(ct, types, needs, saved, params["problem"])
    return [v if need else None for v, need in zip(found, needs, strict=True)]


def _samples(rng: np.random.Generator, dtype: np.dtype[Any]) -> list[Sample]:
    """Two Gaussians of given widths."""
    if dtype != np.float64:
        return []
    problem = Integrand("gaussians", lambda t, theta: np.exp(-theta * t * t), 2)
    args = (np.asarray(rng.uniform(-1, 0)), np.asarray(rng.uniform(1, 2)), rng.uniform(0.5, 1, 2))
    return [Sample(args, {"problem": problem})]


def _integral(a: Any, b: Any, theta: Any, *, problem: Integrand) -> Any:
    return problem.integrate(float(a), float(b), theta)


integral: Primitive = Primitive(
    name="integral",
    doc="y = the integral of problem.fun(t, x3) from t = x1 to x2, and an estimate of its error",
    numpy=_integral,
    type_rule=lambda a, b, theta, *, problem: ArrayType((problem.size + 1,), np.float64),
    jvp=_push,
    vjp=ForwardRule(
        lambda primals, needs, params: (integral(*primals, **params), list(primals)), _backward
    ),
    batch=one_by_one(lambda: integral),
    family="control",
    flops=lambda types, out_types, params: 0,
    samples=_samples,
    source="Leibniz's rule",
)


def quad(
    func: Function,
    a: Any,
    b: Any,
    args: Any = (),
    full_output: int = 0,
    epsabs: float = 1.49e-8,
    epsrel: float = 1.49e-8,
    limit: int = 50,
    points: Any = None,
    weight: Any = None,
    **options: Any,
) -> tuple[Any, Any]:
    """The integral of ``func(t, *args)`` from ``a`` to ``b``, and an estimate of its error.

    Args:
        func: NumPy code to a number; may read traced values from outside.
        a: lower bound, ``-inf`` or a number; ``b`` the upper one.
        args: further arguments of ``func``, with derivatives.

    Raises:
        UnsupportedError: for SciPy's other options.

    >>> import numpy as np
    >>> import pullback as pb
    >>> def area(rate):
    ...     return pb.scipy.integrate.quad(lambda t: np.exp(-rate * t), 0.0, np.inf)[0]
    >>> float(pb.grad(area)(2.0).round(6))
    -0.25
    """
    given = {name: (value, None) for name, value in options.items()}
    require("integrate.quad", full_output=(full_output, 0), weight=(weight, None), **given)
    require("integrate.quad", "split the integral at the points", points=(points, None))
    args = args if isinstance(args, tuple) else (args,)
    number = ArrayType((), np.float64)
    fun, theta, size = _closed(func, [number], args, "quad")
    if size != 1:
        raise ArgumentError(
            f"quad: the function returns {size} values", where=str(here()), fix="return one number"
        )
    settings = (("epsabs", epsabs), ("epsrel", epsrel), ("limit", limit))
    found = integral(floats(a), floats(b), theta, problem=Integrand("quad", fun, 1, settings))
    return found[0], stop_gradient(found[1])


# -- differential equations -----------------------------------------------------------------------
class Solution(dict[str, Any]):
    """What :func:`solve_ivp` returns: ``t``, ``y`` and ``success``, as attributes and as keys."""

    __getattr__ = dict.__getitem__


def solve_ivp(
    fun: Function,
    t_span: Sequence[Any],
    y0: Any,
    method: str = "RK45",
    t_eval: Any = None,
    dense_output: bool = False,
    events: Any = None,
    vectorized: bool = False,
    args: tuple[Any, ...] | None = None,
    derivative: str = "continuous",
    **options: Any,
) -> Any:
    """The solution of ``y' = fun(t, y, *args)`` from ``y(t_span[0]) = y0``.

    Differentiable in ``y0``, ``args``, the times, and all that ``fun`` reads from outside.

    Args:
        fun: NumPy code from a number and a vector ``(n,)`` to ``n`` numbers.
        method: any of SciPy's, by name.
        t_eval: the times asked for; by default both ends of ``t_span`` only (SciPy's own steps
            depend on values, and have no derivative).
        derivative: ``"continuous"`` solves the equations of tangents and cotangents;
            ``"discrete"`` differentiates the steps that were taken (RK45 and RK23; values must be
            known, so not in a compiled function).
        options: of SciPy's method: ``rtol``, ``atol``, ``max_step``, ``first_step``.

    Returns:
        An object with ``t`` ``(times,)`` and ``y`` ``(n, times)``.

    Raises:
        UnsupportedError: for events, dense output, and options of SciPy that are not here.
        ConvergenceError: if SciPy cannot go on to the end.

    >>> import numpy as np
    >>> import pullback as pb
    >>> def end(rate):
    ...     decay = pb.scipy.integrate.solve_ivp(
    ...         lambda t, y: -rate * y, (0.0, 1.0), np.ones(1), rtol=1e-9, atol=1e-12)
    ...     return decay.y[0, -1]
    >>> float(pb.grad(end)(2.0).round(6))
    -0.135335
    """
    require(
        "integrate.solve_ivp",
        dense_output=(dense_output, False),
        events=(events, None),
        vectorized=(vectorized, False),
    )
    wrong = {k: (v, None) for k, v in options.items() if k not in OPTIONS}
    require("integrate.solve_ivp", "leave it out", **wrong)
    y0 = floats(y0)
    ends = [floats(t) for t in t_span]
    if y0.ndim != 1 or y0.dtype.kind == "c" or not isinstance(method, str):
        raise ArgumentError(
            f"solve_ivp: y0 has shape {y0.shape} and dtype {y0.dtype}, the method is {method!r}",
            where=str(here()),
            fix="pass a real vector, and the method by its name",
        )
    asked = np.stack(ends) if t_eval is None else floats(t_eval)
    settings = tuple(sorted(options.items()))
    if derivative == "discrete":
        ys = _discrete(fun, ends, y0, asked, args or (), method, dict(settings))
    elif derivative == "continuous":
        ts = np.concatenate([ends[0][None], asked])
        types = [ArrayType((), np.float64), type_of(y0)]
        rhs, theta, size = _closed(fun, types, args or (), "solve_ivp")
        _require_size(size, y0)
        ys = flow(y0, ts, theta, problem=Flow("solve_ivp", rhs, method, settings))[1:]
    else:
        raise ArgumentError(
            f"solve_ivp: derivative={derivative!r}", where=str(here()), fix="continuous or discrete"
        )
    return Solution(t=asked, y=ys.T, success=True, status=0, message="", t_events=None)


OPTIONS = ("rtol", "atol", "max_step", "first_step")


def _require_size(size: int, y0: Any) -> None:
    if size != y0.shape[0]:
        raise ArgumentError(
            f"the right-hand side returns {size} numbers for {y0.shape[0]} unknowns",
            where=str(here()),
            fix="return one number for each unknown",
        )


def odeint(
    func: Function,
    y0: Any,
    t: Any,
    args: tuple[Any, ...] = (),
    rtol: float | None = None,
    atol: float | None = None,
    tfirst: bool = False,
    **options: Any,
) -> Any:
    """The solution ``(times, n)`` of ``y' = func(y, t, *args)`` at the times ``t`` from ``y0``.

    Differentiable in ``y0``, ``t``, ``args`` and all that ``func`` reads; ``func(t, y, *args)`` if
    ``tfirst``.

    >>> import numpy as np
    >>> import pullback as pb
    >>> def end(rate):
    ...     return pb.scipy.integrate.odeint(lambda y, t: -rate * y, 1.0, [0.0, 1.0])[-1, 0]
    >>> float(pb.grad(end)(2.0).round(5))
    -0.13534
    """
    require("integrate.odeint", **{name: (value, None) for name, value in options.items()})
    y0, ts = np.atleast_1d(floats(y0)), floats(t)

    def ordered(t: Any, y: Any, *rest: Any) -> Any:
        return func(t, y, *rest) if tfirst else func(y, t, *rest)

    types = [ArrayType((), np.float64), type_of(y0)]
    rhs, theta, size = _closed(ordered, types, tuple(args), "odeint")
    _require_size(size, y0)
    settings = tuple((k, v) for k, v in (("rtol", rtol), ("atol", atol)) if v is not None)
    return flow(y0, ts, theta, problem=Flow("odeint", rhs, "odeint", settings))


# -- the discrete adjoint -------------------------------------------------------------------------
def _known(value: Any) -> Any:
    """The value of a traced array as it is now."""
    if type(value) is not Array:
        return value
    return _known(value.traced_by.concrete(value, "solve_ivp with derivative='discrete'"))


def _discrete(
    fun: Function, ends: Any, y: Any, asked: Any, args: Any, method: str, options: Any
) -> Any:
    """The steps of a Runge-Kutta method again, in traced code, and its interpolation between."""
    kinds = {"RK45": scipy.integrate.RK45, "RK23": scipy.integrate.RK23}
    if method not in kinds:
        fix = "choose RK45 or RK23, or the continuous adjoint"
        require("integrate.solve_ivp", fix, method=(method, "RK45"))
    kind: Any = kinds[method]

    def rhs(t: Any, y: Any) -> Any:
        found = fun(t, y, *args)
        return np.stack(found) if isinstance(found, (list, tuple)) else found

    span = [float(_known(t)) for t in ends]
    plain = scipy.integrate.solve_ivp(
        lambda t, y: np.asarray(tree.map(_known, rhs(t, y))), span, _known(y), method, **options
    )
    wanted, found = np.atleast_1d(_known(asked)), {}
    sign = 1 if span[1] >= span[0] else -1
    for i in np.flatnonzero(wanted == span[0]):
        found[int(i)] = y
    slope = rhs(span[0], y)
    for t, after in zip(plain.t[:-1], plain.t[1:], strict=True):
        h, slopes = after - t, [slope]
        for row, c in zip(kind.A[1:], kind.C[1:], strict=True):
            inner = sum(a * k for a, k in zip(row, slopes, strict=False))
            slopes.append(rhs(t + c * h, y + h * inner))
        new = y + h * sum(b * k for b, k in zip(kind.B, slopes, strict=True))
        slope = rhs(after, new)
        slopes.append(slope)
        for i in np.flatnonzero((sign * wanted > sign * t) & (sign * wanted <= sign * after)):
            powers = ((asked[i] - t) / h) ** np.arange(1, kind.P.shape[1] + 1)
            shares = np.matmul(kind.P, powers)
            rise = sum(shares[k] * slopes[k] for k in range(len(slopes)))
            found[int(i)] = new if wanted[i] == after and type(asked) is not Array else y + h * rise
        y = new
    return np.stack([found[i] for i in range(len(wanted))])

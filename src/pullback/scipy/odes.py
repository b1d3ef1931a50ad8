"""The operation behind ``solve_ivp`` and ``odeint``: the solution of an equation, with its rules.

Of ``y' = f(t, y, theta)`` from ``y(t0) = y0``, tangents go forwards, ``v' = f_y v + f_theta u``,
and cotangents backwards, ``w' = -f_y^T w``, ``q' = -f_theta^T w`` (R. Chen et al. (2018), *Neural
Ordinary Differential Equations*, algorithm 1). Both are flows themselves, so that they have
derivatives again. Backwards, y is solved again from each asked time to the one before.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.integrate

from pullback.core.primitive import ForwardRule, Primitive, Sample
from pullback.core.source import here
from pullback.core.types import ArrayType
from pullback.errors import ConvergenceError
from pullback.scipy.opaque import one_by_one
from pullback.transforms.derivatives import jvp, vjp

__all__ = ["Flow", "flow"]

Function = Callable[..., Any]


@dataclass(frozen=True, eq=False)
class Flow:
    """A differential equation and how SciPy solves it; hashed by identity.

    Attributes:
        name: for messages.
        rhs: ``f(t, y, theta)`` on vectors: NumPy code.
        method: one of ``solve_ivp``'s, or ``odeint``.
        options: of SciPy's function, such as ``rtol``.
    """

    name: str
    rhs: Function
    method: str
    options: tuple[tuple[str, Any], ...] = ()

    def __repr__(self) -> str:
        return self.name

    def solve(self, y0: Any, ts: Any, theta: Any) -> Any:
        """The solution at the times ``ts``, which begin at that of ``y0``: ``(times, n)``."""
        y0, ts = np.asarray(y0), np.asarray(ts)
        if len(ts) == 1 or ts[0] == ts[-1]:
            return np.broadcast_to(y0, (len(ts), *y0.shape)).copy()

        def rhs(t: float, y: Any) -> Any:
            return np.asarray(self.rhs(np.float64(t), y, theta))

        if self.method == "odeint":
            ys, info = scipy.integrate.odeint(
                rhs, y0, ts, tfirst=True, full_output=True, **dict(self.options)
            )
            message = info["message"]
            good = message == "Integration successful."
        else:
            later = ts != ts[0]
            found = scipy.integrate.solve_ivp(
                rhs, (ts[0], ts[-1]), y0, self.method, t_eval=ts[later], **dict(self.options)
            )
            message, good = found.message, found.success
            ys = np.tile(y0, (len(ts), 1))
            if good:
                ys[later] = found.y.T
        if not good:
            raise ConvergenceError(
                f"{self.name}: SciPy could not go on to the end",
                where=str(here()),
                details=[message],
                fix="loosen rtol or atol, or choose a method for stiff equations such as Radau",
            )
        return ys.astype(y0.dtype, copy=False)

    def tangent(self, n: int) -> Flow:
        """The equation of ``(y, v)``, with the tangent of theta behind theta."""

        def rhs(t: Any, z: Any, both: Any) -> Any:
            k = both.shape[0] // 2
            primals, tangents = (z[:n], both[:k]), (z[n:], both[k:])
            return np.concatenate(jvp(lambda y, theta: self.rhs(t, y, theta), primals, tangents))

        return replace(self, name=f"tangent of {self.name}", rhs=rhs)

    def cotangent(self, n: int) -> Flow:
        """The equation of ``(y, w, q)``."""

        def rhs(t: Any, z: Any, theta: Any) -> Any:
            value, pull = vjp(lambda y, theta: self.rhs(t, y, theta), z[:n], theta)
            y_bar, theta_bar = pull(z[n : 2 * n])
            return np.concatenate([value, -y_bar, -theta_bar])

        return replace(self, name=f"adjoint of {self.name}", rhs=rhs)


def _jvp(primals: Any, tangents: Any, y: Any, params: Any) -> Any:
    (y0, ts, theta), problem = primals, params["problem"]
    y0_dot, ts_dot, theta_dot = (
        0 * p if t is None else t for p, t in zip(primals, tangents, strict=True)
    )
    start = y0_dot - problem.rhs(ts[0], y0, theta) * ts_dot[0]
    both = np.concatenate([theta, theta_dot])
    n = y0.shape[0]
    found = flow(np.concatenate([y0, start]), ts, both, problem=problem.tangent(n))[:, n:]
    if tangents[1] is None:
        return found
    slopes = np.stack([problem.rhs(ts[k], y[k], theta) for k in range(y.shape[0])])
    return found + slopes * ts_dot[:, None]


def _forward(primals: Any, needs: Any, params: Any) -> Any:
    ys = flow(*primals, **params)
    return ys, [ys, *primals[1:]]


def _backward(saved: Any, ct: Any, needs: Any, types: Any, params: Any) -> Any:
    ys, ts, theta = saved
    problem: Flow = params["problem"]
    (ct,) = ct if isinstance(ct, (list, tuple)) else (ct,)
    n = ys.shape[1]
    back = problem.cotangent(n)
    w, q = ct[-1], 0 * theta
    for k in range(ys.shape[0] - 1, 0, -1):
        z = np.concatenate([ys[k], w, q])
        z = flow(z, np.stack([ts[k], ts[k - 1]]), theta, problem=back)[1]
        before, q = z[n : 2 * n], z[2 * n :]
        w = before + ct[k - 1]
    ts_bar = None
    if needs[1]:
        slopes = [problem.rhs(ts[k], ys[k], theta) for k in range(ys.shape[0])]
        parts = [np.sum(c * s) for c, s in zip(ct[1:], slopes[1:], strict=True)]
        first = -np.sum((w - ct[0]) * slopes[0])
        ts_bar = np.stack([first, *parts])
    return [w if needs[0] else None, ts_bar, q if needs[2] else None]


def _samples(rng: np.random.Generator, dtype: np.dtype[Any]) -> list[Sample]:
    """A damped pendulum."""
    if dtype != np.float64:
        return []

    def rhs(t: Any, y: Any, theta: Any) -> Any:
        return np.stack([y[1], -theta[0] * np.sin(y[0]) - theta[1] * y[1] + 0.1 * t])

    problem = Flow("pendulum", rhs, "DOP853", (("rtol", 1e-10), ("atol", 1e-12)))
    args = (rng.uniform(0.2, 0.8, 2), np.array([0.0, 0.4, 1.0]), rng.uniform(0.5, 1.5, 2))
    return [Sample(args, {"problem": problem})]


def _type(y0: ArrayType, ts: ArrayType, theta: ArrayType, *, problem: Flow) -> ArrayType:
    return ArrayType((*ts.shape, *y0.shape), y0.dtype)


def _numpy(y0: Any, ts: Any, theta: Any, *, problem: Flow) -> Any:
    return problem.solve(y0, ts, theta)


flow: Primitive = Primitive(
    name="flow",
    doc="y at the times x2 for y' = problem.rhs(t, y, x3), y = x1 at the first time",
    numpy=_numpy,
    type_rule=_type,
    jvp=_jvp,
    vjp=ForwardRule(_forward, _backward),
    batch=one_by_one(lambda: flow),
    family="control",
    flops=lambda types, out_types, params: 0,
    samples=_samples,
    source="Chen et al. (2018), algorithm 1",
)

"""The operation behind implicit functions: a solver's answer, with the equation's derivative.

If ``F(x, theta) = 0`` defines ``x(theta)``, then ``J_x x' + J_theta theta' = 0``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pullback.core.primitive import ForwardRule, Primitive, Sample
from pullback.core.source import here
from pullback.core.types import ArrayType, type_of
from pullback.errors import ShapeError
from pullback.transforms.derivatives import jvp, vjp
from pullback.transforms.mode import Jacobian

__all__ = ["Problem", "implicit"]

Function = Callable[..., Any]


@dataclass(frozen=True, eq=False)
class Problem:
    """One implicit function ``theta -> x`` on flat vectors; hashed by identity.

    Attributes:
        name: of the user's function, for messages.
        residual: ``F(x, *theta)``, a vector like ``x``: NumPy code.
        solve: plain arrays ``theta`` to the plain vector ``x``.
        x_type: the type of ``x``.
        linear: solves ``A v = right`` as ``linear(A, right)`` for a function ``A``; ``None`` stands
            for ``np.linalg.solve`` with the whole Jacobian of ``F``.
    """

    name: str
    residual: Function
    solve: Function
    x_type: ArrayType
    linear: Function | None = None

    def __repr__(self) -> str:
        return self.name

    def solution(self, *theta: Any) -> Any:
        x = np.asarray(self.solve(*theta), self.x_type.dtype)
        if x.shape != self.x_type.shape:
            raise ShapeError(
                f"{self.name}: the solver returned an array of shape {x.shape} for "
                f"{self.x_type.shape} unknowns",
                where=str(here()),
                fix="return the unknowns in the shape of x0",
            )
        return x

    def tangent(self, x: Any, theta: Sequence[Any], right: Any) -> Any:
        """``J_x^-1 right``."""

        def at(x: Any) -> Any:
            return self.residual(x, *theta)

        if self.linear is None:
            return np.linalg.solve(Jacobian(at)(x), right)
        return self.linear(lambda v: jvp(at, (x,), (v,))[1], right)

    def cotangent(self, x: Any, theta: Sequence[Any], right: Any) -> Any:
        """``J_x^-T right``."""

        def at(x: Any) -> Any:
            return self.residual(x, *theta)

        if self.linear is None:
            return np.linalg.solve(Jacobian(at)(x).T, right)
        pull = vjp(at, x)[1]
        return self.linear(lambda u: pull(u)[0], right)


def _jvp(theta: Any, theta_dots: Any, x: Any, params: Any) -> Any:
    problem: Problem = params["problem"]
    moving = [i for i, dot in enumerate(theta_dots) if dot is not None]

    def of_moving(*values: Any) -> Any:
        full = list(theta)
        for i, value in zip(moving, values, strict=True):
            full[i] = value
        return problem.residual(x, *full)

    primals = tuple(theta[i] for i in moving)
    change = jvp(of_moving, primals, tuple(theta_dots[i] for i in moving))[1]
    return problem.tangent(x, theta, -change)


def _forward(theta: Any, needs: Any, params: Any) -> Any:
    x = implicit(*theta, **params)
    return x, [x, *theta]


def _backward(saved: Any, ct: Any, needs: Any, types: Any, params: Any) -> Any:
    problem: Problem = params["problem"]
    x, *theta = saved
    (x_bar,) = ct if isinstance(ct, (list, tuple)) else (ct,)
    weights = problem.cotangent(x, theta, -x_bar)
    wanted = [i for i, need in enumerate(needs) if need]

    def of_wanted(*values: Any) -> Any:
        full = list(theta)
        for i, value in zip(wanted, values, strict=True):
            full[i] = value
        return problem.residual(x, *full)

    found = iter(vjp(of_wanted, *(theta[i] for i in wanted))[1](weights))
    return [next(found) if need else None for need in needs]


def _batch(args: Any, axes: Any, params: Any) -> Any:
    """One solve for each example: solvers are free to do what they like with one."""
    n = next(np.shape(a)[axis] for a, axis in zip(args, axes, strict=True) if axis is not None)
    moved = [
        a if axis is None else np.moveaxis(a, axis, 0) for a, axis in zip(args, axes, strict=True)
    ]
    rows = [
        [a if axis is None else a[i] for a, axis in zip(moved, axes, strict=True)] for i in range(n)
    ]
    return np.stack([implicit(*row, **params) for row in rows]), 0


def _samples(rng: np.random.Generator, dtype: np.dtype[Any]) -> list[Sample]:
    """``x^3 + x = theta``, elementwise, by Newton's method."""
    if dtype.kind != "f":
        return []

    def solve(theta: Any) -> Any:
        x = np.zeros_like(theta)
        for _ in range(50):
            x = x - (x**3 + x - theta) / (3 * x**2 + 1)
        return x

    theta = rng.normal(size=3).astype(dtype)
    problem = Problem("cubic", lambda x, t: x**3 + x - t, solve, type_of(theta))
    return [Sample((theta,), {"problem": problem})]


implicit = Primitive(
    name="implicit",
    doc="x such that problem.residual(x, *theta) is zero, as problem.solve(*theta) finds it",
    numpy=lambda *theta, problem: problem.solution(*theta),
    type_rule=lambda *types, problem: problem.x_type,
    jvp=_jvp,
    vjp=ForwardRule(_forward, _backward),
    batch=_batch,
    family="control",
    flops=lambda types, out_types, params: 0,
    samples=_samples,
)

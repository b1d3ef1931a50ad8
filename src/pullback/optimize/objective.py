"""The functions that a solver asks for at a point, each derived from the user's function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.sparse import issparse

from pullback import tree
from pullback.compiler.jit import compile  # noqa: A004
from pullback.core.source import here
from pullback.errors import ShapeError
from pullback.optimize.variables import Variables
from pullback.sparse.choice import jacobian
from pullback.sparse.derivatives import sparse_jacobian
from pullback.transforms.derivatives import linearize, value_and_grad
from pullback.transforms.mode import Jacobian, dense_hessian, hvp

__all__ = ["Objective", "VectorFunction", "scalar"]

Vector = np.ndarray[Any, Any]


def scalar(fun: Callable[..., Any]) -> Callable[..., Any]:
    """``fun`` with a result of one element as a scalar, which SciPy allows."""

    def valued(*args: Any) -> Any:
        value = fun(*args)
        if np.shape(value) == ():
            return value
        if np.size(value) != 1:
            raise ShapeError(
                f"the objective returned an array of shape {np.shape(value)}",
                where=str(here()),
                fix="return one number (np.sum, np.mean), or use least_squares for residuals",
            )
        return np.reshape(value, ())

    return valued


class Objective:
    """A scalar function of a vector, with the derivatives that SciPy's methods ask for.

    The best point that was met is kept, for the case that the run is interrupted.
    """

    def __init__(
        self,
        fun: Callable[..., Any],
        variables: Variables,
        args: tuple[Any, ...],
        is_compiled: bool,
    ) -> None:
        fun = scalar(fun)
        wrap = compile if is_compiled else lambda function: function
        self.variables = variables
        self.args = args
        self.plain = fun
        self.both = wrap(value_and_grad(fun))
        self.is_compiled = is_compiled
        self.product = wrap(lambda x, p: hvp(lambda x: fun(x, *args), (x,), (p,)))
        self.point: Vector | None = None  # at which ``linear`` holds
        self.linear: Callable[..., Any]
        self.best: Vector = variables.start
        self.best_value = np.inf

    def keep(self, v: Vector, value: float) -> None:
        if value < self.best_value:
            self.best, self.best_value = v.copy(), value

    def value(self, v: Vector) -> float:
        value = float(self.plain(self.variables.unravel(v), *self.args))
        self.keep(v, value)
        return value

    def value_and_gradient(self, v: Vector) -> tuple[float, Vector]:
        value, grads = self.both(self.variables.unravel(v), *self.args)
        self.keep(v, float(value))
        return float(value), self.variables.flat(grads)

    def hessian_product(self, v: Vector, p: Vector) -> Vector:
        """Hessian at ``v`` times ``p``. What depends on ``v`` alone is computed once per point."""
        x, direction = self.variables.unravel(v), self.variables.unravel(p)
        if self.is_compiled:
            return self.variables.flat(self.product(x, direction))
        if self.point is None or not np.array_equal(self.point, v):
            gradient = value_and_grad(self.plain)
            self.point = v.copy()
            self.linear = linearize(lambda x: gradient(x, *self.args)[1], x)[1]
        return self.variables.flat(self.linear(direction))

    def hessian(self, v: Vector) -> Vector:
        """The whole Hessian at ``v``, ``(n, n)``."""
        whole = dense_hessian(lambda v: self.plain(self.variables.unravel(v), *self.args))
        return np.asarray(whole(v), np.float64)


class VectorFunction:
    """A function from the unknowns to a vector, with its Jacobian and its curvature."""

    def __init__(
        self,
        fun: Callable[..., Any],
        variables: Variables,
        args: tuple[Any, ...] = (),
        is_compiled: bool = False,
        sparse: bool | str = False,
    ) -> None:
        def flat(v: Any) -> Any:
            return tree.joined(fun(variables.unravel(v), *args))

        wrap = compile if is_compiled else lambda function: function
        self.flat = flat
        self.run = wrap(flat)
        if sparse is True:
            self.jacobian_of: Callable[..., Any] = sparse_jacobian(flat, compile=is_compiled)
        elif sparse:
            self.jacobian_of = jacobian(flat, sparse=sparse)
        else:
            self.jacobian_of = wrap(Jacobian(flat))

    def value(self, v: Vector) -> Vector:
        return np.asarray(self.run(v), np.float64)

    def jacobian(self, v: Vector) -> Any:
        """``(m, n)``: an array, or a ``csr_array``."""
        found = self.jacobian_of(v)
        return found if issparse(found) else np.asarray(found, np.float64)

    def curvature(self, v: Vector, weights: Vector) -> Vector:
        """Hessian of ``weights @ fun``, ``(n, n)``."""
        return np.asarray(dense_hessian(lambda v: np.dot(weights, self.flat(v)))(v), np.float64)

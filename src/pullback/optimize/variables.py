"""A container of float arrays as the one float64 vector that SciPy's solvers work on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pullback import tree
from pullback.core.source import here
from pullback.errors import ArgumentError
from pullback.transforms.derivatives import as_leaves

__all__ = ["Variables"]


class Variables:
    """The unknowns of a problem: ``start`` as a vector, and ``unravel`` back to the container.

    As in SciPy a number, a sequence of numbers or an array of integers stands for a float64
    vector. Every other container keeps its structure, and its leaves their shapes and dtypes.
    """

    def __init__(self, x0: Any, name: str = "x0") -> None:
        self.is_vector = not isinstance(x0, dict) and is_numeric(x0)
        if self.is_vector:
            x0 = np.atleast_1d(np.asarray(x0))
            x0 = x0 if x0.dtype.kind == "f" else x0.astype(np.float64)
        leaves, self.structure = as_leaves(x0, name)
        if not leaves:
            raise ArgumentError(
                f"{name} holds no arrays", where=str(here()), fix="pass the point to start from"
            )
        self.shapes = [np.shape(leaf) for leaf in leaves]
        _, self.unravel = tree.ravel(x0)
        self.start = self.flat(x0)
        self.n = self.start.size

    @staticmethod
    def flat(container: Any) -> np.ndarray[Any, Any]:
        """The vector of a container like the unknowns, in float64."""
        return np.asarray(tree.joined(container), np.float64)

    def bound(self, limit: Any, missing: float) -> np.ndarray[Any, Any]:
        """One side of the bounds as a vector: a number for all, or a container like the unknowns.

        A leaf may be a number that holds for all elements of its array, or ``None``.
        """
        if limit is None or (np.ndim(limit) == 0 and is_numeric(limit)):
            return np.full(self.n, missing if limit is None else limit, np.float64)
        if self.is_vector:
            return np.broadcast_to(np.asarray(limit, np.float64), (self.n,)).copy()
        parts = [
            np.broadcast_to(np.asarray(missing if x is None else x, np.float64), shape).ravel()
            for x, shape in zip(self.limits(limit), self.shapes, strict=True)
        ]
        return np.concatenate(parts)

    def limits(self, limit: Any) -> Sequence[Any]:
        try:
            return self.structure.flatten_up_to(limit)
        except ValueError as error:
            raise ArgumentError(
                "bounds do not have the structure of x0",
                where=str(here()),
                details=[str(error).partition("\n")[0]],
                fix="pass (lower, upper): each a number, or a container like x0",
            ) from error

    def bounds(self, bounds: Any) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]] | None:
        """Lower and upper limits as vectors, from SciPy's ``Bounds`` or a pair of containers."""
        if bounds is None:
            return None
        if hasattr(bounds, "lb"):
            bounds = bounds.lb, bounds.ub
        if not isinstance(bounds, (tuple, list)) or len(bounds) != 2:
            raise ArgumentError(
                "bounds are not a pair",
                where=str(here()),
                details=[f"came: {type(bounds).__name__}"],
                fix="pass (lower, upper): each a number, or a container like x0",
            )
        lower, upper = self.bound(bounds[0], -np.inf), self.bound(bounds[1], np.inf)
        if np.any(lower > upper):
            raise ArgumentError(
                "a lower bound is above its upper bound",
                where=str(here()),
                fix="pass (lower, upper) with lower <= upper",
            )
        return lower, upper

    def result(self, answer: Any, *vectors: str) -> Any:
        """SciPy's result with ``x`` (and the fields ``vectors``) as containers like ``x0``."""
        for name in ("x", *vectors):
            value = answer.get(name)
            if isinstance(value, np.ndarray) and value.shape == (self.n,):
                answer[name] = self.unravel(value)
        return answer


def is_numeric(x: Any) -> bool:
    """Whether NumPy makes one array of numbers of ``x``: a number, an array, nested lists."""
    if isinstance(x, (bool, int, float, np.ndarray, np.generic)):
        return True
    return isinstance(x, (list, tuple)) and bool(x) and all(isinstance(v, (int, float)) for v in x)

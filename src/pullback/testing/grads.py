"""``check_grads``: a function's derivatives against differences and against each other.

Two independent witnesses. *Differences*: a 5-point central difference along a random direction
(error about ``eps^(4/5)``). *Duality*: ``<v, J u> = <J^T v, u>`` for forward and reverse mode,
exact up to rounding. One catches an error that both modes share, the other one that they do not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pullback import tree
from pullback.errors import ArgumentError, PullbackError
from pullback.testing.tolerances import DIFFERENCE, DUALITY
from pullback.transforms.derivatives import jvp, vjp

__all__ = ["GradientError", "check_grads", "directional_difference"]


class GradientError(PullbackError, AssertionError):
    """A derivative disagrees with its witness."""


def leaves_of(x: Any) -> list[np.ndarray[Any, Any]]:
    return [np.asarray(leaf) for leaf in tree.leaves(x)]


def inner(a: Any, b: Any) -> float:
    """Sum of products over all leaves, in float64."""
    return float(
        sum(
            np.sum(np.multiply(x, y, dtype=np.float64))
            for x, y in zip(leaves_of(a), leaves_of(b), strict=True)
        )
    )


def magnitude(a: Any, b: Any) -> float:
    """Sum of absolute products: the scale of rounding errors of ``inner``."""
    return float(
        sum(
            np.sum(np.abs(np.multiply(x, y, dtype=np.float64)))
            for x, y in zip(leaves_of(a), leaves_of(b), strict=True)
        )
    )


def random_like(rng: np.random.Generator, x: Any) -> Any:
    return tree.map(
        lambda leaf: np.asarray(rng.normal(size=np.shape(leaf))).astype(np.asarray(leaf).dtype), x
    )


def directional_difference(
    fun: Callable[..., Any], args: Sequence[Any], directions: Sequence[Any], step: float
) -> list[Any]:
    """5-point central difference of ``fun`` along ``directions``; one array per output leaf."""

    def at(t: float) -> list[Any]:
        moved = tree.map(lambda x, u: x + t * u, tuple(args), tuple(directions))
        return leaves_of(fun(*moved))

    terms = zip(at(2 * step), at(step), at(-step), at(-2 * step), strict=True)
    return [(-a + 8 * b - 8 * c + d) / (12 * step) for a, b, c, d in terms]


def check_grads(
    fun: Callable[..., Any],
    args: Sequence[Any],
    *,
    modes: Sequence[str] = ("forward", "reverse"),
    order: int = 2,
    rtol: float | None = None,
    step: float = 1e-3,
    seed: int = 0,
) -> None:
    """Check the derivatives of ``fun`` at ``args`` up to ``order``.

    Args:
        fun: function of containers of float64 arrays, returning a container of float arrays.
        args: tuple of arguments.
        modes: which modes to check against differences; with both, also against each other.
        order: 1, or 2 to check the gradient's own derivatives too.
        rtol: relative tolerance; default 1e-9 for the first and 1e-7 for the second order.
        step: of the differences, relative to a unit direction.
        seed: of the random directions.

    Raises:
        GradientError: naming the mode and the two numbers that disagree. NaN never agrees.
        ArgumentError: for arguments that are not float64.

    >>> import numpy as np
    >>> import pullback as pb
    >>> pb.check_grads(lambda x: np.sin(x) * x, (np.array([0.5, 1.0]),))
    """
    for path, leaf in zip(tree.paths(tuple(args), "args"), leaves_of(tuple(args)), strict=True):
        if leaf.dtype != np.float64:
            raise ArgumentError(
                f"check_grads: {path} has dtype {leaf.dtype}",
                fix="pass float64, which the differences need",
            )
    rng = np.random.default_rng(seed)
    args = tuple(args)
    directions = random_like(rng, args)
    tolerance = DIFFERENCE[1] if rtol is None else rtol
    out, vjp_fn = vjp(fun, *args)
    weights = random_like(rng, out)
    expected = directional_difference(fun, args, directions, step)
    target = inner(weights, expected)
    scale = max(magnitude(weights, expected), abs(inner(weights, out)), 1e-3)
    found = {}
    if "forward" in modes:
        found["forward"] = inner(weights, jvp(fun, args, directions)[1])
    if "reverse" in modes:
        found["reverse"] = inner(vjp_fn(weights), directions)
    for mode, value in found.items():
        if not abs(value - target) <= tolerance * scale:
            raise GradientError(
                f"check_grads: the {mode} derivative along a random direction is {value!r}",
                details=[
                    f"5-point central difference: {target!r}",
                    f"tolerance: {tolerance * scale:.1e}",
                ],
                fix="look for a rule that is wrong, or a kink within the step",
            )
    if len(found) == 2:
        bound = DUALITY * np.finfo(np.float64).eps * scale
        if not abs(found["forward"] - found["reverse"]) <= max(bound, tolerance * 1e-4 * scale):
            raise GradientError(
                "check_grads: forward and reverse mode disagree",
                details=[f"<v, J u> = {found['forward']!r}", f"<J^T v, u> = {found['reverse']!r}"],
                fix="one of the two rules of some operation is wrong",
            )
    if order > 1:
        second = DIFFERENCE[2] if rtol is None else rtol
        check_grads(
            lambda *xs: vjp(fun, *xs)[1](weights),
            args,
            modes=modes,
            order=order - 1,
            rtol=second,
            step=step,
            seed=seed + 1,
        )

"""``check_grads``: a function's derivatives against differences and against each other.

Two independent witnesses. *Differences*: a 5-point central difference along a random direction
(error about ``eps^(4/5)``). *Duality*: ``<v, J u> = <J^T v, u>`` for forward and reverse mode,
exact up to rounding. One catches an error that both modes share, the other one that they do not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import numpy as np

from pullback import tree
from pullback.errors import ArgumentError, PullbackError
from pullback.testing.tolerances import DIFFERENCE, DUALITY
from pullback.transforms.derivatives import jvp, vjp

__all__ = ["GradientError", "check_grads", "directional_difference"]

MODES: Final = ("forward", "reverse")
DERIVATIVE: Final = {1: "derivative", 2: "second derivative"}


class GradientError(PullbackError, AssertionError):
    """A derivative disagrees with its witness."""


def leaves_of(x: Any) -> list[np.ndarray[Any, Any]]:
    return [np.asarray(leaf) for leaf in tree.leaves(x)]


def parts_of(x: Any) -> np.ndarray[Any, Any]:
    """All numbers of all leaves in a row, in float64: of complex ones the real, the imaginary."""
    rows = [np.ravel(part) for leaf in leaves_of(x) for part in (leaf.real, leaf.imag)]
    return np.concatenate([*rows, []]).astype(np.float64)


def inner(a: Any, b: Any) -> float:
    """The real inner product ``Re <a, b>`` over all leaves, in float64."""
    return float(parts_of(a) @ parts_of(b))


def magnitude(a: Any, b: Any) -> float:
    """Sum of absolute products: the scale of rounding errors of ``inner``."""
    return float(np.abs(parts_of(a)) @ np.abs(parts_of(b)))


def random_like(rng: np.random.Generator, x: Any) -> Any:
    def draw(leaf: Any) -> Any:
        leaf = np.asarray(leaf)
        drawn = np.asarray(rng.normal(size=leaf.shape))
        if leaf.dtype.kind == "c":
            drawn = drawn + 1j * rng.normal(size=leaf.shape)
        return drawn.astype(leaf.dtype)

    return tree.map(draw, x)


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
    modes: Sequence[str] = MODES,
    order: int = 2,
    rtol: float | None = None,
    step: float = 5e-4,
    seed: int = 0,
) -> None:
    """Check the derivatives of ``fun`` at ``args`` up to ``order``.

    Args:
        fun: function of containers of float64 or complex128 arrays, returning a container of
            arrays of these.
        args: tuple of arguments.
        modes: which modes to check against differences; with both, also against each other.
        order: 1, or 2 to check the gradient's own derivatives too.
        rtol: relative tolerance; default 1e-9 for the first and 1e-7 for the second order.
        step: of the differences, relative to a unit direction.
        seed: of the random directions.

    Raises:
        GradientError: naming the mode, the argument that is furthest off and the two numbers that
            disagree. NaN never agrees.
        ArgumentError: for arguments of other dtypes, unknown modes and other orders.

    >>> import numpy as np
    >>> import pullback as pb
    >>> pb.check_grads(lambda x: np.sin(x) * x, (np.array([0.5, 1.0]),))
    """
    args = tuple(args)
    require_checkable(args, modes, order)
    for k in range(1, order + 1):
        rng = np.random.default_rng(seed + k - 1)
        weights = check_one_order(
            fun, args, modes, rng, DIFFERENCE[k] if rtol is None else rtol, step, DERIVATIVE[k]
        )
        fun = gradient_along(fun, weights)


def require_checkable(args: tuple[Any, ...], modes: Sequence[str], order: int) -> None:
    if order not in DERIVATIVE or not modes or not set(modes) <= set(MODES):
        raise ArgumentError(
            f"check_grads: order={order!r}, modes={modes!r}",
            fix=f"pass order 1 or 2, and one or both of the modes {MODES}",
        )
    for path, leaf in zip(tree.paths(args, "args"), leaves_of(args), strict=True):
        if leaf.dtype not in (np.float64, np.complex128):
            raise ArgumentError(
                f"check_grads: {path} has dtype {leaf.dtype}",
                fix="pass float64 or complex128, which the differences need",
            )


def gradient_along(fun: Callable[..., Any], weights: Any) -> Callable[..., Any]:
    """The gradients of ``<weights, fun>``, as a function to be checked in its turn."""
    return lambda *xs: vjp(fun, *xs)[1](weights)


def one_by_one(directions: Any) -> Iterator[Any]:
    """``directions`` with all leaves but one set to zero, for each leaf."""
    leaves, structure = tree.flatten(directions)
    for k in range(len(leaves)):
        yield tree.unflatten(structure, [u if i == k else 0.0 * u for i, u in enumerate(leaves)])


def check_one_order(
    fun: Callable[..., Any],
    args: tuple[Any, ...],
    modes: Sequence[str],
    rng: np.random.Generator,
    rtol: float,
    step: float,
    derivative: str,
) -> Any:
    """Check the first derivative of ``fun``; return the random weights given to its outputs."""
    directions = random_like(rng, args)
    out, vjp_fn = vjp(fun, *args)
    weights = random_like(rng, out)
    slopes: dict[str, Callable[[Any], float]] = {
        "forward": lambda u: inner(weights, jvp(fun, args, u)[1]),
        "reverse": lambda u: inner(vjp_fn(weights), u),
    }
    expected = directional_difference(fun, args, directions, step)
    target = inner(weights, expected)
    scale = max(magnitude(weights, expected), magnitude(weights, out), 1e-3)
    found = {mode: slopes[mode](directions) for mode in modes}
    for mode, value in found.items():
        if not abs(value - target) <= rtol * scale:
            gaps = [
                abs(slopes[mode](u) - inner(weights, directional_difference(fun, args, u, step)))
                for u in one_by_one(directions)
            ]
            raise GradientError(
                f"check_grads: the {mode} {derivative} along a random direction is {value!r}",
                details=[
                    f"5-point central difference: {target!r}, tolerance: {rtol * scale:.1e}",
                    f"furthest off: {tree.paths(args, 'args')[int(np.argmax(gaps))]}",
                ],
                fix="look for a rule that is wrong, or a kink within the step",
            )
    if len(found) == 2:
        bound = max(DUALITY * np.finfo(np.float64).eps, rtol * 1e-4) * scale
        if not abs(found["forward"] - found["reverse"]) <= bound:
            raise GradientError(
                f"check_grads: the forward and the reverse {derivative} disagree",
                details=[f"<v, J u> = {found['forward']!r}", f"<J^T v, u> = {found['reverse']!r}"],
                fix="one of the two rules of some operation is wrong",
            )
    return weights

"""``check_grads``: a function's derivatives against differences and against each other.

Two independent witnesses. *Differences*: a 5-point central difference along a random direction
(error about ``eps^(4/5)``), for each argument and output by itself. *Duality*: forward and reverse
mode agree, ``<v, J u> = <J^T v, u>``, exactly up to rounding. One catches an error that both modes
share, the other one that they do not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from pullback import tree
from pullback.errors import ArgumentError, PullbackError
from pullback.testing.tolerances import DIFFERENCE, DUALITY
from pullback.transforms.derivatives import jvp, vjp
from pullback.transforms.differences import differences, leaves_of

__all__ = ["GradientError", "check_grads"]

MODES: Final = ("forward", "reverse")
DERIVATIVE: Final = {1: "derivative", 2: "second derivative"}


class GradientError(PullbackError, AssertionError):
    """A derivative disagrees with its witness."""


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
    """Random numbers of both signs for every leaf, none of them small: each element has a say."""

    def draw(leaf: Any) -> Any:
        leaf = np.asarray(leaf)
        drawn = numbers(leaf.shape)
        if leaf.dtype.kind == "c":
            drawn = drawn + 1j * numbers(leaf.shape)
        return drawn.astype(leaf.dtype)

    def numbers(shape: tuple[int, ...]) -> Any:
        return np.asarray(rng.uniform(0.5, 1.5, shape) * rng.choice([-1.0, 1.0], shape))

    return tree.map(draw, x)


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
    inside = 0.0
    for k in range(1, order + 1):
        rng = np.random.default_rng(seed + k - 1)
        tolerance = DIFFERENCE[k] if rtol is None else rtol
        weights = check_one_order(fun, args, modes, rng, tolerance, step, DERIVATIVE[k], inside)
        inside = magnitude(weights, fun(*args))
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


class Comparison(NamedTuple):
    """The derivative of one output in one argument: what was found, and what differences say."""

    path: str
    found: dict[str, float]
    target: float
    tolerance: float
    rounding: float  # of the sums themselves

    def gap(self, mode: str) -> float:
        """Distance from the target in tolerances; infinite for NaN."""
        distance = abs(self.found[mode] - self.target)
        if distance <= self.tolerance:
            return 0.0
        return float(distance / (self.tolerance or 1e-300)) if np.isfinite(distance) else np.inf


def tolerance_of(
    weights: Any, out: Any, fine: Any, coarse: Any, step: float, rtol: float, inside: float
) -> float:
    """How far a right derivative of ``<weights, out>`` may be from its difference ``fine``.

    Errors of many elements add up as their squares do, so an error of one of them shows. Outputs
    are rounded, and so is what they are made of, of size ``inside``; a function that rounds more
    than that differs from itself at twice the step.
    """
    moved, size = (float(np.linalg.norm(parts_of([weights]) * parts_of(x))) for x in (fine, out))
    rounded = np.finfo(np.float64).eps * (size + inside) / step
    doubt = abs(inner([weights], fine) - inner([weights], coarse))
    slack = min(10 * doubt, max(1000 * rounded, rtol * size, 10 * rtol * moved))
    sums = 10 * np.finfo(np.float64).eps * magnitude([weights], fine)
    return float(rtol * moved + 20 * rounded + slack + sums)


def comparisons(
    fun: Callable[..., Any],
    args: tuple[Any, ...],
    weights: Any,
    rng: np.random.Generator,
    modes: Sequence[str],
    rtol: float,
    step: float,
    inside: float,
) -> Iterator[Comparison]:
    """Each output in each argument by itself: none hides behind a larger one."""
    out, vjp_fn = vjp(fun, *args)
    outputs, scales = leaves_of(out), leaves_of(weights)
    at = [k for k, y in enumerate(outputs) if y.dtype.kind in "fc"]
    pulled = {}
    if "reverse" in modes:
        for k, alone in enumerate(one_by_one(weights)):
            pulled[k] = leaves_of(vjp_fn(alone)) if k in at else []
    directions = random_like(rng, args)
    for i, (path, u) in enumerate(
        zip(tree.paths(args, "args"), one_by_one(directions), strict=True)
    ):
        fine, coarse = differences(fun, args, u, step)
        pushed = leaves_of(jvp(fun, args, u)[1]) if "forward" in modes else []
        along = leaves_of(directions)[i]
        for k in at:
            w, found, rounding = [scales[k]], {}, inside + magnitude([scales[k]], [outputs[k]])
            if pushed:
                found["forward"] = inner(w, [pushed[k]])
                rounding += magnitude(w, [pushed[k]])
            if pulled:
                found["reverse"] = inner([pulled[k][i]], [along])
                rounding += magnitude([pulled[k][i]], [along])
            tolerance = tolerance_of(
                scales[k], [outputs[k]], [fine[k]], [coarse[k]], step, rtol, inside
            )
            yield Comparison(path, found, inner(w, [fine[k]]), tolerance, rounding)


def check_one_order(
    fun: Callable[..., Any],
    args: tuple[Any, ...],
    modes: Sequence[str],
    rng: np.random.Generator,
    rtol: float,
    step: float,
    derivative: str,
    inside: float,
) -> Any:
    """Check the first derivative of ``fun``; return the random weights given to its outputs."""
    weights = random_like(rng, fun(*args))
    compared = list(comparisons(fun, args, weights, rng, modes, rtol, step, inside))
    for mode in modes:
        worst = max(compared, key=lambda c: c.gap(mode), default=None)
        if worst is not None and worst.gap(mode):
            raise GradientError(
                f"check_grads: the {mode} {derivative} along a random direction is "
                f"{worst.found[mode]!r}",
                details=[
                    f"5-point central difference: {worst.target!r}, "
                    f"tolerance: {worst.tolerance:.1e}",
                    f"furthest off: {worst.path}",
                ],
                fix="look for a rule that is wrong, or a kink within the step",
            )
    for c in compared:
        bound = max(DUALITY * np.finfo(np.float64).eps, rtol * 1e-4) * c.rounding
        if len(c.found) == 2 and not abs(c.found["forward"] - c.found["reverse"]) <= bound:
            raise GradientError(
                f"check_grads: the forward and the reverse {derivative} disagree in {c.path}",
                details=[
                    f"<v, J u> = {c.found['forward']!r}",
                    f"<J^T v, u> = {c.found['reverse']!r}",
                ],
                fix="one of the two rules of some operation is wrong",
            )
    return weights

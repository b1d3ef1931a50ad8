"""Derivatives by differences: the witness of :func:`check_grads`, and a fallback on request."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pullback import tree

__all__ = ["differences", "directional_difference", "leaves_of"]


def leaves_of(x: Any) -> list[np.ndarray[Any, Any]]:
    """The leaves of a container as plain arrays."""
    return [np.asarray(leaf) for leaf in tree.leaves(x)]


def directional_difference(
    fun: Callable[..., Any], args: Sequence[Any], directions: Sequence[Any], step: float
) -> list[Any]:
    """5-point central difference of ``fun`` along ``directions``; one array per output leaf."""
    return differences(fun, args, directions, step)[0]


def differences(
    fun: Callable[..., Any], args: Sequence[Any], directions: Sequence[Any], step: float
) -> tuple[list[Any], list[Any]]:
    """5-point central differences with the given step, and with twice that: two opinions."""

    def at(t: float) -> list[Any]:
        moved = tree.map(lambda x, u: x + t * u, tuple(args), tuple(directions))
        return leaves_of(fun(*moved))

    ahead, behind = ([at(sign * k * step) for k in (1, 2, 4)] for sign in (1, -1))
    one, two, four = (
        [a - b for a, b in zip(*pair, strict=True)] for pair in zip(ahead, behind, strict=True)
    )
    fine = [(8 * a - b) / (12 * step) for a, b in zip(one, two, strict=True)]
    coarse = [(8 * a - b) / (24 * step) for a, b in zip(two, four, strict=True)]
    return fine, coarse

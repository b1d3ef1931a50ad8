"""Derivatives by differences: the witness of :func:`check_grads`, and a fallback on request."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pullback import tree

__all__ = ["directional_difference", "leaves_of"]


def leaves_of(x: Any) -> list[np.ndarray[Any, Any]]:
    """The leaves of a container as plain arrays."""
    return [np.asarray(leaf) for leaf in tree.leaves(x)]


def directional_difference(
    fun: Callable[..., Any], args: Sequence[Any], directions: Sequence[Any], step: float
) -> list[Any]:
    """5-point central difference of ``fun`` along ``directions``; one array per output leaf."""

    def at(t: float) -> list[Any]:
        moved = tree.map(lambda x, u: x + t * u, tuple(args), tuple(directions))
        return leaves_of(fun(*moved))

    terms = zip(at(2 * step), at(step), at(-step), at(-2 * step), strict=True)
    return [(-a + 8 * b - 8 * c + d) / (12 * step) for a, b, c, d in terms]

"""Adafactor: second moments of a matrix from the means of its rows and columns."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from pullback import tree
from pullback.optim.base import Mask, Optimizer, Rate, leafwise, number

__all__ = ["AdafactorState", "adafactor"]


@dataclasses.dataclass(frozen=True)
class AdafactorState:
    """Steps taken; mean squares of gradients: of rows and of columns, or of the entries of what
    has fewer than two axes (one of the two is then empty).
    """

    step: Any
    rows: Any
    columns: Any


tree.dataclass(AdafactorState)


def adafactor(
    learning_rate: Rate = 1e-2,
    *,
    decay: float = 0.8,
    threshold: float = 1.0,
    least_scale: float = 1e-3,
    weight_decay: float = 0.0,
    decay_mask: Mask | None = None,
) -> Optimizer:
    """Adam's scaling without its memory: ``n + m`` numbers for an ``n x m`` matrix.

    The step is relative to the size of the parameters: ``min(learning_rate, 1 / sqrt(step)) *
    max(least_scale, rms(params))`` times the scaled gradient, whose root mean square is at most
    ``threshold``.

    Args:
        learning_rate: not negative, or a schedule.
        decay: the means keep ``1 - step**-decay`` of their old value.
        threshold: positive.
        least_scale: of parameters, so that those at 0 can move.
        weight_decay: not negative; decoupled.
        decay_mask: which parameters decay, by their paths; all unless given.

    Raises:
        ArgumentError: if a number is out of range.

    Source: Shazeer & Stern (2018), "Adafactor: Adaptive Learning Rates with Sublinear Memory Cost",
    algorithms 4 and 5.

    >>> import numpy as np
    >>> from pullback import optim
    >>> state = optim.adafactor().init(np.zeros((300, 500)))
    >>> state.rows.shape, state.columns.shape
    ((300, 1), (1, 500))
    """
    decay, threshold = number("decay", decay, 0, math.inf), number("threshold", threshold, 0, 1e300)
    least_scale = number("least_scale", least_scale, 0, math.inf)

    def start(x: Any) -> tuple[Any, Any]:
        if np.ndim(x) < 2:
            return np.zeros_like(x), np.zeros(0, x.dtype)
        *rest, n, m = np.shape(x)
        return np.zeros((*rest, n, 1), x.dtype), np.zeros((*rest, 1, m), x.dtype)

    def move(x: Any, grad: Any, kept: Any, step: Any, rate: Any, _: str) -> Any:
        eps = float(np.finfo(x.dtype).eps)
        new = (step ** (-decay)).astype(x.dtype)
        squares = grad * grad
        rows, columns = kept
        if np.ndim(x) < 2:
            rows = rows + new * (squares - rows)
            variance = rows
        else:
            rows = rows + new * (np.mean(squares, axis=-1, keepdims=True) - rows)
            columns = columns + new * (np.mean(squares, axis=-2, keepdims=True) - columns)
            variance = rows * columns / np.maximum(np.mean(rows, axis=-2, keepdims=True), eps)
        scaled = grad / np.sqrt(np.maximum(variance, eps * eps))
        scaled = scaled / np.maximum(1, _rms(scaled) / threshold)
        largest = (step ** (-0.5)).astype(x.dtype)
        size = np.minimum(rate, largest) * np.maximum(_rms(x), least_scale)
        return x - size * scaled, (rows, columns)

    return leafwise(
        AdafactorState, start, move, learning_rate, weight_decay=weight_decay, decay_mask=decay_mask
    )


def _rms(x: Any) -> Any:
    return np.sqrt(np.mean(x * x))

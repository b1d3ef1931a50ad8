"""Adam: steps scaled by running moments of the gradient.

Reference:
    D. P. Kingma, J. Ba (2015), "Adam: A Method for Stochastic Optimization", arXiv:1412.6980,
    algorithm 1.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from pullback import tree
from pullback.optim.base import Mask, Optimizer, Rate, leafwise, number

__all__ = ["AdamState", "adam", "adam_direction", "adamw"]


@dataclasses.dataclass(frozen=True)
class AdamState:
    """Steps taken, and the decaying means of the gradient and of its square."""

    step: Any
    first_moment: Any
    second_moment: Any


tree.dataclass(AdamState)


def adam(
    learning_rate: Rate = 1e-3, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8
) -> Optimizer:
    """``params -= learning_rate * m / (sqrt(v) + eps)`` with bias-corrected moments ``m``, ``v``.

    Args:
        learning_rate: not negative, or a schedule; the first step moves each parameter by about
            this much.
        b1: decay of the mean of the gradient, in ``[0, 1)``.
        b2: decay of the mean of its square, in ``[0, 1)``.
        eps: not negative.

    Raises:
        ArgumentError: if a number is out of range.

    >>> import numpy as np
    >>> from pullback import optim
    >>> optimizer = optim.adam(0.1)
    >>> params = np.array([1.0, 1.0])
    >>> params, state = optimizer.update(np.array([5.0, -1e-3]), optimizer.init(params), params)
    >>> params.round(4)
    array([0.9, 1.1])
    """
    return adamw(learning_rate, b1, b2, eps, weight_decay=0.0)


def adamw(
    learning_rate: Rate = 1e-3,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    *,
    weight_decay: float = 1e-2,
    decay_mask: Mask | None = None,
) -> Optimizer:
    """:func:`adam` after ``params -= learning_rate * weight_decay * params``.

    Args:
        learning_rate, b1, b2, eps: as :func:`adam` takes them.
        weight_decay: not negative.
        decay_mask: which parameters decay, by their paths (``"layers[0].weight"``); all unless
            given.

    Raises:
        ArgumentError: if a number is out of range.

    Source: Loshchilov & Hutter (2019), "Decoupled Weight Decay Regularization", algorithm 2.

    >>> import numpy as np
    >>> from pullback import optim
    >>> optimizer = optim.adamw(0.1, weight_decay=1.0, decay_mask=lambda path: "bias" not in path)
    >>> params = {"weight": np.array([4.0]), "bias": np.array([4.0])}
    >>> still = {"weight": np.zeros(1), "bias": np.zeros(1)}
    >>> optimizer.update(still, optimizer.init(params), params)[0]
    {'weight': array([3.6]), 'bias': array([4.])}
    """
    b1, b2 = number("b1", b1, 0, 1), number("b2", b2, 0, 1)
    eps = number("eps", eps, 0, math.inf)

    def start(x: Any) -> tuple[Any, Any]:
        return np.zeros_like(x), np.zeros_like(x)

    def move(x: Any, grad: Any, kept: Any, step: Any, rate: Any, _: str) -> Any:
        m, v = kept
        m, v, direction = adam_direction(grad, m, v, step, (b1, b2, eps))
        return x - rate * direction, (m, v)

    return leafwise(
        AdamState, start, move, learning_rate, weight_decay=weight_decay, decay_mask=decay_mask
    )


def adam_direction(
    grad: Any, m: Any, v: Any, step: Any, numbers: tuple[float, float, float]
) -> tuple[Any, Any, Any]:
    """The next moments, and ``m_hat / (sqrt(v_hat) + eps)``."""
    b1, b2, eps = numbers
    m = b1 * m + (1 - b1) * grad
    v = b2 * v + (1 - b2) * grad**2
    # The moments start at 0; dividing by these gives the first steps their full weight.
    m_hat = m / (1 - b1**step).astype(m.dtype)
    v_hat = v / (1 - b2**step).astype(v.dtype)
    return m, v, m_hat / (np.sqrt(v_hat) + eps)

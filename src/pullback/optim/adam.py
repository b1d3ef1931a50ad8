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
from pullback.optim.base import Optimizer, number, zeros_like

__all__ = ["AdamState", "adam"]


@dataclasses.dataclass(frozen=True)
class AdamState:
    """Steps taken, and the decaying means of the gradient and of its square."""

    step: Any
    first_moment: Any
    second_moment: Any


tree.dataclass(AdamState)


def adam(
    learning_rate: float = 1e-3, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8
) -> Optimizer:
    """``params -= learning_rate * m / (sqrt(v) + eps)`` with bias-corrected moments ``m``, ``v``.

    Args:
        learning_rate: not negative; the first step moves each parameter by about this much.
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
    learning_rate = number("learning_rate", learning_rate, 0, math.inf)
    b1, b2 = number("b1", b1, 0, 1), number("b2", b2, 0, 1)
    eps = number("eps", eps, 0, math.inf)

    def init(params: Any) -> AdamState:
        return AdamState(np.zeros((), np.int64), zeros_like(params), zeros_like(params))

    def update(grads: Any, state: AdamState, params: Any) -> tuple[Any, AdamState]:
        step = state.step + 1
        first = tree.map(lambda m, grad: b1 * m + (1 - b1) * grad, state.first_moment, grads)
        second = tree.map(lambda v, grad: b2 * v + (1 - b2) * grad**2, state.second_moment, grads)
        # The moments start at 0; dividing by these gives the first steps their full weight.
        first_weight, second_weight = 1 - b1**step, 1 - b2**step

        def moved(x: Any, m: Any, v: Any) -> Any:
            m_hat = m / first_weight.astype(x.dtype)
            v_hat = v / second_weight.astype(x.dtype)
            return x - learning_rate * m_hat / (np.sqrt(v_hat) + eps)

        return tree.map(moved, params, first, second), AdamState(step, first, second)

    return Optimizer(init, update)

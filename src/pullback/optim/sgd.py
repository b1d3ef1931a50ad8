"""Stochastic gradient descent, with momentum.

References:
    B. T. Polyak (1964), "Some methods of speeding up the convergence of iteration methods",
    doi:10.1016/0041-5553(64)90137-5, eq. 9 (heavy ball).
    I. Sutskever et al. (2013), "On the importance of initialization and momentum in deep
    learning", ICML, eq. 3-4 (Nesterov's method as a form of momentum).
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from pullback import tree
from pullback.errors import ArgumentError
from pullback.optim.base import Mask, Optimizer, Rate, leafwise, number

__all__ = ["SGDState", "sgd"]


@dataclasses.dataclass(frozen=True)
class SGDState:
    """The running sum of gradients, shaped like the parameters (``None`` without momentum), and
    the steps taken.
    """

    velocity: Any
    step: Any


tree.dataclass(SGDState)


def sgd(
    learning_rate: Rate,
    momentum: float = 0.0,
    *,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    decay_mask: Mask | None = None,
) -> Optimizer:
    """``velocity = momentum * velocity + grads``; ``params -= learning_rate * velocity``.

    Args:
        learning_rate: not negative, or a schedule.
        momentum: in ``[0, 1)``.
        nesterov: step along ``momentum * velocity + grads`` with the new velocity: the gradient
            is then that of the point ahead, in the variables of Sutskever et al. (2013).
        weight_decay: ``weight_decay * params`` is added to the gradient, which is the gradient
            of ``weight_decay / 2 * sum(params**2)``.
        decay_mask: which parameters decay, by their paths; all unless given.

    Raises:
        ArgumentError: if a number is out of range, or ``nesterov`` comes without momentum.

    >>> import numpy as np
    >>> from pullback import optim
    >>> optimizer = optim.sgd(0.1, momentum=0.5)
    >>> params, state = np.array([1.0]), optimizer.init(np.array([1.0]))
    >>> for _ in range(2):
    ...     params, state = optimizer.update(np.array([2.0]), state, params)
    >>> params, state.velocity
    (array([0.5]), array([3.]))
    """
    momentum = number("momentum", momentum, 0, 1)
    weight_decay = number("weight_decay", weight_decay, 0, math.inf)
    if nesterov and momentum == 0:
        raise ArgumentError("sgd: nesterov=True without momentum", fix="pass momentum, such as 0.9")

    def start(x: Any) -> tuple[Any]:
        return (np.zeros_like(x) if momentum else None,)

    def move(x: Any, grad: Any, kept: Any, _: Any, rate: Any, path: str) -> Any:
        if weight_decay and (decay_mask is None or decay_mask(path)):
            grad = grad + weight_decay * x
        (velocity,) = kept
        direction = grad
        if momentum:
            direction = velocity = momentum * velocity + grad
        if nesterov:
            direction = momentum * velocity + grad
        return x - rate * direction, (velocity,)

    return leafwise(SGDState, start, move, learning_rate)

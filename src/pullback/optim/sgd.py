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

from pullback import tree
from pullback.errors import ArgumentError
from pullback.optim.base import Optimizer, number, zeros_like

__all__ = ["SGDState", "sgd"]


@dataclasses.dataclass(frozen=True)
class SGDState:
    """The running sum of gradients, shaped like the parameters; ``None`` without momentum."""

    velocity: Any


tree.dataclass(SGDState)


def sgd(
    learning_rate: float,
    momentum: float = 0.0,
    *,
    nesterov: bool = False,
    weight_decay: float = 0.0,
) -> Optimizer:
    """``velocity = momentum * velocity + grads``; ``params -= learning_rate * velocity``.

    Args:
        learning_rate: not negative.
        momentum: in ``[0, 1)``.
        nesterov: step along ``momentum * velocity + grads`` with the new velocity: the gradient
            is then that of the point ahead, in the variables of Sutskever et al. (2013).
        weight_decay: ``weight_decay * params`` is added to the gradient, which is the gradient
            of ``weight_decay / 2 * sum(params**2)``.

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
    learning_rate = number("learning_rate", learning_rate, 0, math.inf)
    momentum = number("momentum", momentum, 0, 1)
    weight_decay = number("weight_decay", weight_decay, 0, math.inf)
    if nesterov and momentum == 0:
        raise ArgumentError("sgd: nesterov=True without momentum", fix="pass momentum, such as 0.9")

    def init(params: Any) -> SGDState:
        return SGDState(zeros_like(params) if momentum else None)

    def update(grads: Any, state: SGDState, params: Any) -> tuple[Any, SGDState]:
        if weight_decay:
            grads = tree.map(lambda grad, x: grad + weight_decay * x, grads, params)
        direction, velocity = grads, state.velocity
        if momentum:
            velocity = tree.map(lambda v, grad: momentum * v + grad, velocity, grads)
            direction = velocity
        if nesterov:
            direction = tree.map(lambda v, grad: momentum * v + grad, velocity, grads)
        params = tree.map(lambda x, step: x - learning_rate * step, params, direction)
        return params, SGDState(velocity)

    return Optimizer(init, update)

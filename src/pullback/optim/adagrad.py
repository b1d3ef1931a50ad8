"""Steps scaled by squares of past gradients: Adagrad sums them, RMSprop averages them.

References:
    J. Duchi, E. Hazan, Y. Singer (2011), "Adaptive Subgradient Methods for Online Learning and
    Stochastic Optimization", JMLR 12, section 1.1 with a diagonal matrix.
    T. Tieleman, G. Hinton (2012), "Lecture 6.5: rmsprop"; centered: A. Graves (2013), "Generating
    Sequences With Recurrent Neural Networks", eq. 38 to 45.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from pullback import tree
from pullback.optim.base import Optimizer, Rate, leafwise, number

__all__ = ["AdagradState", "RMSpropState", "adagrad", "rmsprop"]


@dataclasses.dataclass(frozen=True)
class AdagradState:
    """Steps taken, and the sums of squares of gradients."""

    step: Any
    squares: Any


@dataclasses.dataclass(frozen=True)
class RMSpropState:
    """Steps taken, means of the gradient (if centered) and its square, and the momentum."""

    step: Any
    squares: Any
    mean: Any
    velocity: Any


tree.dataclass(AdagradState)
tree.dataclass(RMSpropState)


def adagrad(learning_rate: Rate = 1e-2, initial: float = 0.0, eps: float = 1e-10) -> Optimizer:
    """``params -= learning_rate * grads / (sqrt(sum of grads**2) + eps)``.

    Args:
        learning_rate: not negative, or a schedule.
        initial: of the sums, not negative.
        eps: not negative.

    Raises:
        ArgumentError: if a number is out of range.

    >>> import numpy as np
    >>> from pullback import optim
    >>> optimizer, params = optim.adagrad(1.0), np.array([0.0])
    >>> state = optimizer.init(params)
    >>> for _ in range(2):
    ...     params, state = optimizer.update(np.array([3.0]), state, params)
    >>> params.round(4)  # -1 - 3 / sqrt(18)
    array([-1.7071])
    """
    initial = number("initial", initial, 0, math.inf)
    eps = number("eps", eps, 0, math.inf)

    def start(x: Any) -> tuple[Any]:
        return (np.full_like(x, initial),)

    def move(x: Any, grad: Any, kept: Any, _: Any, rate: Any, __: str) -> Any:
        squares = kept[0] + grad * grad
        return x - rate * grad / (np.sqrt(squares) + eps), (squares,)

    return leafwise(AdagradState, start, move, learning_rate)


def rmsprop(
    learning_rate: Rate = 1e-2,
    decay: float = 0.99,
    eps: float = 1e-8,
    *,
    momentum: float = 0.0,
    centered: bool = False,
) -> Optimizer:
    """``velocity = momentum * velocity + grads / (sqrt(v) + eps); params -= learning_rate *
    velocity``, with the decaying mean ``v`` of ``grads**2``.

    Args:
        learning_rate: not negative, or a schedule.
        decay: of the means, in ``[0, 1)``.
        eps: not negative.
        momentum: in ``[0, 1)``.
        centered: whether ``v`` is the variance instead: less the square of the mean gradient.

    Raises:
        ArgumentError: if a number is out of range.

    >>> import numpy as np
    >>> from pullback import optim
    >>> optimizer, params = optim.rmsprop(1.0, decay=0.75), np.array([0.0])
    >>> optimizer.update(np.array([3.0]), optimizer.init(params), params)[0].round(4)
    array([-2.])
    """
    decay, momentum = number("decay", decay, 0, 1), number("momentum", momentum, 0, 1)
    eps = number("eps", eps, 0, math.inf)

    def start(x: Any) -> tuple[Any, Any, Any]:
        zero = np.zeros_like(x)
        return zero, zero.copy() if centered else None, zero.copy() if momentum else None

    def move(x: Any, grad: Any, kept: Any, _: Any, rate: Any, __: str) -> Any:
        squares, mean, velocity = kept
        variance = squares = decay * squares + (1 - decay) * grad * grad
        if centered:
            mean = decay * mean + (1 - decay) * grad
            # Rounding can leave less than 0 of a variance that is 0.
            variance = np.maximum(squares - mean * mean, 0)
        direction = grad / (np.sqrt(variance) + eps)
        if momentum:
            direction = velocity = momentum * velocity + direction
        return x - rate * direction, (squares, mean, velocity)

    return leafwise(RMSpropState, start, move, learning_rate)

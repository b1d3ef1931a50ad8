"""Lion: steps of one size, in the direction of the sign of a mean of gradients."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from pullback import tree
from pullback.optim.base import Mask, Optimizer, Rate, leafwise, number

__all__ = ["LionState", "lion"]


@dataclasses.dataclass(frozen=True)
class LionState:
    """Steps taken, and the decaying mean of the gradient."""

    step: Any
    mean: Any


tree.dataclass(LionState)


def lion(
    learning_rate: Rate = 1e-4,
    b1: float = 0.9,
    b2: float = 0.99,
    *,
    weight_decay: float = 0.0,
    decay_mask: Mask | None = None,
) -> Optimizer:
    """``params -= learning_rate * (sign(b1 * m + (1 - b1) * grads) + weight_decay * params)``;
    then ``m = b2 * m + (1 - b2) * grads``.

    Args:
        learning_rate: not negative, or a schedule; a third to a tenth of Adam's.
        b1, b2: in ``[0, 1)``.
        weight_decay: not negative; three to ten times AdamW's.
        decay_mask: which parameters decay, by their paths; all unless given.

    Raises:
        ArgumentError: if a number is out of range.

    Source: Chen et al. (2023), "Symbolic Discovery of Optimization Algorithms", algorithm 2.

    >>> import numpy as np
    >>> from pullback import optim
    >>> optimizer, params = optim.lion(0.5, weight_decay=0.25), np.array([8.0, 8.0, 8.0])
    >>> optimizer.update(np.array([3.0, -1e-9, 0.0]), optimizer.init(params), params)[0]
    array([6.5, 7.5, 7. ])
    """
    b1, b2 = number("b1", b1, 0, 1), number("b2", b2, 0, 1)

    def start(x: Any) -> tuple[Any]:
        return (np.zeros_like(x),)

    def move(x: Any, grad: Any, kept: Any, _: Any, rate: Any, __: str) -> Any:
        (mean,) = kept
        moved = x - rate * np.sign(b1 * mean + (1 - b1) * grad)
        return moved, (b2 * mean + (1 - b2) * grad,)

    return leafwise(
        LionState, start, move, learning_rate, weight_decay=weight_decay, decay_mask=decay_mask
    )

"""Muon: momentum whose singular values are made equal, for the matrices of hidden layers."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from pullback import tree
from pullback.optim.adam import adam_direction
from pullback.optim.base import Mask, Optimizer, Rate, leafwise, number

__all__ = ["MuonState", "muon", "orthogonalized"]

# Keller Jordan's polynomial: steep at 0, and between 0.7 and 1.2 after five rounds.
POLYNOMIAL = (3.4445, -4.7750, 2.0315)
ROUNDS = 5


@dataclasses.dataclass(frozen=True)
class MuonState:
    """Steps taken, decaying means of gradients, and of their squares (empty for matrices)."""

    step: Any
    mean: Any
    squares: Any


tree.dataclass(MuonState)


def muon(
    learning_rate: Rate = 0.02,
    momentum: float = 0.95,
    *,
    weight_decay: float = 0.0,
    decay_mask: Mask | None = None,
    matrices: Mask | None = None,
    other: float = 0.05,
) -> Optimizer:
    """``params -= learning_rate * sqrt(max(1, out / in)) * orthogonalized(momentum)`` for matrices
    ``(in, out)``, and Adam for the rest.

    Args:
        learning_rate: not negative, or a schedule.
        momentum: in ``[0, 1)``; the step looks ahead, as Nesterov's.
        weight_decay: not negative; decoupled.
        decay_mask: which parameters decay, by their paths; all unless given.
        matrices: which arrays with two axes are treated so, by their paths; all unless given. Leave
            out embeddings and the last layer.
        other: Adam's learning rate as a share of this one.

    Raises:
        ArgumentError: if a number is out of range.

    Source: Jordan et al. (2024), "Muon: An optimizer for hidden layers in neural networks",
    https://kellerjordan.github.io/posts/muon.

    >>> import numpy as np
    >>> from pullback import optim
    >>> optimizer, params = optim.muon(1.0), np.zeros((2, 2))
    >>> moved, _ = optimizer.update(np.diag([100.0, 1.0]), optimizer.init(params), params)
    >>> bool(np.all(np.abs(np.diag(moved) + 1) < 0.35))
    True
    """
    momentum, other = number("momentum", momentum, 0, 1), number("other", other, 0, 1e300)

    def is_matrix(x: Any, path: str) -> bool:
        return np.ndim(x) == 2 and (matrices is None or matrices(path))

    def start(x: Any) -> tuple[Any, Any]:
        return np.zeros_like(x), np.zeros_like(x)

    def move(x: Any, grad: Any, kept: Any, step: Any, rate: Any, path: str) -> Any:
        mean, squares = kept
        if not is_matrix(x, path):
            mean, squares, direction = adam_direction(grad, mean, squares, step, (0.9, 0.999, 1e-8))
            return x - rate * other * direction, (mean, squares)
        mean = momentum * mean + (1 - momentum) * grad
        ahead = momentum * mean + (1 - momentum) * grad
        n_in, n_out = np.shape(x)
        size = rate * max(1, n_out / n_in) ** 0.5
        return x - size * orthogonalized(ahead), (mean, squares)

    return leafwise(
        MuonState, start, move, learning_rate, weight_decay=weight_decay, decay_mask=decay_mask
    )


def orthogonalized(x: Any) -> Any:
    """A matrix with the singular vectors of ``x`` and singular values near 1.

    Five rounds of ``a * y + (b * z + c * z @ z) @ y`` with ``z = y @ y.T``, from ``x`` divided by
    its norm; values that are less than about 1e-3 of it stay below 1.

    >>> import numpy as np
    >>> from pullback.optim.muon import orthogonalized
    >>> values = np.linalg.svd(orthogonalized(np.diag([5.0, 0.5, 0.05])))[1]
    >>> bool(np.all((values > 0.65) & (values < 1.25)))
    True
    """
    is_tall = np.shape(x)[0] > np.shape(x)[1]
    y = np.swapaxes(x, 0, 1) if is_tall else x
    y = y / np.maximum(np.sqrt(np.sum(y * y)), 1e-7)
    a, b, c = POLYNOMIAL
    for _ in range(ROUNDS):
        z = y @ np.swapaxes(y, 0, 1)
        y = a * y + (b * z + c * (z @ z)) @ y
    return np.swapaxes(y, 0, 1) if is_tall else y

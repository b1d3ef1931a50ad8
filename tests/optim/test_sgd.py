"""Gradient descent against its solution on a quadratic, and tables computed by hand."""

import numpy as np
import pytest

from pullback import optim
from pullback.errors import ArgumentError


def steps(optimizer: optim.Optimizer, grads: list[float], start: float = 0.0) -> list[float]:
    x, state, path = np.array(start), optimizer.init(np.array(start)), []
    for grad in grads:
        x, state = optimizer.update(np.array(grad), state, x)
        path.append(float(x))
    return path


def test_plain_descent_contracts_a_parabola() -> None:
    optimizer = optim.sgd(0.1)
    x = np.array([5.0])
    for _ in range(20):
        x, _ = optimizer.update(x, optimizer.init(x), x)  # the gradient of x**2 / 2
    assert x[0] == pytest.approx(5 * 0.9**20)


def test_momentum_by_hand() -> None:
    # Velocities 1, 2.5, 1.25; steps of half of them.
    assert steps(optim.sgd(0.5, 0.5), [1, 2, 0]) == [-0.5, -1.75, -2.375]


def test_nesterov_by_hand() -> None:
    # Velocities 1, 2.5, 1.25; directions 1.5, 3.25, 0.625.
    assert steps(optim.sgd(0.5, 0.5, nesterov=True), [1, 2, 0]) == [-0.75, -2.375, -2.6875]


def test_weight_decay_shrinks_without_a_gradient() -> None:
    path = steps(optim.sgd(0.5, weight_decay=0.5), [0, 0], start=16.0)
    assert path == [12.0, 9.0]


def test_momentum_converges_at_the_rate_of_polyak() -> None:
    """At the critical momentum both roots of the recurrence are equal: |x| <= C k r**k."""
    curvature, rate = 1.0, 0.04
    root = 1 - (rate * curvature) ** 0.5
    optimizer = optim.sgd(rate, root**2)
    x = np.array([1.0])
    state = optimizer.init(x)
    for _ in range(60):
        x, state = optimizer.update(curvature * x, state, x)
    # x_k = (1 + k (1 - r)) r**k solves x_{k+1} = 2 r x_k - r**2 x_{k-1} with x_1 = (1 - a) x_0.
    assert x[0] == pytest.approx((1 + 60 * (0.96 / root - 1)) * root**60, rel=1e-9)


def test_nesterov_needs_momentum() -> None:
    with pytest.raises(ArgumentError, match="nesterov=True without momentum"):
        optim.sgd(0.1, nesterov=True)
    with pytest.raises(ArgumentError, match="learning_rate is -1"):
        optim.sgd(-1)

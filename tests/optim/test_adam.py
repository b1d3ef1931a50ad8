"""Adam against steps computed with rational arithmetic, and its known invariances."""

from fractions import Fraction

import numpy as np
import pytest

from pullback import optim
from pullback.errors import ArgumentError

GRADS = [3, -1, 4, 1, -5]


def path(optimizer: optim.Optimizer, grads: list[float]) -> list[float]:
    x, state, points = np.zeros(1), optimizer.init(np.zeros(1)), []
    for grad in grads:
        x, state = optimizer.update(np.array([float(grad)]), state, x)
        points.append(float(x[0]))
    return points


def test_steps_are_ratios_of_weighted_means() -> None:
    """Bias correction makes each moment the weighted mean with weights b**age, summed directly."""
    b1, b2 = Fraction(9, 10), Fraction(99, 100)
    expected, x = [], 0.0
    for n in range(1, len(GRADS) + 1):
        ages = range(n - 1, -1, -1)
        mean = sum(b1**age * grad for age, grad in zip(ages, GRADS, strict=False))
        square = sum(b2**age * grad**2 for age, grad in zip(ages, GRADS, strict=False))
        mean /= sum(b1**age for age in ages)
        square /= sum(b2**age for age in ages)
        x -= 0.1 * float(mean) / float(square) ** 0.5
        expected.append(x)
    assert path(optim.adam(0.1, 0.9, 0.99, eps=0.0), GRADS) == pytest.approx(expected, rel=1e-13)


def test_the_scale_of_the_gradient_does_not_matter() -> None:
    optimizer = optim.adam(0.1, eps=0.0)
    large = path(optimizer, [1e6 * grad for grad in GRADS])
    assert path(optimizer, GRADS) == pytest.approx(large, rel=1e-12)


def test_a_constant_gradient_moves_by_the_learning_rate() -> None:
    assert path(optim.adam(0.01), [7] * 50)[-1] == pytest.approx(-0.5, rel=1e-6)


def test_eps_damps_small_gradients() -> None:
    # The first step is rate * g / (|g| + eps).
    assert path(optim.adam(1.0, eps=3.0), [1.0])[0] == pytest.approx(-0.25)


def test_the_number_of_steps_is_counted() -> None:
    optimizer = optim.adam()
    state = optimizer.init(np.zeros(1))
    for _ in range(3):
        _, state = optimizer.update(np.ones(1), state, np.zeros(1))
    assert state.step == 3


def test_decays_below_one() -> None:
    with pytest.raises(ArgumentError, match=r"b2 is 1\.0"):
        optim.adam(b2=1.0)

"""What every optimizer must do: keep dtypes and structure, change nothing in place, descend."""

import math
from collections.abc import Callable

import numpy as np
import pytest

import pullback as pb
from pullback import optim, tree
from pullback.errors import ArgumentError
from pullback.optim.base import number, zeros_like

OPTIMIZERS = {
    "sgd": lambda: optim.sgd(0.1),
    "momentum": lambda: optim.sgd(0.05, 0.9),
    "nesterov": lambda: optim.sgd(0.05, 0.9, nesterov=True),
    "decay": lambda: optim.sgd(0.1, weight_decay=1e-3),
    "adam": lambda: optim.adam(0.05),
}
Make = Callable[[], optim.Optimizer]
every_optimizer = pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)


@every_optimizer
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtypes_and_structure_stay(make: Make, dtype: type) -> None:
    optimizer = make()
    params = {"w": np.ones((2, 3), dtype), "layers": [np.zeros((), dtype), None]}
    state = optimizer.init(params)
    grads = tree.map(np.ones_like, params)
    for _ in range(2):
        new, state = optimizer.update(grads, state, params)
        assert tree.flatten(new)[1] == tree.flatten(params)[1]
        assert all(leaf.dtype == dtype for leaf in tree.leaves(new))
        assert {leaf.dtype for leaf in tree.leaves(state)} <= {np.dtype(dtype), np.dtype(np.int64)}
    # A second call starts from the same first state: nothing was changed in place.
    assert params["w"].tolist() == [[1.0] * 3] * 2
    assert grads["w"].tolist() == [[1.0] * 3] * 2


@every_optimizer
def test_a_least_squares_problem_is_solved(make: Make, rng: np.random.Generator) -> None:
    a, b = rng.normal(size=(20, 3)), rng.normal(size=20)
    optimizer = make()
    x = np.zeros(3)
    state = optimizer.init(x)
    gradient = pb.grad(lambda x: np.mean((a @ x - b) ** 2) / 2)
    for _ in range(600):
        x, state = optimizer.update(gradient(x), state, x)
    np.testing.assert_allclose(x, np.linalg.lstsq(a, b)[0], atol=2e-3)


@every_optimizer
def test_a_step_is_differentiable(make: Make) -> None:
    """A gradient through three steps of training agrees with differences."""
    optimizer = make()

    def after_training(start: np.ndarray) -> np.ndarray:
        x, state = start, optimizer.init(np.ones(2))
        for _ in range(3):
            x, state = optimizer.update(pb.grad(lambda x: np.sum(x**4))(x), state, x)
        return np.sum(x * np.array([1.0, 2.0]))

    start, h = np.array([0.7, -0.4]), 1e-5
    differences = [
        (after_training(start + h * e) - after_training(start - h * e)) / (2 * h) for e in np.eye(2)
    ]
    np.testing.assert_allclose(pb.grad(after_training)(start), differences, rtol=1e-6, atol=1e-8)


@every_optimizer
def test_a_gradient_of_another_structure_is_refused(make: Make) -> None:
    optimizer = make()
    params = {"w": np.ones(2)}
    with pytest.raises(ArgumentError, match="different structures"):
        optimizer.update({"v": np.ones(2)}, optimizer.init(params), params)


def test_zeros_like() -> None:
    zeros = zeros_like({"a": np.ones((2, 1), np.float32)})
    assert zeros["a"].tolist() == [[0.0], [0.0]]
    assert zeros["a"].dtype == np.float32


@pytest.mark.parametrize("value", [-1.0, 1.0, math.nan, math.inf])
def test_numbers_out_of_range_are_named(value: float) -> None:
    with pytest.raises(ArgumentError, match=rf"momentum is {value}\n.*at least 0 and below 1"):
        number("momentum", value, 0, 1)
    assert type(number("momentum", np.float64(0.5), 0, 1)) is float

"""Accumulation equals the joined batch; the shell equals the pure functions."""

from typing import Any

import numpy as np
import pytest

import pullback as pb
from pullback import optim
from pullback.errors import ArgumentError


def test_accumulated_steps_are_steps_with_the_mean(rng: Any) -> None:
    grads = rng.normal(size=(6, 4))
    optimizer, plain = optim.accumulated(optim.adam(0.1), 3), optim.adam(0.1)
    params = expected = np.ones(4)
    state, plain_state = optimizer.init(params), plain.init(params)
    step = pb.compile(optimizer.update)
    for grad in grads:
        params, state = step(grad, state, params, 0.2)
    for i in (0, 3):
        mean = grads[i : i + 3].mean(axis=0)
        expected, plain_state = plain.update(mean, plain_state, expected, 0.2)
    np.testing.assert_allclose(params, expected, rtol=1e-12)
    with pytest.raises(ArgumentError, match="every is 0"):
        optim.accumulated(plain, 0)


def test_the_average_of_a_constant_is_the_constant_and_of_a_jump_decays() -> None:
    average = np.array([1.0])
    for _ in range(5):
        average = optim.moved_average(average, np.array([0.0]), 0.5)
    assert average == 1 / 32


def test_the_shell_takes_the_steps_of_the_pure_functions(rng: Any) -> None:
    params, grad = {"w": rng.normal(size=3)}, {"w": rng.normal(size=3)}
    shell, optimizer = optim.Stateful(optim.adam(0.1), params), optim.adam(0.1)
    state = optimizer.init(params)
    for rate in (None, 0.5):
        shell.step(grad, rate)
        rates = () if rate is None else (rate,)
        params, state = optimizer.update(grad, state, params, *rates)
    np.testing.assert_array_equal(shell.params["w"], params["w"])

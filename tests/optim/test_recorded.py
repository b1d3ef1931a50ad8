"""Every optimizer and schedule against the path that PyTorch's takes, eager and compiled."""

from typing import Any

import numpy as np
import pytest
from tests.reference import recorded

import pullback as pb
from pullback import optim
from pullback.errors import ArgumentError

OPTIMIZERS = {
    "sgd": optim.sgd(0.1, 0.9, weight_decay=0.05),
    "nesterov": optim.sgd(0.1, 0.9, nesterov=True),
    "adam": optim.adam(0.1),
    "adamw": optim.adamw(0.1, weight_decay=0.3),
    "rmsprop": optim.rmsprop(0.05, 0.9, momentum=0.5),
    "rmsprop_centered": optim.rmsprop(0.05, 0.9, centered=True),
    "adagrad": optim.adagrad(0.2, 0.1),
    "adafactor": optim.adafactor(0.1, weight_decay=0.2),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_path_is_that_of_pytorch(name: str) -> None:
    values, optimizer = recorded("optimizer"), OPTIMIZERS[name]
    params = {"w": values["start"]}
    state = optimizer.init(params)
    for gradient, expected in zip(values["gradients"], values[name], strict=True):
        params, state = optimizer.update({"w": gradient}, state, params)
        np.testing.assert_allclose(params["w"], expected, rtol=1e-10)
    assert state.step == len(values["gradients"])


def test_muon_takes_the_path_of_pytorch_which_rounds_to_8_bits() -> None:
    values, optimizer = recorded("optimizer"), optim.muon(0.1, weight_decay=0.2)
    params = values["start"].T
    state = optimizer.init(params)
    for gradient, expected in zip(values["gradients"], values["muon"], strict=True):
        params, state = optimizer.update(gradient.T, state, params)
        np.testing.assert_allclose(params.T, expected, atol=0.004)


def test_muon_leaves_vectors_and_what_is_masked_to_adam(rng: Any) -> None:
    params = {"head": rng.normal(size=(3, 2)), "bias": rng.normal(size=2)}
    grads = {"head": rng.normal(size=(3, 2)), "bias": rng.normal(size=2)}
    optimizer = optim.muon(0.1, matrices=lambda path: "head" not in path, other=0.5)
    adam = optim.adam(0.05)
    ours, _ = optimizer.update(grads, optimizer.init(params), params)
    theirs, _ = adam.update(grads, adam.init(params), params)
    for name in params:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-12)


def test_the_rate_is_an_argument_and_never_compiles_again(rng: Any) -> None:
    for optimizer in (optim.adamw(), optim.adafactor(), optim.muon(), optim.lion(), optim.sgd(1)):
        params = {"w": rng.normal(size=(3, 2)).astype(np.float32)}
        grads = {"w": rng.normal(size=(3, 2)).astype(np.float32)}
        step = pb.compile(lambda g, s, p, rate, update=optimizer.update: update(g, s, p, rate))
        ours = eager = params
        state = eager_state = optimizer.init(params)
        for rate in (0.1, 0.05, 0.025):
            ours, state = step(grads, state, ours, rate)
            eager, eager_state = optimizer.update(grads, eager_state, eager, rate)
            assert ours["w"].dtype == np.float32
            np.testing.assert_allclose(ours["w"], eager["w"], rtol=2e-5, atol=1e-6)
        assert len(step.signatures) == 1


def test_a_schedule_can_be_the_rate() -> None:
    optimizer = optim.sgd(optim.exponential(1.0, 0.5))
    params, state = np.array([0.0]), optimizer.init(np.array([0.0]))
    for _ in range(3):
        params, state = optimizer.update(np.array([1.0]), state, params)
    assert params == -1.75


@pytest.mark.parametrize(
    ("name", "schedule"),
    [
        ("cosine", optim.cosine(1.0, 10, floor=0.01)),
        ("one_cycle", optim.one_cycle(1.0, 12)),
        ("steps", optim.step_decay(1.0, 3, 0.5)),
        ("exponential", optim.exponential(1.0, 0.8)),
    ],
)
def test_schedules_are_those_of_pytorch(name: str, schedule: Any) -> None:
    expected = recorded("schedule")[name]
    np.testing.assert_allclose([schedule(i) for i in range(11)], expected, rtol=1e-12)
    np.testing.assert_allclose(schedule(np.arange(11)), expected, rtol=1e-12)


def test_the_plateau_is_that_of_pytorch() -> None:
    values, schedule, rates = recorded("schedule"), optim.Plateau(1.0, 0.5, 1), []
    for value in values["plateau_values"]:
        schedule = schedule.update(value)
        rates.append(float(schedule.rate))
    assert rates == values["plateau"].tolist()


def test_arguments_in_the_wrong_order_are_named() -> None:
    optimizer, params = optim.adam(), {"w": np.ones(2)}
    with pytest.raises(ArgumentError, match=r"the state is a dict, not a AdamState\n(.|\n)*order"):
        optimizer.update(optimizer.init(params), params, params)
    with pytest.raises(ArgumentError, match="different structures"):
        optimizer.update({"v": np.ones(2)}, optimizer.init(params), params)
    for make in (
        lambda: optim.rmsprop(decay=1.0),
        lambda: optim.adamw(weight_decay=-1.0),
        lambda: optim.cosine(1.0, 0),
        lambda: optim.lion(b1=2),
    ):
        with pytest.raises(ArgumentError, match="choose a"):
            make()

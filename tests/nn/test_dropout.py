"""Dropout: the share that is dropped, the mean that stays, draws that differ and repeat."""

from typing import Any

import numpy as np
import pytest

import pullback as pb
from pullback import nn
from pullback.errors import ArgumentError


def test_a_share_is_dropped_and_the_mean_stays() -> None:
    y = nn.dropout(np.ones((200, 300)), 0.3, np.random.default_rng(0))
    assert set(np.unique(y).round(12)) == {0.0, round(1 / 0.7, 12)}
    # Standard deviation of the share: sqrt(0.3 * 0.7 / 60000) = 0.0019.
    assert abs(np.mean(y == 0) - 0.3) < 0.008
    assert abs(y.mean() - 1) < 0.012


def test_the_gradient_goes_where_the_value_went(rng: Any) -> None:
    x = rng.normal(size=50)
    y = nn.dropout(x, 0.5, pb.random.default_rng(3))
    grad = pb.grad(lambda x: np.sum(nn.dropout(x, 0.5, pb.random.default_rng(3))))(x)
    np.testing.assert_array_equal(grad, np.where(y == 0, 0, 2))


def test_a_compiled_step_draws_new_noise_at_every_call_and_the_same_as_eager(rng: Any) -> None:
    net = nn.Sequential(nn.Linear.init(rng, 3, 20, dtype=np.float32), nn.Dropout(0.5))
    x = np.ones((4, 3), np.float32)

    def loss(net: Any, x: Any, draws: Any) -> Any:
        y, net = net.train(x, draws)
        return np.sum(y**2), net

    step = pb.value_and_grad(loss, has_aux=True)
    compiled, ours, eager = pb.compile(step), pb.random.default_rng(1), pb.random.default_rng(1)
    values = []
    for _ in range(3):
        (value, _), grads = compiled(net, x, ours)
        (expected, _), expected_grads = step(net, x, eager)
        np.testing.assert_allclose(value, expected, rtol=1e-5)
        np.testing.assert_allclose(
            grads.layers[0].weight, expected_grads.layers[0].weight, rtol=1e-4
        )
        values.append(float(value))
    assert len(set(values)) == 3
    assert net(x).shape == (4, 20)


def test_rates_and_missing_generators_are_refused() -> None:
    with pytest.raises(ArgumentError, match="the rate is 1"):
        nn.Dropout(1.0)
    with pytest.raises(ArgumentError, match=r"net.train\(x, rng\)"):
        nn.Sequential(nn.Dropout(0.1)).train(np.ones(2))
    assert nn.dropout(np.ones(2), 0.0, None).tolist() == [1, 1]

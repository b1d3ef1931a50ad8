"""Transformer blocks against PyTorch; the language model sees no later token, and learns."""

from typing import Any

import numpy as np
import pytest
from tests.reference import check_layer

import pullback as pb
from pullback import nn, optim
from pullback.errors import ArgumentError, ShapeError


@pytest.mark.parametrize("norm_first", [True, False])
def test_values_and_gradients_are_those_of_pytorch(norm_first: bool, rng: Any) -> None:
    block = nn.TransformerBlock.init(rng, 4, 2, wide=8, norm_first=norm_first)
    check_layer(f"block_{norm_first}", block)


def test_no_token_sees_a_later_one(rng: Any) -> None:
    model = nn.CausalLM.init(rng, 7, 6, 8, layers=2)
    ids = rng.integers(0, 7, size=(2, 6))
    changed = ids.copy()
    changed[:, 4:] = (changed[:, 4:] + 1) % 7
    a, b = model(ids), model(changed)
    np.testing.assert_array_equal(a[:, :4], b[:, :4])
    assert np.all(a[:, 4:] != b[:, 4:])


def test_a_cycle_is_learned_and_continued(rng: Any) -> None:
    model = nn.CausalLM.init(rng, 5, 10, 16, layers=1, rate=0.1, dtype=np.float32)
    ids = np.arange(11) % 5 + np.zeros((5, 1), int) + np.arange(5)[:, None]
    ids %= 5
    optimizer = optim.adam(1e-2)

    def step(model: Any, state: Any, x: Any, y: Any, draws: Any) -> Any:
        def loss(model: Any) -> Any:
            scores, model = model.train(x, draws)
            return nn.softmax_cross_entropy(scores, y), model

        (value, _), grads = pb.value_and_grad(loss, has_aux=True)(model)
        return *optimizer.update(grads, state, model), value

    state, draws, compiled = optimizer.init(model), pb.random.default_rng(0), pb.compile(step)
    for _ in range(60):
        model, state, _ = compiled(model, state, ids[:, :-1], ids[:, 1:], draws)
    text = model.generate(np.array([[3, 4]]), 12, np.random.default_rng(0), temperature=0)
    assert text.tolist() == [[(3 + i) % 5 for i in range(14)]]


def test_draws_follow_the_softmax(rng: Any) -> None:
    model = nn.CausalLM.init(rng, 3, 4, 4, layers=1)
    model.tokens.weight = np.log(np.array([[0.5] * 4, [0.3] * 4, [0.2] * 4]))
    ids = np.zeros((20_000, 1), int)
    expected = nn.softmax(model(ids[:1])[0, -1])
    drawn = model.generate(ids, 1, np.random.default_rng(0))[:, 1]
    shares = np.bincount(drawn, minlength=3) / len(ids)
    np.testing.assert_allclose(shares, expected, atol=0.015)


def test_wrong_inputs_are_refused(rng: Any) -> None:
    model = nn.CausalLM.init(rng, 5, 4, 4)
    with pytest.raises(ShapeError, match="from 1 to 4"):
        model(np.zeros((1, 5), int))
    with pytest.raises(ArgumentError, match="temperature is -1"):
        model.generate(np.zeros((1, 1), int), 1, rng, temperature=-1)

"""Recurrent layers: PyTorch's values and gradients, plain loops, states that go on."""

from typing import Any

import numpy as np
import pytest
from tests.reference import check_layer

import pullback as pb
from pullback import nn
from pullback.errors import ArgumentError, ShapeError

LAYERS = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}


@pytest.mark.parametrize("name", LAYERS)
def test_values_and_gradients_are_those_of_pytorch(name: str, rng: Any) -> None:
    check_layer(name, LAYERS[name].init(rng, 3, 4, num_layers=2, bidirectional=True))


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def test_a_layer_is_a_loop_over_its_cell(rng: Any) -> None:
    layer = nn.LSTM.init(rng, 3, 2)
    (cell,) = layer.cells[0]
    x = rng.normal(size=(4, 5, 3))
    y, (((h_last, c_last),),) = layer.run(x)
    for b in range(4):
        h, c = np.zeros(2), np.zeros(2)
        for t in range(5):
            gates = cell.weight_ih @ x[b, t] + cell.bias_ih + cell.weight_hh @ h + cell.bias_hh
            i, f, g, o = gates.reshape(4, 2)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
            np.testing.assert_allclose(y[b, t], h, rtol=1e-12)
        np.testing.assert_allclose(h_last[b], h, rtol=1e-12)
        np.testing.assert_allclose(c_last[b], c, rtol=1e-12)
    state = None
    for t in range(5):
        state = cell(x[:, t], state)
    np.testing.assert_allclose(state[0], h_last, rtol=1e-12)


@pytest.mark.parametrize("kind", LAYERS.values())
def test_a_run_goes_on_from_its_state(kind: Any, rng: Any) -> None:
    layer = kind.init(rng, 3, 4, num_layers=2, dtype=np.float32)
    x = rng.normal(size=(2, 6, 3)).astype(np.float32)
    first, state = layer.run(x[:, :2])
    second, _ = layer.run(x[:, 2:], state)
    joined = np.concatenate([first, second], axis=1)
    assert joined.dtype == np.float32
    np.testing.assert_allclose(joined, layer(x), rtol=1e-5, atol=1e-7)


def test_compiled_gradients_are_the_eager_ones(rng: Any) -> None:
    layer, x = nn.GRU.init(rng, 3, 4), rng.normal(size=(2, 5, 3))
    gradient = pb.grad(lambda layer, x: np.sum(np.sin(layer(x))))
    for ours, eager in zip(
        pb.tree.leaves(pb.compile(gradient)(layer, x)),
        pb.tree.leaves(gradient(layer, x)),
        strict=True,
    ):
        np.testing.assert_allclose(ours, eager, rtol=1e-10, atol=1e-13)


def test_wrong_sizes_and_shapes_are_refused(rng: Any) -> None:
    layer = nn.RNN.init(rng, 3, 4)
    with pytest.raises(ShapeError, match=r"\(5, 3\)\n(.|\n)*x\[None\]"):
        layer(np.ones((5, 3)))
    with pytest.raises(ShapeError, match="last axis should be 3"):
        layer(np.ones((1, 5, 2)))
    with pytest.raises(ArgumentError, match="0 hidden units"):
        nn.LSTM.init(rng, 3, 0)
    with pytest.raises(ArgumentError, match="0 layers"):
        nn.LSTM.init(rng, 3, 2, num_layers=0)

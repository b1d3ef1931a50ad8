"""Lengths and clipped sums of per-example gradients against gradients formed one by one."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

import pullback as pb
from pullback import nn
from pullback.errors import ArgumentError, ShapeError

RNG = np.random.default_rng(0)


def formed(loss, params, *batch):
    """Norms, and the gradients themselves, example by example."""
    grads = [pb.grad(loss)(params, *example) for example in zip(*batch, strict=True)]
    norms = [np.sqrt(sum(np.sum(g * g) for g in pb.tree.leaves(grad))) for grad in grads]
    return np.array(norms), grads


def perceptron(params, x, y):
    hidden = np.tanh(x @ params["W"] + params["b"])
    return np.sum((hidden @ params["V"] - y) ** 2)


PARAMS = {"W": RNG.normal(size=(3, 5)), "b": RNG.normal(size=5), "V": RNG.normal(size=(5, 2))}
X, Y = RNG.normal(size=(7, 3)), RNG.normal(size=(7, 2))


def tied(w, x):  # twice as a factor, and once on its own
    return np.sum(np.tanh(np.tanh(x @ w) @ w)) + np.sum(w * w) * x[0]


def branching(w, x):
    return np.sum(np.sin(x @ w)) if np.sum(w) > 0 else np.sum(np.cos(x @ w))


@pytest.mark.parametrize(
    ("loss", "params", "batch"),
    [
        (perceptron, PARAMS, (X, Y)),
        (perceptron, PARAMS, (RNG.normal(size=(4, 2, 3)), RNG.normal(size=(4, 2, 2)))),
        (perceptron, PARAMS, (RNG.normal(size=(4, 30, 3)), RNG.normal(size=(4, 30, 2)))),
        (tied, RNG.normal(size=(3, 3)), (X,)),
        (branching, RNG.normal(size=(3, 3)), (X,)),
        (lambda p, x: np.sum((p["a"] * x) @ np.ones(3)), {"a": np.ones(3), "b": X}, (X,)),
        (lambda w, x: np.sum(x), np.ones(3), (X,)),
    ],
)
def test_norms_and_clipped_sums(loss, params, batch):
    norms, grads = formed(loss, params, *batch)
    assert_allclose(pb.optim.example_norms(loss, params, *batch), norms, rtol=1e-12)
    most = float(np.median(norms)) + 1e-9
    total, found = pb.optim.clipped_gradient(loss, params, *batch, max_norm=most)
    assert_allclose(found, norms, rtol=1e-12)
    clipped = [pb.optim.clip_by_global_norm(grad, most) for grad in grads]
    expected = pb.tree.map(lambda *parts: sum(parts), *clipped)
    pb.tree.map(lambda a, b: assert_allclose(a, b, rtol=1e-10, atol=1e-12), total, expected)


def test_a_network_of_layers_compiled():
    network = nn.mlp(np.random.default_rng(1), [4, 6, 3])
    x, labels = RNG.normal(size=(5, 4)), np.array([0, 2, 1, 1, 0])

    def loss(network, x, label):
        scores = network(x)
        return np.log(np.sum(np.exp(scores))) - scores[label]

    norms, _ = formed(loss, network, x, labels)
    compiled = pb.compile(lambda network, x: pb.optim.example_norms(loss, network, x, labels))
    assert_allclose(compiled(network, x), norms, rtol=1e-12)


def test_no_gradient_of_the_size_of_a_weight_is_formed_for_each_example():
    sizes = []

    def loss(w, x):
        return np.sum(np.tanh(x @ w))

    original = np.matmul
    w, x = np.ones((50, 40)), RNG.normal(size=(8, 50))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(np, "matmul", lambda *a, **k: note(sizes, original(*a, **k)))
        pb.optim.example_norms(loss, w, x)
    assert sizes
    assert max(sizes) <= 8 * 50


def note(sizes, y):
    sizes.append(np.size(y))
    return y


def test_mistakes_are_named():
    with pytest.raises(ShapeError, match="one scalar"):
        pb.optim.example_norms(lambda w, x: x @ w, np.ones((3, 2)), X)
    with pytest.raises(ArgumentError, match="max_norm"):
        pb.optim.clipped_gradient(perceptron, PARAMS, X, Y, max_norm=-1.0)

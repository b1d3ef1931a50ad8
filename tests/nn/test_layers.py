"""Layers: values by hand, gradients against differences, refusals."""

import dataclasses

import numpy as np
import pytest

import pullback as pb
from pullback import nn, tree
from pullback.errors import ArgumentError, ShapeError


def test_a_network_by_hand() -> None:
    net = nn.Sequential(
        nn.Linear(np.array([[1.0, -1.0], [2.0, 0.0]]), np.array([0.5, 0.0])),
        nn.relu,
        nn.Linear(np.array([[2.0], [10.0]]), np.array([-1.0])),
    )
    # Row 1: (1.5, -1) -> (1.5, 0) -> 2.  Row 2: (-1.5, 2) -> (0, 2) -> 19.
    assert net(np.array([[1.0, 0.0], [-2.0, 0.0]])).tolist() == [[2.0], [19.0]]


def test_the_gradient_is_a_network_and_agrees_with_differences(rng: np.random.Generator) -> None:
    net = nn.mlp(rng, (3, 4, 2), activation=nn.tanh)
    x = rng.normal(size=(5, 3))

    def loss(net: nn.Sequential) -> float:
        return np.sum(net(x) ** 2)

    grads = pb.grad(loss)(net)
    assert isinstance(grads, nn.Sequential)
    vector, unravel = tree.ravel(net)
    h = 1e-6
    differences = [
        (loss(unravel(vector + h * e)) - loss(unravel(vector - h * e))) / (2 * h)
        for e in np.eye(len(vector))
    ]
    np.testing.assert_allclose(tree.ravel(grads)[0], differences, rtol=1e-6, atol=1e-7)


def test_examples_are_independent(rng: np.random.Generator) -> None:
    net = nn.mlp(rng, (3, 8, 2), activation=nn.gelu)
    x = rng.normal(size=(4, 3))
    np.testing.assert_allclose(pb.vmap(net)(x), net(x), rtol=1e-13)
    assert net(x.reshape(2, 2, 3)).shape == (2, 2, 2)


def test_mlp_has_the_widths_and_dtype_asked_for(rng: np.random.Generator) -> None:
    net = nn.mlp(rng, (3, 7, 5, 2), activation=nn.silu, dtype=np.float32)
    shapes = [leaf.shape for leaf in tree.leaves(net)]
    assert shapes == [(3, 7), (7,), (7, 5), (5,), (5, 2), (2,)]
    assert {leaf.dtype for leaf in tree.leaves(net)} == {np.dtype(np.float32)}
    assert all(not leaf.any() for leaf in tree.leaves(net) if leaf.ndim == 1)
    assert net(np.ones((1, 3), np.float32)).dtype == np.float32


def test_a_wrong_width_is_named(rng: np.random.Generator) -> None:
    with pytest.raises(ShapeError, match=r"\(4, 2\), its last axis should be 3"):
        nn.Linear.init(rng, 3, 5)(np.ones((4, 2)))
    with pytest.raises(ShapeError, match="its last axis should be 3"):
        nn.Linear.init(rng, 3, 5)(np.float64(1.0))
    with pytest.raises(ArgumentError, match="1 widths"):
        nn.mlp(rng, (3,))


def test_a_dataclass_that_is_not_registered_is_refused() -> None:
    @dataclasses.dataclass
    class Scale:
        factor: np.ndarray

        def __call__(self, x: np.ndarray) -> np.ndarray:
            return self.factor * x

    with pytest.raises(ArgumentError, match=r"pullback\.tree\.dataclass\(Scale\)"):
        nn.Sequential(Scale(np.ones(2)))
    tree.dataclass(Scale)
    assert tree.paths(nn.Sequential(Scale(np.ones(2))), "net") == ["net.layers[0].factor"]
    with pytest.raises(ArgumentError, match="int is neither"):
        nn.Sequential(3)  # type: ignore[arg-type]

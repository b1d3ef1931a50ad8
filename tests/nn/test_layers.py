"""Layers: values by hand, gradients against differences, refusals."""

import dataclasses

import numpy as np
import pytest

import pullback as pb
from pullback import nn, tree
from pullback.errors import ArgumentError, DTypeError, ShapeError


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


def test_an_embedding_adds_up_the_gradients_of_a_row_that_is_read_twice(
    rng: np.random.Generator,
) -> None:
    layer = nn.Embedding.init(rng, 4, 3)
    ids, weights = np.array([[2, 0], [2, 1]]), rng.normal(size=(2, 2, 3))
    grad = pb.grad(lambda layer: np.sum(layer(ids) * weights))(layer).weight
    np.testing.assert_allclose(grad[2], weights[0, 0] + weights[1, 0])
    np.testing.assert_allclose(grad[3], 0)
    with pytest.raises(ArgumentError, match=r"no row 4 in 4\n(.|\n)*at \[1, 0\]"):
        layer(np.array([[0, 1], [4, 2]]))
    with pytest.raises(DTypeError, match="the input is float64"):
        layer(np.array([1.0]))


def test_generators_reach_layers_inside_of_networks() -> None:
    net = nn.Sequential(nn.Sequential(nn.BatchNorm.init(2), nn.Dropout(0.5)), nn.Dropout(0.5))
    y, moved = net.train(np.array([[1.0, 2.0], [3.0, 6.0]]), pb.random.default_rng(0))
    assert np.any(y == 0)
    np.testing.assert_allclose(moved.layers[0].layers[0].mean, [0.2, 0.4])


def test_statistics_are_taken_from_another_network() -> None:
    net = nn.Sequential(nn.BatchNorm.init(1), nn.Residual(nn.BatchNorm.init(1)))
    _, trained = net.train(np.array([[1.0], [3.0]]))
    decayed = tree.map(lambda leaf: 0.5 * leaf, trained)
    kept = nn.with_statistics_of(decayed, trained)
    for layer, source in (
        (kept.layers[0], trained.layers[0]),
        (kept.layers[1].branch, trained.layers[1].branch),
    ):
        assert layer.scale == 0.5
        assert (layer.mean, layer.variance) == (source.mean, source.variance)

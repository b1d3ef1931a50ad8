"""Normalization: what comes out has mean 0 and variance 1; running statistics; derivatives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.reference import check_layer, recorded

import pullback as pb
from pullback import nn
from pullback.errors import ArgumentError, ShapeError
from pullback.testing.grads import check_grads


@pytest.mark.parametrize("shape", [(6, 3), (4, 3, 5), (2, 3, 4, 5)])
def test_a_channel_has_the_shift_as_mean_and_the_scale_as_deviation(shape: Any, rng: Any) -> None:
    x = rng.normal(3, 2, size=shape)
    scale, shift = np.array([1.0, 2.0, -3.0]), np.array([0.0, 5.0, 7.0])
    y = nn.batch_norm(x, scale, shift, *nn.batch_statistics(x), eps=0)
    for c in range(3):
        np.testing.assert_allclose(y[:, c].mean(), shift[c], atol=1e-12)
        np.testing.assert_allclose(y[:, c].std(), abs(scale[c]), rtol=1e-12)
        np.testing.assert_allclose(nn.batch_statistics(x)[0][c], x[:, c].mean(), rtol=1e-12)
        np.testing.assert_allclose(nn.batch_statistics(x)[1][c], x[:, c].var(), rtol=1e-12)


def test_the_gradient_flows_through_the_statistics(rng: Any) -> None:
    x, scale, shift = rng.normal(size=(4, 2, 3)), rng.normal(size=2), rng.normal(size=2)

    def f(x: Any, scale: Any, shift: Any) -> Any:
        return np.sum(np.sin(nn.batch_norm(x, scale, shift, *nn.batch_statistics(x))))

    check_grads(f, (x, scale, shift))
    compiled = pb.compile(pb.grad(f))(x, scale, shift)
    np.testing.assert_allclose(compiled, pb.grad(f)(x, scale, shift), rtol=1e-11, atol=1e-13)


def test_training_moves_the_running_statistics_of_a_new_layer(rng: Any) -> None:
    first = nn.BatchNorm.init(2, momentum=0.5, eps=0.0, dtype=np.float32)
    x = rng.normal(4, 3, size=(500, 2)).astype(np.float32)
    layer = first
    for _ in range(20):
        y, layer = layer.train(x)
    assert y.dtype == layer.mean.dtype == np.float32
    np.testing.assert_allclose(layer.mean, x.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(layer.variance, x.var(axis=0), rtol=1e-5)
    np.testing.assert_allclose(layer(x), y, rtol=1e-4, atol=1e-4)
    assert first.mean.tolist() == [0, 0]
    assert first.variance.tolist() == [1, 1]


def test_running_statistics_have_no_gradient(rng: Any) -> None:
    x = rng.normal(size=(5, 2))
    layer = nn.BatchNorm.init(2)
    grads = pb.grad(lambda layer: np.sum(layer(x) ** 2))(layer)
    assert not grads.mean.any()
    assert not grads.variance.any()
    np.testing.assert_allclose(grads.shift, 2 * layer(x).sum(axis=0))

    def loss(layer: Any) -> Any:
        y, moved = layer.train(x)
        return np.sum(y**4), moved

    grads, moved = pb.grad(loss, has_aux=True)(layer)
    assert not grads.mean.any()
    assert not grads.variance.any()
    np.testing.assert_allclose(moved.mean, 0.1 * x.mean(axis=0))


def test_wrong_channels_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"shape \(4, 3\), the scale \(2,\)"):
        nn.BatchNorm.init(2)(np.ones((4, 3)))
    with pytest.raises(ShapeError, match=r"shape \(2,\)"):
        nn.BatchNorm.init(2)(np.ones(2))


def test_layer_norm_treats_each_example_by_itself(rng: Any) -> None:
    x, scale, shift = rng.normal(2, 5, size=(3, 4, 6)), rng.normal(size=6), rng.normal(size=6)
    y = (nn.layer_norm(x, scale, shift, eps=0) - shift) / scale
    np.testing.assert_allclose(y.mean(axis=-1), 0, atol=1e-12)
    np.testing.assert_allclose(y.std(axis=-1), 1, rtol=1e-12)
    check_grads(lambda *args: np.sum(np.sin(nn.layer_norm(*args))), (x, scale, shift))


def test_a_network_trains_the_normalizations_inside_of_it(rng: Any) -> None:
    inner = nn.Sequential(nn.BatchNorm.init(3, momentum=0.0), np.tanh)
    net = nn.Sequential(nn.Linear.init(rng, 2, 3), inner, nn.Linear.init(rng, 3, 1))
    x = rng.normal(2, 3, size=(50, 2))
    y, moved = net.train(x)
    hidden = net.layers[0](x)
    norm = moved.layers[1].layers[0]
    np.testing.assert_allclose(norm.mean, hidden.mean(axis=0))
    np.testing.assert_allclose(norm.variance, hidden.var(axis=0))
    np.testing.assert_allclose(moved(x), y)
    assert not np.allclose(net(x), y)
    assert not net.layers[1].layers[0].mean.any()
    for path, a, b in zip(pb.tree.paths(net), *map(pb.tree.leaves, (net, moved)), strict=True):
        assert a is b or path.endswith(("mean", "variance"))


def test_statistics_converge_while_a_network_learns(rng: Any) -> None:
    net = nn.Sequential(nn.BatchNorm.init(2), nn.Linear.init(rng, 2, 1))
    x = rng.normal(7, 2, size=(200, 2))
    target = x[:, :1] - x[:, 1:]

    def loss(net: Any, x: Any) -> Any:
        y, moved = net.train(x)
        return np.mean((y - target) ** 2), moved

    step = pb.compile(pb.grad(loss, has_aux=True))
    for _ in range(200):
        grads, moved = step(net, x)
        net = pb.tree.map(lambda w, g: w - 0.1 * g, moved, grads)
    np.testing.assert_allclose(net.layers[0].mean, x.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(net.layers[0].variance, x.var(axis=0), rtol=1e-6)
    assert np.mean((net(x) - target) ** 2) < 0.02


@pytest.mark.parametrize(
    ("case", "layer"),
    [
        ("layer_norm", nn.LayerNorm.init(4)),
        ("rms_norm", nn.RMSNorm.init(4)),
        ("group_norm", nn.GroupNorm.init(2, 4)),
    ],
)
def test_layers_have_pytorchs_values_and_gradients(case: str, layer: Any) -> None:
    check_layer(case, layer)


def test_batch_norm_in_training_has_pytorchs_values_and_gradients() -> None:
    moved = check_layer("batch_norm", nn.BatchNorm.init(3), in_training=True)
    after = recorded("batch_norm/after")
    np.testing.assert_allclose(moved.mean, after["running_mean"], rtol=1e-12)
    # PyTorch divides by one value less than there are: 8 of a channel.
    np.testing.assert_allclose((moved.variance - 0.9) * 8 / 7, after["running_var"] - 0.9)


def test_each_group_has_mean_0_and_variance_1(rng: Any) -> None:
    x = rng.normal(3, 2, size=(2, 6, 4, 5))
    y = nn.GroupNorm.init(3, 6, eps=0.0)(x)
    for b in range(2):
        for k in range(3):
            part = y[b, 2 * k : 2 * k + 2]
            np.testing.assert_allclose([part.mean(), part.std()], [0, 1], atol=1e-12)


def test_features_and_groups_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ShapeError, match="last axis should be 4"):
        nn.LayerNorm.init(4)(np.ones((2, 3)))
    with pytest.raises(ShapeError, match="RMSNorm"):
        nn.RMSNorm.init(4)(np.ones(3))
    with pytest.raises(ArgumentError, match="5 channels in 2 groups"):
        nn.GroupNorm.init(2, 5)
    with pytest.raises(ShapeError, match="with 2 groups"):
        nn.group_norm(np.ones((1, 3)), np.ones(3), np.zeros(3), 2)

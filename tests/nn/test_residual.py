"""Residual blocks: both orders from their parts, the scale, statistics of inner layers."""

from typing import Any

import numpy as np
import pytest

import pullback as pb
from pullback import nn
from pullback.errors import ShapeError


def test_the_branch_is_scaled_and_added(rng: Any) -> None:
    x = rng.normal(size=(3, 4))
    linear = nn.Linear.init(rng, 4, 4)
    block = nn.Residual(linear, None, np.array(0.25))
    np.testing.assert_allclose(block(x), x + 0.25 * (x @ linear.weight), rtol=1e-12)
    grads = pb.grad(lambda block: np.sum(block(x)))(block)
    np.testing.assert_allclose(grads.scale, np.sum(x @ linear.weight), rtol=1e-12)


def test_both_orders(rng: Any) -> None:
    x = rng.normal(size=(2, 3, 4, 4))
    post = nn.residual_block(rng, 3, 3)
    assert [type(layer).__name__ for layer in post.layers] == ["Residual", "Activation"]
    assert post(x).min() == 0
    pre = nn.residual_block(rng, 3, 3, preactivation=True, scale=0.0)
    np.testing.assert_array_equal(pre(x), x)
    branch = pre.layers[0].branch
    kinds = [type(layer).__name__ for layer in branch.layers]
    assert kinds == ["BatchNorm", "Activation", "Conv2d"] * 2
    wide = nn.residual_block(rng, 3, 5, stride=2, preactivation=True)
    np.testing.assert_allclose(
        wide(x), wide.layers[0].shortcut(x) + wide.layers[0].branch(x), rtol=1e-12
    )


def test_statistics_of_inner_layers_are_learned(rng: Any) -> None:
    x = rng.normal(3, 2, size=(8, 3, 4, 4))
    block = nn.residual_block(rng, 3, 5, stride=2)
    y, moved = block.train(x)
    assert y.shape == (8, 5, 2, 2)
    old, new = block.layers[0], moved.layers[0]
    for before, after in (
        (old.branch.layers[1], new.branch.layers[1]),
        (old.branch.layers[4], new.branch.layers[4]),
        (old.shortcut.layers[1], new.shortcut.layers[1]),
    ):
        assert not np.any(before.mean)
        assert np.all(after.mean != 0)


def test_a_depthwise_block_has_few_weights(rng: Any) -> None:
    block = nn.depthwise_separable(rng, 4, 6)
    sizes = [layer.weight.size for layer in block.layers if hasattr(layer, "weight")]
    assert sizes == [4 * 9, 4 * 6]
    assert block(np.ones((1, 4, 5, 5))).shape == (1, 6, 5, 5)


def test_shapes_that_do_not_add_are_refused(rng: Any) -> None:
    with pytest.raises(ShapeError, match=r"gives \(2, 3\), the way around it \(2, 4\)"):
        nn.Residual(nn.Linear.init(rng, 4, 3))(np.ones((2, 4)))

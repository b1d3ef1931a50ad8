"""The summary of a network: layers in the order of their calls, sums over all of them."""

from typing import Any

import numpy as np

from pullback import nn, tree


def test_inner_layers_are_listed_with_their_paths(rng: Any) -> None:
    block = nn.TransformerBlock.init(rng, 4, 2)
    net = nn.Sequential(nn.Embedding.init(rng, 5, 4), block, block, np.tanh)
    found = nn.summary(net, np.zeros((3, 6), int))
    paths = [layer.path for layer in found.layers]
    assert paths[:3] == ["layers[0]", "layers[1].norm1", "layers[1].self_attn.query"]
    assert len(paths) == 2 + 2 * 8
    unique = {id(leaf): leaf.size for leaf in tree.leaves(net)}
    assert (
        found.parameters
        == sum(unique.values())
        == 20 + sum(leaf.size for leaf in tree.leaves(block))
    )
    assert found.layers[0].output == "float64[3,6,4]"
    assert found.activation_bytes == sum(layer.activation_bytes for layer in found.layers)
    assert found.layers[0].activation_bytes == 3 * 6 * 4 * 8


def test_flops_of_a_product(rng: Any) -> None:
    found = nn.summary(nn.Linear.init(rng, 10, 5), np.ones((32, 10)))
    assert found.flops == 2 * 32 * 10 * 5 + 32 * 5
    assert str(found).splitlines()[-1].split()[:2] == ["total", "55"]


def test_layers_without_parameters_and_own_signatures_are_listed(rng: Any) -> None:
    net = nn.Sequential(
        nn.residual_block(rng, 3, 4), nn.AdaptiveMeanPool(1), nn.Flatten(), nn.Dropout(0.5)
    )
    found = nn.summary(net, np.ones((2, 3, 8, 8), np.float32))
    kinds = [layer.kind for layer in found.layers]
    assert kinds[-3:] == ["AdaptiveMeanPool", "Flatten", "Dropout"]
    assert kinds.count("Conv2d") == 3

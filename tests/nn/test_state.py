"""PyTorch's names and shapes: files of PyTorch's weights fill networks, others are refused."""

from typing import Any

import numpy as np
import pytest
from tests.reference import check_layer, recorded

from pullback import nn, tree
from pullback.errors import SnapshotError


def test_plain_layers_are_those_of_pytorch(rng: Any) -> None:
    check_layer("linear", nn.Linear.init(rng, 3, 2))
    check_layer("embedding", nn.Embedding.init(rng, 6, 3))
    check_layer("conv2d", nn.Conv2d.init(rng, 4, 6, 3, stride=2, padding=1, groups=2))
    up = nn.ConvTranspose2d.init(
        rng, 4, 6, 3, stride=2, padding=1, output_padding=1, groups=2, dilation=2
    )
    check_layer("conv_transpose2d", up)
    check_layer("conv_transpose1d", nn.ConvTranspose1d.init(rng, 4, 3, 2, stride=3))


def test_a_network_goes_there_and_back(rng: Any) -> None:
    net = nn.Sequential(
        nn.Embedding.init(rng, 5, 4),
        nn.TransformerBlock.init(rng, 4, 2),
        nn.LSTM.init(rng, 4, 3, bidirectional=True),
        nn.Residual(nn.Linear.init(rng, 6, 6)),
    )
    names = list(nn.state_dict(net))
    assert names[:3] == ["0.weight", "1.self_attn.in_proj_weight", "1.self_attn.in_proj_bias"]
    assert "2.weight_hh_l0_reverse" in names
    assert "3.branch.weight" in names
    blank = tree.map(np.zeros_like, net)
    back = nn.load_state_dict(blank, nn.state_dict(net))
    for ours, theirs in zip(tree.leaves(back), tree.leaves(net), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert not any(np.any(leaf) for leaf in tree.leaves(blank))


def test_equal_arrays_of_a_container_are_told_apart() -> None:
    shared = np.zeros(2)
    loaded = nn.load_state_dict(
        {"a": shared, "b": [shared]}, {"a": np.ones(2), "b.0": np.full(2, 5.0)}
    )
    assert loaded["a"].tolist() == [1, 1]
    assert loaded["b"][0].tolist() == [5, 5]


def test_other_names_and_shapes_are_refused(rng: Any) -> None:
    params = {k[6:]: v for k, v in recorded("linear").items() if k.startswith("param/")}
    with pytest.raises(SnapshotError, match=r"weight: \(2, 3\) came, the model has \(2, 4\)"):
        nn.load_state_dict(nn.Linear.init(rng, 4, 2), params)
    with pytest.raises(SnapshotError, match=r"missing: 0\.weight"):
        nn.load_state_dict(nn.Sequential(nn.Linear.init(rng, 3, 2)), params)
    with pytest.raises(SnapshotError, match="unknown: extra"):
        nn.load_state_dict(nn.Linear.init(rng, 3, 2), {**params, "extra": np.ones(1)})
    counted = {**params, "num_batches_tracked": np.ones(1)}
    nn.load_state_dict(nn.Linear.init(rng, 3, 2), counted)

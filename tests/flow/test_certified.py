"""Certified units are off for every input in the box; what is only dead on the rows is not."""

import numpy as np
from tests.flow.problems import cross_entropy, rows

import pullback as pb
from pullback import nn
from pullback.flow.certified import unit_bounds
from pullback.flow.recording import record
from pullback.flow.structure import Network


def test_bounds_hold_for_all_inputs_in_the_box_and_are_reached(rng):
    net = nn.mlp(rng, (3, 5, 4, 2), activation=nn.relu)
    for layer in net.layers:
        if isinstance(layer, nn.Linear):
            layer.bias[:] = rng.normal(size=layer.bias.shape)
    x = rng.normal(size=(20, 3))
    network = Network(record(lambda net, x: np.mean(net(x) ** 2), net, (x,)))
    bounds = unit_bounds(network)
    assert len(bounds) == 3
    low, high = x.min(axis=0), x.max(axis=0)
    h = rng.uniform(low, high, size=(4000, 3))
    corners = np.array(np.meshgrid(*zip(low, high, strict=True))).reshape(3, -1).T
    for i, w in enumerate(network.weighted):
        part = nn.Sequential(*net.layers[: 2 * i + 1])
        lowest, highest = bounds[w.output]
        assert np.all(part(h) >= lowest - 1e-12)
        assert np.all(part(h) <= highest + 1e-12)
    first = net.layers[0](corners)  # of an affine map the extremes are at corners
    np.testing.assert_allclose(bounds[network.weighted[0].output][1], first.max(axis=0))
    np.testing.assert_allclose(bounds[network.weighted[0].output][0], first.min(axis=0))


def test_what_is_dead_on_the_rows_only_is_not_certified():
    x = np.array([[1.0, -1.0], [-1.0, 1.0], [0.5, -0.5], [0.0, 0.0]])

    def loss(p, x):
        h = np.maximum(x @ p["w"] + p["b"], 0)
        return np.mean((h @ p["v"]) ** 2)

    # Unit 0 is -1 on these rows, where the features cancel, and 1 at the corner (1, 1).
    p = {"w": np.array([[1.0, 1.0], [1.0, 1.0]]), "b": np.array([-1.0, -3.0]), "v": np.ones((2, 1))}
    (unit,) = pb.flow.probe(loss, p, x).units
    assert unit.dead == 1.0
    assert unit.certified == 0.5


def test_a_finding_says_what_is_certain():
    net = nn.mlp(np.random.default_rng(0), (12, 8, 8, 4))
    net.layers[2].bias[:4] = -1e4
    found = pb.flow.diagnose(cross_entropy, net, *rows(64))
    text = " ".join(found["dead units"].evidence)
    assert "50% are off for every input in the range of these rows" in text

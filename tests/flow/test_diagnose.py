"""Planted faults are named first, and healthy twins are not accused."""

import functools
import json

import numpy as np
import pytest
from tests.flow.problems import cross_entropy, network, problem, rows

import pullback as pb
from pullback import nn
from pullback.flow.findings import EXPLAINS, Finding, ranked
from pullback.flow.thresholds import LIMITS


def times(factor):
    return lambda rng, shape, dtype=float: factor * nn.init.he(rng, shape, dtype=dtype)


def equal(rng, shape, dtype=float):
    return np.full(shape, 0.1)


X, Y = rows()
NORMED = nn.Sequential(
    nn.Linear.init(np.random.default_rng(0), 12, 32),
    nn.BatchNorm.init(32),
    nn.relu,
    nn.Linear.init(np.random.default_rng(1), 32, 4),
)
NORMED.layers[1].mean[:] = 6.0
DEAD = network(1)
DEAD.layers[0].bias[:30] = -50.0
PLANTED = {
    "vanishing gradient": problem(network(8, nn.sigmoid, nn.init.xavier, width=24), n_steps=15),
    "bad initialization": problem(network(5, nn.relu, times(0.1), width=24), n_steps=15),
    "dead units": problem(DEAD),
    "input scale": problem(data=(X * 500, Y)),
    "constant labels": problem(data=(X, Y * 0)),
    "labels unrelated to inputs": problem(data=(X, np.random.default_rng(0).permutation(Y))),
    "labels out of range": problem(
        loss=lambda net, x, y: (
            -np.mean(np.sum(nn.log_softmax(net(x)) * (y[:, None] == np.arange(1, 5)), axis=1))
        ),
        data=(X, Y + 1),
    ),
    "missing non-linearity": problem(network(2, lambda z: z)),
    "equal initial weights": problem(network(2, nn.tanh, equal)),
    "sum instead of mean": problem(
        loss=lambda net, x, y: len(x) * cross_entropy(net, x, y), learning_rate=0.001
    ),
    "loss scale": problem(loss=lambda net, x, y: 1e-6 * cross_entropy(net, x, y)),
    "order of the data": problem(
        data=(X[np.argsort(Y)], np.sort(Y)), shuffles=False, batch_size=16, learning_rate=0.05
    ),
    "step size too large": problem(network(3), learning_rate=30.0),
    "step size too small": problem(learning_rate=1e-4, n_steps=30),
    "batch statistics": problem(NORMED, n_steps=20),
}


@functools.cache
def diagnosed(kind):
    return pb.flow.diagnose(PLANTED[kind])


@pytest.mark.parametrize("kind", PLANTED)
def test_a_planted_fault_is_named_first(kind):
    found = diagnosed(kind)
    assert [f.kind for f in found.findings][:1] == [kind]
    assert not found.is_healthy


@pytest.mark.parametrize("activation", [nn.relu, nn.tanh, nn.gelu], ids=lambda f: f.__name__)
def test_a_healthy_network_is_not_accused(activation):
    initializer = nn.init.xavier if activation is nn.tanh else nn.init.he
    found = pb.flow.diagnose(problem(network(3, activation, initializer)))
    assert found.findings == ()
    assert found.verdict() == "No fault found."


def test_without_a_learning_rate_nothing_is_said_about_steps():
    found = pb.flow.diagnose(cross_entropy, network(), X, Y)
    assert found.findings == ()


def test_a_cut_parameter_is_named_by_its_path():
    def loss(p, x, y):
        return nn.softmax_cross_entropy(x @ p["w"], y) + 0 * np.sum(np.floor(p["scale"]))

    found = pb.flow.diagnose(loss, {"w": np.zeros((12, 4)), "scale": np.ones(3)}, X, Y)
    finding = found["disconnected parameter"]
    assert finding.place == "p['scale']"


def test_causes_come_before_what_they_explain():
    symptom = Finding("step size too large", "severe", 0.97, ("a",))
    cause = Finding("input scale", "warning", 0.6, ("b",))
    assert [f.kind for f in ranked([symptom, cause])] == ["input scale", "step size too large"]


def test_every_kind_and_threshold_is_described():
    for kind, symptoms in EXPLAINS.items():
        assert symptoms <= set(EXPLAINS), kind
    assert all(t.source and t.meaning for t in LIMITS.values())


def test_findings_print_with_threshold_and_source_and_export():
    found = diagnosed("vanishing gradient")
    text = str(found)
    assert max(map(len, text.splitlines())) <= 100
    assert "Schoenholz et al. 2017" in text
    exported = json.loads(found.dumps())
    assert exported["findings"][0]["threshold"]["value"] == 0.0025
    with pytest.raises(KeyError, match="vanishing gradient"):
        found["constant labels"]

"""The recording agrees with grad, jvp and vjp, and knows names, lines, layers and tags."""

import dataclasses

import numpy as np
import pytest
from tests.flow.problems import cross_entropy, network, rows

import pullback as pb
from pullback import nn
from pullback.errors import ArgumentError, ShapeError
from pullback.flow.recording import MAX_UNROLLED, record

ACTIVATIONS = (nn.relu, nn.gelu, nn.elu, nn.sigmoid, nn.softplus, np.tanh)


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda f: f.__name__)
def test_cotangents_of_parameters_are_the_gradient(activation):
    x, y = rows()
    net = network(activation=activation)
    run = record(cross_entropy, net, (x, y))
    found = run.gradient()
    expected = pb.tree.leaves(pb.grad(cross_entropy)(net, x, y))
    for variable, leaf in zip(run.leaves, expected, strict=True):
        np.testing.assert_array_equal(found[variable], leaf)
    assert float(run.value) == float(cross_entropy(net, x, y))


def test_tangents_and_cotangents_between_two_values_are_dual(rng):
    x, y = rows()
    run = record(cross_entropy, network(3, np.tanh), (x, y))
    hidden = [s.equation.outputs[0] for s in run.steps if s.equation.primitive.name == "tanh"]
    start, stop = hidden[0], hidden[2]
    u, v = rng.normal(size=start.type.shape), rng.normal(size=stop.type.shape)
    forward = run.tangents({start: u}, stop)
    backward = run.cotangents({stop: v}, start=run.maker(start) + 1)[start]
    np.testing.assert_allclose(np.sum(v * forward), np.sum(u * backward), rtol=1e-12)


def test_a_replay_is_a_run_with_another_value(rng):
    x, y = rows()
    net = network(2, np.tanh)
    run = record(cross_entropy, net, (x, y))
    hidden = next(s.equation.outputs[0] for s in run.steps if s.equation.primitive.name == "tanh")
    other = rng.normal(size=hidden.type.shape)
    expected = nn.softmax_cross_entropy(nn.Sequential(*net.layers[2:])(other), y)
    np.testing.assert_allclose(run.replay({hidden: other}, run.output), expected, rtol=1e-14)


def test_a_compiled_loss_and_a_checkpoint_are_looked_into():
    x, y = rows()
    net = network()
    plain = record(cross_entropy, net, (x, y))
    wrapped = record(pb.checkpoint(pb.compile(cross_entropy)), net, (x, y))
    names = [s.equation.primitive.name for s in wrapped.steps]
    assert names.count("matmul") == 3
    np.testing.assert_allclose(wrapped.value, plain.value, rtol=1e-14)


def test_values_carry_the_users_names_and_lines():
    def loss(w, x):
        hidden = np.tanh(x @ w)
        return np.mean(hidden**2)

    run = record(loss, np.ones((3, 2)), (np.ones((4, 3)),))
    variable = next(v for v, name in run.names.items() if name == "hidden")
    assert "hidden = np.tanh(x @ w)" in str(run.source(variable))


def test_layers_of_a_users_model_are_known_by_path():
    @dataclasses.dataclass
    class Block:
        inner: nn.Linear

        def __call__(self, x):
            return x + np.tanh(self.inner(x))

    pb.tree.dataclass(Block)
    rng = np.random.default_rng(0)
    net = nn.Sequential(*(Block(nn.Linear.init(rng, 3, 3)) for _ in range(2)))
    run = record(lambda net, x: np.mean(net(x) ** 2), net, (np.ones((4, 3)),), root="net")
    paths = list(dict.fromkeys(s.layer for s in run.steps if s.layer))
    assert paths == [
        "net.layers[0].inner",
        "net.layers[0]",
        "net.layers[1].inner",
        "net.layers[1]",
    ]


def test_branches_on_integers_work_as_under_grad():
    def loss(w, x):
        best = int(np.argmax(w))
        table = np.arange(10.0)
        return np.sum(w * x) * table[best]

    w = np.array([0.0, 2.0, 1.0])
    run = record(loss, w, (np.ones(3),))
    np.testing.assert_array_equal(run.gradient()[next(iter(run.leaves))], pb.grad(loss)(w, 1.0))


def test_tags_reach_through_other_transforms():
    def inner(h):
        return np.sum(pb.flow.tag(np.sin(h), "inside"))

    def loss(w, x):
        return np.mean(pb.grad(inner)(x @ w) ** 2)

    run = record(loss, np.ones((3, 2)), (np.ones((4, 3)),))
    assert list(run.tags.values()) == ["inside"]
    assert pb.flow.tag(3.0, "anything") == 3.0


def test_bad_losses_are_refused():
    with pytest.raises(ShapeError, match="not one scalar"):
        record(lambda w, x: x @ w, np.ones((3, 2)), (np.ones((4, 3)),))
    with pytest.raises(ArgumentError, match="nothing to differentiate"):
        record(lambda w, x: np.sum(x), {}, (np.ones(3),))
    with pytest.raises(ArgumentError, match="the name is"):
        pb.flow.tag(1.0, "")


def recurrent(p, x):
    def body(h, w):
        h = np.tanh(h @ w)
        return h, h * 2

    h, doubled = pb.scan(body, x, p["ws"], reverse=p["reverse"])
    bent = pb.cond(np.sum(h) > 0, lambda h: h**2, lambda h: h**3, h)
    return np.mean(bent @ p["v"]) + np.sum(doubled[0])


@pytest.mark.parametrize("reverse", [False, True])
def test_loops_and_branches_are_looked_into(rng, reverse):
    p = {"ws": rng.normal(size=(4, 3, 3)), "v": rng.normal(size=3)}
    x = rng.normal(size=(5, 3))

    def loss(p, x):
        return recurrent({**p, "reverse": reverse}, x)

    run = record(loss, p, (x,))
    assert float(run.value) == pytest.approx(float(loss(p, x)), rel=1e-14)
    expected = pb.grad(loss)(p, x)
    for variable, leaf in zip(run.leaves, pb.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(run.gradient()[variable], leaf, rtol=1e-12)
    names = [step.equation.primitive.name for step in run.steps]
    assert names.count("tanh") == 4
    assert {"scan", "cond"}.isdisjoint(names)


def test_a_long_loop_stays_one_operation():
    def loss(w, x):
        return pb.scan(lambda c, x: (c * w + x, None), np.zeros(()), x)[0]

    run = record(loss, np.array(0.5), (np.ones(MAX_UNROLLED + 1),))
    assert [s.equation.primitive.name for s in run.steps] == ["scan"]

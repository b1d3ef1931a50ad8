"""why_zero names the planted cut, and says where there is none."""

import numpy as np
import pytest

import pullback as pb
from pullback import nn

X = np.array([0.5, -1.0, 2.0])
FAR = np.array([-40.0, -50.0, -60.0])
sg = pb.stop_gradient


def plus_a_lost_branch(x):
    lost = np.tanh(x)
    del lost
    return np.sum(np.ones(3))


def an_inner_line(x):
    scaled = 2 * x
    level = np.floor(scaled)
    return np.sum(level * 3)


PLANTED = {
    "constant output": (lambda x: np.sum(np.ones(3)), X, "never used"),
    "result not used": (plus_a_lost_branch, X, "never used"),
    "only its shape": (lambda x: np.sum(np.ones(x.shape)), X, "never used"),
    "integer cast": (lambda x: np.sum(x.astype(int) * 1.5), X, "integer cast"),
    "cast to bool": (lambda x: np.sum(x.astype(bool) * 1.5), X, "integer cast"),
    "int32 cast": (lambda x: np.mean((2 * x).astype(np.int32) + 0.5), X, "integer cast"),
    "comparison": (lambda x: np.sum((x > 0) * 2.0), X, "comparison"),
    "equality": (lambda x: np.sum((x == 0.5) * 2.0), X, "comparison"),
    "accuracy as a loss": (lambda x: np.mean((x <= 0) * np.ones(3)), X, "comparison"),
    "sign": (lambda x: np.sum(np.sign(x)), X, "comparison"),
    "heaviside": (lambda x: np.sum(np.heaviside(x, 0.5)), X, "comparison"),
    "floor": (an_inner_line, X, "rounding"),
    "ceil": (lambda x: np.sum(np.ceil(x)), X, "rounding"),
    "rint": (lambda x: np.sum(np.rint(x)), X, "rounding"),
    "round": (lambda x: np.sum(np.round(x)), X, "rounding"),
    "trunc": (lambda x: np.sum(np.trunc(x)), X, "rounding"),
    "floor division": (lambda x: np.sum(x // 1.0), X, "rounding"),
    "stop_gradient": (lambda x: np.sum(sg(x) ** 2), X, "stop_gradient"),
    "stop_gradient later": (lambda x: np.sum(np.exp(sg(np.sin(x)))), X, "stop_gradient"),
    "stop_gradient of the loss": (lambda x: sg(np.sum(x**2)), X, "stop_gradient"),
    "argmax": (lambda x: np.argmax(x) * 1.0, X, "search"),
    "argsort": (lambda x: np.sum(np.argsort(x) * 0.5), X, "search"),
    "where, condition": (lambda x: np.sum(np.where(x > 0, 1.0, 2.0)), X, "comparison"),
    "where, other branch": (lambda x: np.sum(np.where(x > 9, x, 1.0)), X, "masked branch"),
    "where, masked": (lambda x: np.sum(np.where(np.zeros(3, bool), x**2, 0.5)), X, "masked branch"),
    "relu": (lambda x: np.sum(nn.relu(x)), FAR, "dead unit"),
    "relu by maximum": (lambda x: np.sum(np.maximum(x, 0)), FAR, "dead unit"),
    "relu in a layer": (lambda x: np.sum(nn.relu(2 * x - 3) @ np.ones(3)), FAR, "dead unit"),
    "relu by where": (lambda x: np.sum(np.where(x > 0, x, 0.0)), FAR, "dead unit"),
    "tanh": (lambda x: np.sum(np.tanh(x)), FAR, "saturation"),
    "sigmoid": (lambda x: np.sum(nn.sigmoid(x)), -20 * FAR, "saturation"),
    "exp underflow": (lambda x: np.sum(np.exp(x)), 20 * FAR, "saturation"),
    "clip": (lambda x: np.sum(np.clip(x, -1, 1)), FAR, "flat region"),
    "minimum": (lambda x: np.sum(np.minimum(x, -99.0)), FAR, "flat region"),
    "times zero": (lambda x: np.sum(x * 0.0), X, "zero factor"),
    "zero weight": (lambda x: np.sum(x @ np.zeros((3, 2))), X, "zero factor"),
    "zero mask": (lambda x: np.sum(x * np.zeros(3)), X, "zero factor"),
    "empty slice": (lambda x: np.sum(x[3:]) + 1.0, X, "not selected"),
    "square at zero": (lambda x: np.sum(x**2), np.zeros(3), "flat region"),
    "cancels": (lambda x: np.sum(np.sin(x) - np.sin(x)), X, "flat region"),
    "not zero": (lambda x: np.sum(np.tanh(x)), X, "not zero"),
    "not zero past a stop": (lambda x: np.sum(x * sg(x)), X, "not zero"),
    "not zero on one branch": (lambda x: np.sum(np.where(x > 0, x, 0.0)), X, "not zero"),
    "not zero beside a cast": (lambda x: np.sum(x + x.astype(int)), X, "not zero"),
}


@pytest.mark.parametrize("case", PLANTED)
def test_names_the_planted_cut(case):
    f, x, reason = PLANTED[case]
    found = pb.why_zero(f, x)
    assert found.reason == reason, str(found)
    gradient = pb.grad(f)(x) if not isinstance(f(x), np.integer) else np.zeros(3)
    assert np.any(gradient) == (reason == "not zero")
    assert max(map(len, str(found).splitlines())) <= 100


def test_there_are_forty_of_them():
    assert sum(reason != "not zero" for _, _, reason in PLANTED.values()) >= 40


def test_names_line_and_path():
    (cut,) = pb.why_zero(an_inner_line, X).cuts
    assert cut.path == ("x", "scaled")
    assert "level = np.floor(scaled)" in cut.line


def test_answers_for_every_array_of_a_model():
    net = nn.mlp(np.random.default_rng(0), (3, 4, 2))
    net.layers[0].bias[:] = -100.0
    found = pb.why_zero(lambda net, x: np.sum(net(x)), net, np.ones((5, 3)))
    by_path = {answer.path: answer for answer in found}
    assert by_path["net.layers[0].weight"].reason == "dead unit"
    assert by_path["net.layers[0].weight"].state == "zero"
    assert by_path["net.layers[2].bias"].reason == "not zero"


def test_partly_zero_gradients_are_told():
    found = pb.why_zero(lambda x: np.sum(np.maximum(x, 0)), np.array([1.0, -1.0, -2.0]))
    assert (found.state, found.share) == ("partly zero", pytest.approx(2 / 3))
    assert found.cuts[0].reason == "dead unit"


def test_code_that_needs_plain_integers_is_followed_too():
    def f(x):
        best = int(np.argmax(x))
        return np.sum(sg(x) * best)

    assert pb.why_zero(f, X).reason in ("stop_gradient", "search")

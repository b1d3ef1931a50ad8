"""A probe's numbers against closed forms and against dense Jacobians."""

import json

import numpy as np
import pytest
from tests.flow.problems import cross_entropy, network, problem, rows

import pullback as pb
from pullback import nn
from pullback.errors import ArgumentError
from pullback.flow.starts import redrawn


def test_gain_of_sigmoid_layers_is_that_of_mean_field_theory():
    rng = np.random.default_rng(0)
    widths = (64, *[300] * 8, 4)
    net = nn.mlp(rng, widths, activation=nn.sigmoid, initializer=nn.init.lecun)
    x = rng.normal(size=(64, 64))
    found = pb.flow.probe(cross_entropy, net, x, rng.integers(0, 4, 64))
    # chi_1 of the sigmoid with sigma_w = 1, sigma_b = 0, at its fixed point: 0.055721
    assert found.gain == pytest.approx(0.055721, rel=0.05)
    assert found.depth == 9


def test_layers_are_named_values_in_plain_code():
    def loss(p, x, y):
        z = x @ p["w"]
        h = np.maximum(z, 0)
        out = h @ p["v"]
        return np.mean((out[:, 0] - y) ** 2)

    rng = np.random.default_rng(0)
    p = {"w": rng.normal(size=(3, 5)), "v": rng.normal(size=(5, 1))}
    x, y = rng.normal(size=(20, 3)), rng.normal(size=20)
    found = pb.flow.probe(loss, p, x, y)
    assert [layer.name for layer in found.layers] == ["z", "h", "out"]
    assert found.units[0].kind == "relu"
    residual = np.maximum(x @ p["w"], 0) @ p["v"]
    expected = 2 * (residual[:, 0] - y) / 20
    assert found.layers[2].ct_rms == pytest.approx(np.sqrt(np.mean(expected**2)), rel=1e-12)


def test_dead_units_are_counted_with_their_bound():
    net = network(1, nn.relu)
    net.layers[0].bias[:12] = -100.0
    found = pb.flow.probe(problem(net))
    (unit,) = found.units
    assert unit.dead == 12 / 48
    assert unit.dead_units == tuple(range(12))
    assert unit.bound == pytest.approx(3 / 192)
    assert unit.is_first


def test_saturation_is_the_share_of_flat_slopes():
    w = np.ones((1, 1))
    x = np.linspace(-4, 4, 801)[:, None]

    def loss(w, x):
        a = np.tanh(x @ w)
        b = a @ np.ones((1, 1)) * np.sum(w)
        return np.mean(b)

    def two(p, x):
        a = np.tanh(x @ p[0])
        return np.mean(a @ p[1])

    found = pb.flow.probe(two, [w, np.ones((1, 1))], x)
    # tanh' < 0.05 where |z| > 2.1785
    assert found.units[0].saturated == pytest.approx(1 - 2.1785 / 4, abs=0.005)


def test_update_ratio_is_that_of_the_optimizer():
    found = pb.flow.probe(problem(learning_rate=0.5))
    first = found.parameters[0]
    assert first.update_ratio == pytest.approx(0.5 * first.grad_rms / first.rms)
    adam = pb.flow.probe(problem(learning_rate=0.5, optimizer=pb.optim.adam)).parameters[0]
    assert adam.update_ratio * adam.rms == pytest.approx(0.5, rel=1e-3)


def test_singular_values_are_those_of_the_dense_jacobian():
    x, y = rows(6)
    net = network(3, np.tanh, width=10)
    found = pb.flow.probe(cross_entropy, net, x, y, extras="jacobians", announce=lambda text: None)
    last = found.jacobians[-1]
    assert (last.start, last.stop) == ("layers[0]", "layers[6]")
    rest = nn.Sequential(*net.layers[1:])
    z = net.layers[0](x)
    dense = pb.jacobian(rest)(z).reshape(6 * 4, 6 * 10)
    values = np.linalg.svd(dense, compute_uv=False)
    assert last.largest == pytest.approx(values[0], rel=2e-2)
    assert last.mean_square == pytest.approx(np.sum(values**2) / 60, rel=0.5)


def test_curvature_is_the_largest_eigenvalue_of_the_hessian():
    x, y = rows(30)

    def loss(w, x, y):
        return nn.softmax_cross_entropy(x @ w, y)

    w = np.random.default_rng(0).normal(size=(12, 4))
    found = pb.flow.probe(
        loss, w, x, y, extras="curvature", learning_rate=0.5, announce=lambda text: None
    )
    hessian = pb.hessian(lambda v: loss(v.reshape(12, 4), x, y))(w.ravel())
    largest = np.linalg.eigvalsh(hessian)[-1]
    assert found.curvature.largest == pytest.approx(largest, rel=1e-3)
    assert found.curvature.sharpness == pytest.approx(0.5 * largest, rel=1e-3)


def test_noise_scale_of_linear_regression_has_its_closed_form():
    rng = np.random.default_rng(0)
    n, d = 40_000, 4
    x, y = rng.normal(size=(n, d)), rng.normal(size=n)
    w = np.full(d, 0.5)

    def loss(w, x, y):
        return 0.5 * np.mean((x @ w - y) ** 2)

    found = pb.flow.probe(loss, w, x, y, extras="noise", max_rows=n, announce=lambda text: None)
    # g = x (x.w - y): E g = w; tr cov = (d + 1) |w|^2 + d - 0 for x ~ N(0, I), y ~ N(0, 1)
    assert found.noise.signal == pytest.approx(1.0, rel=0.1)
    assert found.noise.variance == pytest.approx((d + 1) * 1.0 + d, rel=0.35)


def test_the_cost_of_extras_is_told_before_they_run():
    told = []
    pb.flow.probe(problem(), extras=("noise", "shattering"), announce=told.append)
    assert "noise" in told[0]
    assert "a pass" in told[0]


def test_prints_within_100_columns_and_exports():
    found = pb.flow.probe(problem(), extras="all", announce=lambda text: None)
    assert max(map(len, str(found).splitlines())) <= 100
    again = json.loads(found.dumps())
    assert again["layers"][0]["name"] == "layers[0]"
    assert again["shattering"]["n_points"] == 256


def test_bad_calls_are_refused():
    with pytest.raises(ArgumentError, match="unknown extra"):
        pb.flow.probe(problem(), extras="magic")
    with pytest.raises(ArgumentError, match="no data"):
        pb.flow.probe(cross_entropy, network())
    with pytest.raises(ArgumentError, match="unknown option 'rate'"):
        pb.flow.probe(cross_entropy, network(), *rows(), rate=1)
    with pytest.raises(ArgumentError, match="without arrays"):
        pb.flow.probe(network(), cross_entropy, *rows())
    with pytest.raises(ArgumentError, match="not a function"):
        pb.flow.probe(3.0, network(), *rows())


def test_steps_of_a_loop_are_layers():
    rng = np.random.default_rng(0)
    n_steps = 6

    def loss(p, x):
        def body(h, w):
            h = np.tanh(h @ w)
            return h, None

        h, _ = pb.scan(body, x, p["ws"])
        return np.mean((h @ p["v"]) ** 2)

    p = {"ws": rng.normal(size=(n_steps, 8, 8)) * 0.02, "v": rng.normal(size=(8, 1))}
    x = rng.normal(size=(32, 8))
    found = pb.flow.diagnose(loss, p, x)
    names = [layer.name for layer in found.probe.layers]
    assert names == ["h[0]", "h[1]", "h[2]", "h[3]", "h[4]", "h"]
    # Slopes of tanh near 0 are 1: the gain is that of the weights, 8 * 0.02**2 on average.
    assert found.probe.gain == pytest.approx(8 * 0.02**2, rel=0.5)
    assert found["vanishing gradient"].place == "h[0]"
    drawn = redrawn(found.problem, rng)["ws"]
    assert np.std(drawn) == pytest.approx(1 / np.sqrt(8), rel=0.15)

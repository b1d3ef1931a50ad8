"""Orders of the residual expansion against brute force over all paths, and closed forms."""

import itertools
import math

import numpy as np
import pytest

import pullback as pb
from pullback import nn
from pullback.errors import ArgumentError
from pullback.flow.highways import binomial
from pullback.flow.surgery import Shortcut

RNG = np.random.default_rng(5)


def linear_loss(ws, x, v):
    h = x
    for w in ws:
        h = h + pb.flow.branch(h @ w, "product")
    return np.sum(h * v)


def test_every_order_is_the_sum_over_its_paths():
    n, d = 6, 4
    ws = [0.5 * RNG.normal(size=(d, d)) for _ in range(n)]
    x, v = RNG.normal(size=d), RNG.normal(size=d)
    report = pb.flow.paths(linear_loss, ws, x, v)
    for k in range(n + 1):
        expected = np.zeros(d)
        for chosen in itertools.combinations(range(n), k):
            path = v
            for i in reversed(chosen):
                path = ws[i] @ path
            expected = expected + path
        np.testing.assert_allclose(report.coefficients[k], expected, rtol=1e-12, atol=1e-13)


def test_orders_at_54_blocks_keep_12_digits_in_the_commuting_case():
    # J_l = q I: c_k = C(54, k) q^k v, down to (1e-1)^54.
    n, q = 54, 0.1
    v = RNG.normal(size=3)
    report = pb.flow.paths(linear_loss, [q * np.eye(3)] * n, RNG.normal(size=3), v, draws=1)
    for k in range(n + 1):
        expected = math.comb(n, k) * q**k * v
        np.testing.assert_allclose(report.coefficients[k], expected, rtol=1e-12)
    assert report.error < 1e-13


def test_orders_at_54_random_blocks_agree_with_exact_rational_arithmetic():
    from fractions import Fraction

    n, d = 54, 3
    ws = [np.round(RNG.normal(size=(d, d)) * 8) / 64 for _ in range(n)]
    v = np.array([1.0, -2.0, 0.5])
    report = pb.flow.paths(linear_loss, ws, np.ones(d), v, draws=1)
    slots = [[Fraction(float(e)) for e in v]] + [[Fraction(0)] * d for _ in range(n)]
    for w in reversed(ws):
        exact = [[Fraction(float(e)) for e in row] for row in w]
        moved = [[sum(a * b for a, b in zip(row, s, strict=True)) for row in exact] for s in slots]
        slots = [slots[0]] + [
            [a + b for a, b in zip(slots[k], moved[k - 1], strict=True)] for k in range(1, n + 1)
        ]
    for k, slot in enumerate(slots):
        exact_k = np.array([float(e) for e in slot])
        difference = np.linalg.norm(report.coefficients[k] - exact_k)
        assert difference <= 1e-12 * np.linalg.norm(exact_k), k


def test_mass_follows_the_binomial_law_for_branches_of_equal_gain():
    n, q = 20, 0.3
    rotations = [np.linalg.qr(RNG.normal(size=(8, 8)))[0] for _ in range(n)]
    report = pb.flow.paths(
        linear_loss, [q * r for r in rotations], RNG.normal(size=8), RNG.normal(size=8)
    )
    assert report.q == pytest.approx(q, rel=1e-9)
    np.testing.assert_allclose(report.mass, report.law, atol=1e-9)
    assert report.law == pytest.approx(
        [math.comb(n, k) * q**k / (1 + q) ** n for k in range(n + 1)]
    )


def test_models_of_layers_need_no_marks():
    blocks = [Shortcut(nn.Sequential(nn.Linear.init(RNG, 6, 6), nn.tanh)) for _ in range(4)]
    net = nn.Sequential(nn.Linear.init(RNG, 3, 6), *blocks, nn.Linear.init(RNG, 6, 2))
    x = RNG.normal(size=(5, 3))
    report = pb.flow.paths(lambda net, x: np.mean(net(x) ** 2), net, x)
    assert len(report.branches) == 4
    assert report.error < 1e-13
    assert sum(report.shares) == pytest.approx(1, abs=1e-12)
    h = net.layers[0](x)
    rest = nn.Sequential(*net.layers[1:])
    whole = pb.grad(lambda h: np.mean(rest(h) ** 2))(h)
    np.testing.assert_allclose(np.sum(report.coefficients, axis=0), whole, rtol=1e-12)


def test_lesions_are_losses_without_a_branch():
    ws = [0.5 * RNG.normal(size=(3, 3)) for _ in range(3)]
    x, v = RNG.normal(size=3), RNG.normal(size=3)
    report = pb.flow.paths(linear_loss, ws, x, v)
    for i, lesion in enumerate(report.lesions):
        without = [w for j, w in enumerate(ws) if j != i]
        assert lesion.loss == pytest.approx(float(linear_loss(without, x, v)), rel=1e-12)


def test_probabilities_are_those_of_veit():
    half = binomial(54, 0.5)
    assert np.sum(half[19:36]) == pytest.approx(0.98017, abs=1e-5)
    assert np.sum(half[5:18]) == pytest.approx(0.0045367, abs=1e-7)


def test_prints_and_exports():
    report = pb.flow.paths(linear_loss, [np.eye(2)] * 3, np.ones(2), np.ones(2))
    assert max(map(len, str(report).splitlines())) <= 100
    assert report.to_json()["branches"] == ["product"] * 3


def test_networks_without_branches_are_refused():
    with pytest.raises(ArgumentError, match="no branches"):
        pb.flow.paths(lambda w, x: np.sum(x @ w), np.ones(3), np.ones((2, 3)))
    with pytest.raises(ArgumentError, match="not added"):
        pb.flow.paths(
            lambda w, x: np.sum(pb.flow.branch(x @ w, "b") * 2), np.ones(3), np.ones((2, 3))
        )
    with pytest.raises(ArgumentError, match="the name"):
        pb.flow.branch(1.0, "")

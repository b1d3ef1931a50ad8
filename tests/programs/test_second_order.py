"""Problems that need second derivatives, against closed forms and SciPy with formulas by hand."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import optimize
from scipy.special import expit

import pullback as pb

RNG = np.random.default_rng(0)


def test_logistic_regression_by_newton_cg():
    x = RNG.normal(size=(200, 8))
    y = (RNG.uniform(size=200) < expit(x @ RNG.normal(size=8))).astype(float)

    def loss(w):
        scores = x @ w
        return np.sum(np.logaddexp(0, scores) - y * scores) + 0.5 * np.sum(w * w)

    def slope(w):
        return x.T @ (expit(x @ w) - y) + w

    def product(w, v):
        p = expit(x @ w)
        return x.T @ (p * (1 - p) * (x @ v)) + v

    by_hand = optimize.minimize(loss, np.zeros(8), jac=slope, hessp=product, method="Newton-CG")
    found = pb.optimize.minimize(loss, np.zeros(8), method="Newton-CG")
    assert found.success
    assert_allclose(found.x, by_hand.x, rtol=1e-6)
    assert (found.nit, found.nhev) == (by_hand.nit, by_hand.nhev)


@pytest.mark.parametrize("depth", [2, 5])
def test_the_hessian_of_a_deep_linear_network(depth):
    """At identities, of half the squared distance to the identity: ``depth`` times a projector."""
    d = 4

    def loss(weights):
        product = weights[0]
        for w in weights[1:]:
            product = product @ w
        return 0.5 * np.sum((product - np.eye(d)) ** 2)

    operator = pb.linear_operator(loss, [np.eye(d)] * depth)
    spectrum = np.linalg.eigvalsh(operator @ np.eye(depth * d * d))
    expected = np.r_[np.zeros((depth - 1) * d * d), np.full(d * d, depth)]
    assert_allclose(spectrum, expected, atol=1e-12)
    values, _ = pb.curvature.eigenvalues(operator, k=1)
    assert_allclose(values, [depth], rtol=1e-10)


def test_poissons_equation_by_a_network():
    """``-u'' = pi^2 sin(pi x)`` with zeros at the ends is solved by ``sin(pi x)``."""
    rng = np.random.default_rng(0)
    params = {"a": rng.normal(size=5), "b": rng.normal(size=5), "c": rng.normal(size=5)}
    points = np.linspace(0, 1, 40)

    def u(params, x):
        return x * (1 - x) * np.sum(params["c"] * np.tanh(params["a"] * x + params["b"]))

    def residual(params):
        bent = pb.vmap(pb.laplacian(lambda x: u(params, x)))(points)
        return bent + np.pi**2 * np.sin(np.pi * points)

    fit = pb.optimize.least_squares(residual, params, method="levenberg-marquardt", max_nfev=60)
    found = pb.vmap(lambda x: u(fit.x, x))(points)
    assert_allclose(found, np.sin(np.pi * points), atol=1e-3)


def test_the_gradient_of_a_penalty_through_an_inner_fit():
    x, y = RNG.normal(size=(30, 5)), RNG.normal(size=30)
    held_x, held_y = RNG.normal(size=(30, 5)), RNG.normal(size=30)

    def validation(log_strength):
        w = pb.argmin(
            lambda w: np.sum((x @ w - y) ** 2) + np.exp(log_strength) * np.sum(w * w), np.zeros(5)
        )
        return np.mean((held_x @ w - held_y) ** 2)

    def solved(log_strength):
        w = np.linalg.solve(x.T @ x + np.exp(log_strength) * np.eye(5), x.T @ y)
        return np.mean((held_x @ w - held_y) ** 2)

    h = 1e-5
    expected = (solved(0.3 + h) - solved(0.3 - h)) / (2 * h)
    assert_allclose(pb.grad(validation)(0.3), expected, rtol=1e-6)


def test_all_nestings_of_second_order_agree():
    w = RNG.normal(size=(4, 5)) / 2

    def f(x):
        y = np.tanh(w @ x)
        return np.sum(y * np.cumsum(y)) + np.log(np.sum(np.exp(x))) + np.prod(x[:3])

    x, v = RNG.normal(size=5), RNG.normal(size=5)
    step = 1e-5
    differences = (pb.grad(f)(x + step * v) - pb.grad(f)(x - step * v)) / (2 * step)
    found = {
        "forward over reverse": lambda x, v: pb.jvp(pb.grad(f), (x,), (v,))[1],
        "reverse over forward": lambda x, v: pb.grad(lambda x: pb.jvp(f, (x,), (v,))[1])(x),
        "reverse over reverse": lambda x, v: pb.grad(lambda x: np.dot(pb.grad(f)(x), v))(x),
        "forward over forward": lambda x, v: pb.vmap(
            lambda e: pb.jvp(lambda x: pb.jvp(f, (x,), (v,))[1], (x,), (e,))[1]
        )(np.eye(5)),
        "hessian": lambda x, v: pb.hessian(f)(x) @ v,
    }
    first = found.pop("forward over reverse")(x, v)
    assert_allclose(first, differences, rtol=1e-6, atol=1e-8)
    for name, nesting in found.items():
        assert_allclose(nesting(x, v), first, rtol=1e-11, atol=1e-13, err_msg=name)

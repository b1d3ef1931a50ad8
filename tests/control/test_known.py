"""known: the values are those that are given, the derivatives those of the function."""

from __future__ import annotations

import numpy as np
import pytest

import pullback as pb
from pullback.control.known import known
from pullback.core.types import type_of
from pullback.testing.grads import check_grads
from pullback.transforms.passes.pipeline import optimize
from pullback.transforms.stage import stage

rng = np.random.default_rng(0)
X, V = rng.normal(size=(2, 5))
WRAPS = [lambda f: f, pb.compile]


def steady(x):
    """log(sum(exp(x))) without overflow, whose own derivative would go through the maximum."""
    peak = np.max(x)
    return peak + np.log(np.sum(np.exp(x - peak)))


def plain(x):
    return [np.log(np.sum(np.exp(x)))]


def both(x):
    return known([steady(pb.stop_gradient(x))], plain, x)[0]


@pytest.mark.parametrize("wrap", WRAPS)
def test_values_and_derivatives_of_all_orders(wrap):
    np.testing.assert_allclose(wrap(both)(X), np.logaddexp.reduce(X), rtol=1e-15)
    check_grads(lambda x: np.sin(wrap(both)(x)), (X,), order=2)
    weights = np.exp(X - np.logaddexp.reduce(X))
    np.testing.assert_allclose(wrap(pb.grad(both))(X), weights, rtol=1e-14)
    hessian = np.diag(weights) - np.outer(weights, weights)
    np.testing.assert_allclose(wrap(pb.hessian(both))(X), hessian, atol=1e-15)
    product = wrap(lambda x: pb.hvp(both, (x,), (V,)))(X)
    np.testing.assert_allclose(np.ravel(product), hessian @ V, atol=1e-15)


@pytest.mark.parametrize("wrap", WRAPS)
def test_the_function_is_not_run_for_values(wrap):
    """Values that are wrong show which way they came."""

    def f(x):
        (y,) = known([np.full(5, 7.0)], lambda x: [np.sin(x)], x)
        return y

    np.testing.assert_array_equal(wrap(f)(X), np.full(5, 7.0))
    y, pull = pb.vjp(wrap(f), X)
    np.testing.assert_array_equal(y, np.full(5, 7.0))
    np.testing.assert_allclose(pull(V)[0], np.cos(X) * V, rtol=1e-14)
    y, dot = pb.jvp(wrap(f), (X,), (V,))
    np.testing.assert_array_equal(y, np.full(5, 7.0))
    np.testing.assert_allclose(dot, np.cos(X) * V, rtol=1e-14)


def test_nothing_of_it_is_left_where_only_values_are_computed():
    graph = optimize(stage(lambda x: [both(x)], [type_of(X)]).graph)
    names = {equation.primitive.name for equation in graph.equations}
    assert "known" not in names
    assert sum(e.primitive.name == "exp" for e in graph.equations) == 1


@pytest.mark.parametrize("wrap", WRAPS)
def test_batches(wrap):
    x = rng.normal(size=(3, 5))
    np.testing.assert_allclose(wrap(pb.vmap(both))(x), np.logaddexp.reduce(x, axis=1), rtol=1e-15)
    each = np.stack([pb.grad(both)(row) for row in x])
    np.testing.assert_allclose(wrap(pb.vmap(pb.grad(both)))(x), each, rtol=1e-14)
    check_grads(lambda x: np.sum(np.sin(pb.vmap(both)(x))), (x,))

    def scaled(x, w):  # the value does not depend on the batch
        return known([np.float64(0.0)], lambda w: [np.sum(x * w)], w)[0]

    found = pb.vmap(lambda x: pb.value_and_grad(scaled, 1)(x, V))(x)
    np.testing.assert_array_equal(found[0], np.zeros(3))
    np.testing.assert_allclose(found[1], x)

    def values_alone(x, w):
        return np.sum(known([pb.stop_gradient(x)], lambda w: [w * w], w)[0])

    total = lambda w: np.sum(pb.vmap(lambda x: values_alone(x, w))(x))
    np.testing.assert_allclose(pb.grad(total)(V), 3 * 2 * V)


@pytest.mark.parametrize("wrap", WRAPS)
def test_what_the_function_reads_outside_gets_its_derivative(wrap):
    def f(x, w):
        outside = np.tanh(w)
        pair = {"x": x, "scale": w[:2]}
        values = [np.sum(pb.stop_gradient(x * outside)), pb.stop_gradient(w[:2] * x[:2])]

        def function(pair):
            return np.sum(pair["x"] * outside), pair["scale"] * pair["x"][:2]

        a, b = known(values, function, pair)
        return a * np.sum(np.cos(b))

    check_grads(lambda x, w: wrap(f)(x, w), (X, V), order=2)

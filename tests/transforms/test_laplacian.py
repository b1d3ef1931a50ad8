"""Laplacians against traces of Hessians, in every nesting."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

import pullback as pb
from pullback.errors import MissingRuleError, NotDifferentiableError

RNG = np.random.default_rng(0)
W = RNG.normal(size=(3, 4))
V = RNG.normal(size=4)


def network(x):
    return np.tanh(x @ W) @ V


def various(x):
    y = x.copy()
    y[0] = y[0] * y[1]
    return {
        "quotient": np.sum(np.sin(y) * x / (1 + x**2)),
        "solve": np.linalg.solve(np.eye(3) + np.outer(x, x), x),
        "moves": np.sort(x)[:2] * np.prod(x) + np.max(y),
        "linear": 2 * x,
        "constant": np.ones(2),
    }


def traces(f, x):
    second = pb.jacobian(pb.jacobian(f, mode="forward"), mode="forward")(x)
    return pb.tree.map(lambda h: np.trace(h, axis1=-2, axis2=-1), second)


@pytest.mark.parametrize("f", [network, various])
def test_the_trace_of_the_hessian(f):
    x = RNG.normal(size=3)
    pb.tree.map(lambda a, b: assert_allclose(a, b, rtol=1e-11), pb.laplacian(f)(x), traces(f, x))


def test_harmonic_functions_have_none():
    x = RNG.normal(size=3)
    assert abs(pb.laplacian(lambda x: 1 / np.linalg.norm(x))(x)) < 1e-13
    assert float(pb.laplacian(lambda x: x[0] * x[1])(x)) == 0.0


def test_it_differentiates_batches_and_compiles():
    x = RNG.normal(size=(5, 3))
    batched = pb.vmap(pb.laplacian(network))(x)
    assert_allclose(batched, [np.trace(pb.hessian(network)(row)) for row in x], rtol=1e-12)
    assert_allclose(pb.compile(pb.vmap(pb.laplacian(network)))(x), batched, rtol=1e-12)
    for outer in (pb.grad, pb.jacobian):
        assert_allclose(
            outer(pb.laplacian(network))(x[0]),
            pb.grad(lambda x: np.trace(pb.hessian(network)(x)))(x[0]),
            rtol=1e-11,
        )
    # The biharmonic operator, by nesting: of |x|^4 in three dimensions it is 120.
    assert_allclose(pb.laplacian(pb.laplacian(lambda x: np.sum(x * x) ** 2))(x[0]), 120, rtol=1e-12)


def test_several_arguments_and_containers():
    f = lambda p, s, k: k * np.sum(p["a"] ** 3) * s**2
    p, s = {"a": np.array([1.0, 2.0])}, np.array(3.0)
    assert_allclose(pb.laplacian(f, argnums=(0, 1))(p, s, 2.0), 2 * (6 * 3 * 9 + 9 * 2))
    assert_allclose(pb.laplacian(f)(p, s, 2.0), 2 * 6 * 3 * 9)


def test_an_operation_without_series_is_refused_by_name():
    @pb.custom_vjp
    def mine(x):
        return x * x

    mine.defvjp(lambda x: (x * x, x), lambda x, ct: (2 * x * ct,))
    with pytest.raises((MissingRuleError, NotDifferentiableError), match="mine"):
        pb.laplacian(lambda x: np.sum(mine(x)))(np.ones(2))
    with pytest.raises(NotDifferentiableError, match="floating-point results"):
        pb.laplacian(lambda x: np.argmax(x))(np.ones(2))

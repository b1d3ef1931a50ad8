"""Differences as a fallback, where somebody asks for them."""

from __future__ import annotations

import math
import pickle
from typing import Any

import numpy as np
import pytest
from scipy import special

import pullback as pb
from pullback.errors import ArgumentError, NotDifferentiableError


def log_gamma(x: Any) -> Any:
    return np.array([math.lgamma(v) for v in np.ravel(x)]).reshape(np.shape(x))


smooth = pb.numerical_derivative(log_gamma)
X = np.array([0.5, 2.0, 70.0])


@pytest.mark.parametrize("wrap", [lambda f: f, pb.compile])
def test_all_modes_agree_with_the_digamma_function(wrap: Any) -> None:
    total = lambda x: np.sum(smooth(x))
    np.testing.assert_allclose(wrap(pb.grad(total))(X), special.digamma(X), rtol=1e-10)
    dots = wrap(lambda x: pb.jvp(smooth, (x,), (np.array([1.0, 0.0, 2.0]),))[1])(X)
    np.testing.assert_allclose(dots, special.digamma(X) * [1, 0, 2], rtol=1e-10)
    rows = wrap(pb.vmap(pb.grad(smooth)))(X)
    np.testing.assert_allclose(rows, special.digamma(X), rtol=1e-10)


def test_float32_and_containers() -> None:
    x = X.astype(np.float32)
    found = pb.grad(lambda x: np.sum(smooth(x).astype(np.float32)))(x)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, special.digamma(X), rtol=2e-3)
    pair = pb.numerical_derivative(lambda p, n: math.sin(p["a"]) * float(p["b"]) ** int(n))
    grads = pb.grad(pair)({"a": 0.3, "b": 2.0}, 3)
    np.testing.assert_allclose(grads["a"], math.cos(0.3) * 8, rtol=1e-10)
    np.testing.assert_allclose(grads["b"], math.sin(0.3) * 12, rtol=1e-10)


def test_the_number_of_runs_is_as_documented() -> None:
    n = []
    f = pb.numerical_derivative(lambda x: n.append(1) or float(np.sum(np.asarray(x) ** 2)))
    pb.jvp(f, (X,), (X,))
    assert len(n) <= 8
    n.clear()
    pb.grad(f)(X)
    assert 6 * X.size <= len(n) <= 7 * X.size + 3


def test_refusals() -> None:
    with pytest.raises(ArgumentError, match="step"):
        pb.numerical_derivative(log_gamma, step=-1.0)
    with pytest.raises(NotDifferentiableError, match="plain arrays only"):
        pb.grad(pb.grad(lambda x: np.sum(smooth(x))))(np.array(2.0))


def test_it_can_be_pickled() -> None:
    assert float(pickle.loads(pickle.dumps(smooth))(np.array(3.0))) == math.lgamma(3.0)

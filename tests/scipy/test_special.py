"""Functions that SciPy writes in Python, against SciPy on plain arrays and differences."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import special

import pullback as pb
from pullback.errors import ArgumentError

own = pb.scipy.special
RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 4)) * 3

CALLS: list[Callable] = [
    lambda s, x: s.logsumexp(x),
    lambda s, x: s.logsumexp(x, axis=1),
    lambda s, x: s.logsumexp(x, axis=(0, 1), keepdims=True),
    lambda s, x: s.logsumexp(x, axis=0, b=np.array([[1.0], [0.5], [2.0]])),
    lambda s, x: s.logsumexp(x, b=-np.ones_like(X), return_sign=True)[0],
    lambda s, x: s.softmax(x, axis=1)[:, 0],
    lambda s, x: s.softmax(x)[0],
    lambda s, x: s.log_softmax(x, axis=0)[1],
    lambda s, x: s.polygamma(2, np.abs(x) + 0.5),
    lambda s, x: s.zeta(3.0, np.abs(x) + 0.5),
    lambda s, x: s.multigammaln(4.5, 3) + x,
    lambda s, x: s.sinc(x),
]


@pytest.mark.parametrize("i", range(len(CALLS)))
def test_values_and_gradients(i: int) -> None:
    call = CALLS[i]
    assert_allclose(call(own, X), call(special, X), rtol=1e-13)
    grad = pb.grad(lambda x: np.sum(call(own, x) ** 2))(X)
    for at in np.ndindex(X.shape):
        step = np.zeros_like(X)
        step[at] = 1e-5
        ends = [np.sum(call(special, X + s) ** 2) for s in (step, -step)]
        assert grad[at] == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-6, abs=1e-7)


def test_large_logits_keep_their_digits() -> None:
    x = np.array([1e6, 1e6 + 1, 1e6 - 2])
    assert np.sum(own.softmax(x)) == pytest.approx(1, abs=1e-15)
    grad = pb.grad(lambda x: own.logsumexp(x))(x)
    assert_allclose(grad, special.softmax(np.array([0.0, 1.0, -2.0])), rtol=1e-9)
    assert own.logsumexp(np.array([-np.inf, -np.inf])) == -np.inf


def test_all_other_names_are_scipys() -> None:
    assert own.gammaln is special.gammaln
    assert set(dir(special)) <= set(dir(own))


def test_orders_are_whole() -> None:
    with pytest.raises(ArgumentError, match="whole number"):
        own.polygamma(1.5, 2.0)

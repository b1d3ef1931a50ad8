"""Sums and quadrature against SciPy and differences."""

import numpy as np
import pytest
import scipy.integrate
from numpy.testing import assert_allclose

import pullback as pb
from pullback.errors import ForeignArrayError, UnsupportedError

own = pb.scipy.integrate
RNG = np.random.default_rng(0)
Y, X = RNG.normal(size=(3, 8)), np.sort(RNG.uniform(0, 3, 8))


@pytest.mark.parametrize("name", ["trapezoid", "simpson", "cumulative_trapezoid"])
def test_sums_of_samples(name: str) -> None:
    mine, scipys = getattr(own, name), getattr(scipy.integrate, name)
    assert_allclose(mine(Y, x=X), scipys(Y, x=X))
    assert_allclose(mine(Y, dx=0.3, axis=0), scipys(Y, dx=0.3, axis=0))
    pb.check_grads(lambda y: mine(y, x=X), (Y,))
    if name != "simpson":
        pb.check_grads(lambda x: mine(Y, x), (X,))


def wave(low: object, high: object, rate: object, speed: object) -> object:
    return own.quad(
        lambda t, speed: np.exp(-rate * t * t) * np.cos(speed * t), low, high, args=(speed,)
    )[0]


def test_integrals_in_bounds_and_parameters() -> None:
    args = tuple(map(np.array, (-0.3, 1.2, 0.7, 1.5)))
    expected = scipy.integrate.quad(lambda t: np.exp(-0.7 * t * t) * np.cos(1.5 * t), -0.3, 1.2)[0]
    assert_allclose(wave(*args), expected, rtol=1e-14)
    pb.check_grads(wave, args, order=1)
    slope = pb.grad(wave, 2)
    assert_allclose(pb.compile(slope)(*args), slope(*args))


def test_infinite_bounds_and_batches() -> None:
    rates = np.array([1.0, 2.0])
    found = pb.vmap(pb.grad(lambda r: wave(0.0, np.inf, r, 0.0)))(rates)
    assert_allclose(found, -np.sqrt(np.pi) / 4 * rates**-1.5, rtol=1e-8)


def test_refusals() -> None:
    with pytest.raises(UnsupportedError, match="weight='cos'"):
        own.quad(np.cos, 0, 1, weight="cos")
    with pytest.raises(UnsupportedError, match="use trapezoid"):
        pb.grad(lambda x: own.simpson(X, x))(X)
    with pytest.raises(ForeignArrayError, match=r"use pullback.scipy.integrate.quad"):
        pb.grad(lambda x: scipy.integrate.quad(lambda t: t * x, 0, 1)[0])(1.0)

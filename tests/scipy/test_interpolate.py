"""Splines and grids against SciPy and differences."""

import numpy as np
import pytest
import scipy.interpolate
from numpy.testing import assert_allclose

import pullback as pb
from pullback.errors import ArgumentError, UnsupportedError

own = pb.scipy.interpolate
RNG = np.random.default_rng(0)
X = np.array([0.0, 0.7, 1.5, 2.6, 3.1, 4.0])
Y, MANY = RNG.normal(size=6), RNG.normal(size=(6, 2))
AT = np.array([0.2, 1.1, 2.9, 3.6])
ENDS = ["not-a-knot", "natural", "clamped", ((1, 0.3), (2, -0.4))]


@pytest.mark.parametrize("ends", ENDS, ids=str)
def test_cubic_splines(ends: object) -> None:
    y = MANY if isinstance(ends, str) else Y
    for n in (2, 3, 4, 6):
        expected = scipy.interpolate.CubicSpline(X[:n], y[:n], bc_type=ends)(AT)
        found = own.CubicSpline(X[:n], y[:n], bc_type=ends)(AT)
        assert_allclose(found, expected, rtol=1e-10, atol=1e-12, err_msg=str(n))
    pb.check_grads(lambda x, y, at: own.CubicSpline(x, y, bc_type=ends)(at), (X, Y, AT))


@pytest.mark.parametrize("name", ["CubicSpline", "PchipInterpolator"])
def test_derivatives_and_integrals_of_splines(name: str) -> None:
    found, expected = getattr(own, name)(X, Y), getattr(scipy.interpolate, name)(X, Y)
    for order in (1, 2, 3):
        assert_allclose(found(AT, order), expected(AT, order), atol=1e-10)
    assert_allclose(found.antiderivative(2)(AT), expected.antiderivative(2)(AT))
    assert_allclose(found.integrate(0.5, 3.0), expected.integrate(0.5, 3.0))
    turned = AT.reshape(2, 2)
    expected = getattr(scipy.interpolate, name)(X, MANY.T, axis=1)(turned)
    assert_allclose(getattr(own, name)(X, MANY.T, axis=1)(turned), expected)
    assert np.isnan(getattr(own, name)(X, Y, extrapolate=False)(9.0))
    pb.check_grads(lambda x, y, at: getattr(own, name)(x, y)(at), (X, Y, AT))


def test_hermite_and_lines() -> None:
    found = own.CubicHermiteSpline(X, Y, MANY[:, 0])(AT)
    assert_allclose(found, scipy.interpolate.CubicHermiteSpline(X, Y, MANY[:, 0])(AT))
    for kind in ("linear", "cubic"):
        args = (X[::-1], MANY[::-1].T, kind)
        assert_allclose(own.interp1d(*args)(AT), scipy.interpolate.interp1d(*args)(AT))
    pb.check_grads(lambda x, y, at: own.interp1d(x, y)(at), (X, Y, AT))
    options = {"bounds_error": False, "fill_value": (1.0, 2.0)}
    around = np.array([-1.0, 2.0, 9.0])
    expected = scipy.interpolate.interp1d(X, Y, **options)(around)
    assert_allclose(own.interp1d(X, Y, **options)(around), expected)


def test_grids() -> None:
    grid = (np.arange(4.0), np.array([0, 0.5, 2.0]))
    values, at = RNG.normal(size=(4, 3, 2)), RNG.uniform(0.1, 1.9, (5, 2))
    expected = scipy.interpolate.RegularGridInterpolator(grid, values)(at)
    assert_allclose(own.RegularGridInterpolator(grid, values)(at), expected)
    pb.check_grads(lambda v, at: own.RegularGridInterpolator(grid, v)(at), (values, at))


def test_compiled_and_batched() -> None:
    bend = pb.grad(lambda y: np.sum(own.CubicSpline(X, y)(AT) ** 2))
    assert_allclose(pb.compile(bend)(Y), bend(Y))
    assert_allclose(pb.vmap(bend)(MANY.T), [bend(y) for y in MANY.T])
    slope = pb.grad(own.CubicSpline(X, Y))
    assert_allclose(pb.vmap(slope)(AT), own.CubicSpline(X, Y)(AT, 1))


def test_refusals() -> None:
    with pytest.raises(ArgumentError, match="do not increase"):
        own.CubicSpline(X[::-1], Y)
    with pytest.raises(UnsupportedError, match="bc_type='periodic'"):
        own.CubicSpline(X, Y, bc_type="periodic")
    with pytest.raises(UnsupportedError, match="kind='quadratic'"):
        own.interp1d(X, Y, "quadratic")
    with pytest.raises(ArgumentError, match="beyond the data"):
        own.interp1d(X, Y)(7.0)

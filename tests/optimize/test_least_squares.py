"""least_squares and curve_fit against SciPy with Jacobians by differences, and exact fits."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import optimize

import pullback as pb
from pullback.errors import ArgumentError

T = np.linspace(0, 3, 25)
NOISE = np.random.default_rng(3).normal(size=25) * 0.01
Y = 2.5 * np.exp(-1.3 * T) + 0.5 + NOISE


def residuals(p: np.ndarray) -> np.ndarray:
    return p[0] * np.exp(-p[1] * T) + p[2] - Y


@pytest.mark.parametrize("method", ["trf", "dogbox", "lm"])
@pytest.mark.parametrize("is_compiled", [False, True])
def test_the_fit_is_scipys(method: str, is_compiled: bool) -> None:
    expected = optimize.least_squares(residuals, [1, 1, 0], method=method)
    result = pb.optimize.least_squares(residuals, [1, 1, 0], method=method, compile=is_compiled)
    assert_allclose(result.x, expected.x, rtol=1e-5)
    assert_allclose(result.jac, expected.jac, atol=1e-5)
    assert result.nfev <= expected.nfev


def test_containers_bounds_and_robust_losses() -> None:
    outliers = Y.copy()
    outliers[3] += 20

    def model(p: dict) -> dict:
        fit = p["scale"] * np.exp(-p["rate"] * T) + p["offset"]
        return {"data": fit - outliers, "prior": (p["offset"] - 0.5) * 0.1}

    start = {"scale": 1.0, "rate": 1.0, "offset": 0.0}
    result = pb.optimize.least_squares(
        model,
        start,
        bounds=({"scale": 0.0, "rate": 0.0, "offset": None}, np.inf),
        loss="soft_l1",
        f_scale=0.02,
    )
    assert set(result.x) == set(start)
    assert float(result.x["rate"]) == pytest.approx(1.3, rel=0.05)
    assert result.jac.shape == (26, 3)
    assert float(result.grad["rate"]) == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("p0", [None, [1.0, 1.0, 0.0]])
@pytest.mark.parametrize("bounds", [None, (0, [9, 9, 9])])
def test_curve_fit_is_scipys(p0: list | None, bounds: tuple | None) -> None:
    def model(t: np.ndarray, a: float, b: float, c: float) -> np.ndarray:
        return a * np.exp(-b * t) + c

    limits = {} if bounds is None else {"bounds": bounds}
    expected, covariance = optimize.curve_fit(model, T, Y, p0, sigma=0.01 * np.ones(25), **limits)
    popt, pcov = pb.optimize.curve_fit(model, T, Y, p0, sigma=0.01 * np.ones(25), bounds=bounds)
    assert_allclose(popt, expected, rtol=1e-5)
    assert_allclose(pcov, covariance, rtol=1e-3)


def test_curve_fit_takes_containers() -> None:
    def model(t: np.ndarray, p: dict) -> np.ndarray:
        return p["ab"][0] * np.exp(-p["ab"][1] * t) + p["c"]

    popt, pcov = pb.optimize.curve_fit(model, T, Y, {"ab": np.ones(2), "c": 0.0})
    assert_allclose(popt["ab"], [2.5, 1.3], rtol=0.02)
    assert pcov.shape == (3, 3)


def test_models_without_a_count_of_parameters_need_a_start() -> None:
    with pytest.raises(ArgumentError, match="pass p0"):
        pb.optimize.curve_fit(lambda t, *p: p[0] * t, T, Y)


def test_a_lower_bound_above_the_upper_one_is_named() -> None:
    with pytest.raises(ArgumentError, match="lower <= upper"):
        pb.optimize.least_squares(residuals, [1, 1, 0], bounds=(1, 0))

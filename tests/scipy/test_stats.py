"""Distributions against scipy.stats, inside and outside of the support, and differences."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats

import pullback as pb
from pullback.errors import ArgumentError

own = pb.scipy.stats
CONTINUOUS = {
    "norm": (),
    "halfnorm": (),
    "lognorm": (0.7,),
    "t": (3.5,),
    "cauchy": (),
    "expon": (),
    "gamma": (2.5,),
    "chi2": (3.5,),
    "beta": (2.0, 3.5),
    "uniform": (),
    "laplace": (),
    "logistic": (),
    "gumbel_r": (),
    "weibull_min": (1.7,),
    "pareto": (2.5,),
}
DISCRETE = {"poisson": (2.5,), "binom": (5, 0.3), "bernoulli": (0.3,), "nbinom": (2.5, 0.4)}
LOC, SCALE = 0.4, 1.7
X = np.array([-2.0, 0.3, 0.6, 1.1, 1.9, 2.4, 5.0])


@pytest.mark.parametrize("name", CONTINUOUS)
@pytest.mark.parametrize("method", ["pdf", "logpdf", "cdf", "sf", "logcdf", "logsf"])
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_continuous_values(name: str, method: str) -> None:
    args = (*CONTINUOUS[name], LOC, SCALE)
    expected = getattr(getattr(stats, name), method)(X, *args)
    assert_allclose(getattr(getattr(own, name), method)(X, *args), expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", CONTINUOUS)
def test_quantiles(name: str) -> None:
    q = np.array([0.01, 0.3, 0.7, 0.99])
    args = CONTINUOUS[name]
    expected = getattr(stats, name).ppf(q, *args, loc=LOC, scale=SCALE)
    assert_allclose(getattr(own, name).ppf(q, *args, loc=LOC, scale=SCALE), expected, rtol=1e-10)


@pytest.mark.parametrize("name", CONTINUOUS)
@pytest.mark.parametrize("method", ["logpdf", "cdf"])
def test_derivatives_in_all_parameters(name: str, method: str) -> None:
    shapes = CONTINUOUS[name]
    values = [3.2 if name == "pareto" else 1.6, *shapes, LOC, SCALE]  # inside of the support
    for i in range(len(values)):
        found = pb.grad(getattr(getattr(own, name), method), i)(*values)
        ends = []
        for step in (1e-5, -1e-5):
            moved = list(values)
            moved[i] += step
            ends.append(getattr(getattr(stats, name), method)(*moved))
        assert float(found) == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("name", DISCRETE)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_discrete(name: str) -> None:
    k = np.array([-1, 0, 1, 2, 5, 7])
    args = DISCRETE[name]
    theirs, ours = getattr(stats, name), getattr(own, name)
    for method in ("pmf", "logpmf", "cdf"):
        assert_allclose(
            getattr(ours, method)(k, *args),
            getattr(theirs, method)(k, *args),
            rtol=1e-12,
            atol=1e-15,
        )
    last = len(args) - 1
    found = pb.grad(lambda p: np.sum(ours.logpmf(k[1:3], *args[:last], p)))(args[last])
    ends = [np.sum(theirs.logpmf(k[1:3], *args[:last], args[last] + h)) for h in (1e-6, -1e-6)]
    assert float(found) == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-6)


def test_a_likelihood_is_fitted() -> None:
    data = stats.gamma.rvs(3.0, scale=2.0, size=200, random_state=np.random.default_rng(0))

    def negative(p: np.ndarray) -> np.ndarray:
        return -np.mean(own.gamma.logpdf(data, np.exp(p[0]), 0, np.exp(p[1])))

    found = np.exp(pb.optimize.minimize(negative, [0.0, 0.0]).x)
    a, _, scale = stats.gamma.fit(data, floc=0)
    assert_allclose(found, [a, scale], rtol=1e-3)


def test_outside_of_the_support_the_density_is_flat() -> None:
    assert pb.grad(own.expon.pdf)(-1.0) == 0
    assert own.expon.pdf(-1.0) == 0


def test_arguments_are_checked() -> None:
    with pytest.raises(ArgumentError, match="missing: a") as caught:
        own.gamma.logpdf(1.0)
    assert "test_stats.py" in str(caught.value)
    with pytest.raises(ArgumentError, match="parameters: loc, scale"):
        own.norm.logpdf(1.0, sigma=2.0)

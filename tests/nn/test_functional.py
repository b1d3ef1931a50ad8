"""Activations against SciPy's special functions, and their derivatives against differences."""

from typing import Any

import mpmath
import numpy as np
import pytest
from scipy import special, stats

import pullback as pb
from pullback import nn
from pullback.numpy import logsumexp

Z = np.array([-30.0, -3.0, -1.0, -0.1, 0.0, 0.1, 1.0, 3.0, 30.0])
REFERENCES = {
    nn.sigmoid: special.expit,
    nn.tanh: lambda z: 1 - 2 * special.expit(-2 * z),
    nn.gelu: lambda z: z * stats.norm.cdf(z),
    nn.silu: lambda z: z * special.expit(z),
    nn.softplus: lambda z: -special.log_expit(-z),
    nn.elu: lambda z: special.expm1(np.minimum(z, 0)) + z.clip(0),
    nn.relu: lambda z: (z + abs(z)) / 2,
    nn.leaky_relu: lambda z: (1.01 * z + 0.99 * abs(z)) / 2,
}
ELEMENTWISE = [*REFERENCES, nn.selu]
SLOPES_AT_ZERO = {nn.relu: 0.0, nn.leaky_relu: 0.01, nn.elu: 1.0, nn.gelu: 0.5, nn.tanh: 1.0}


def slope(function: Any, z: Any) -> Any:
    return pb.grad(lambda z: np.sum(function(z)))(z)


@pytest.mark.parametrize("function", REFERENCES, ids=lambda f: f.__name__)
def test_values(function: Any) -> None:
    np.testing.assert_allclose(function(Z), REFERENCES[function](Z), rtol=1e-14, atol=1e-15)


def test_selu_has_a_fixed_point_at_mean_zero_and_variance_one() -> None:
    quantiles = (np.arange(200_000) + 0.5) / 200_000
    y = nn.selu(special.ndtri(quantiles))
    assert y.mean() == pytest.approx(0, abs=1e-4)
    assert y.var() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("function", ELEMENTWISE, ids=lambda f: f.__name__)
def test_slopes(function: Any) -> None:
    z = Z[Z != 0]
    h = 1e-3
    differences = (
        function(z - 2 * h) - 8 * function(z - h) + 8 * function(z + h) - function(z + 2 * h)
    ) / (12 * h)
    np.testing.assert_allclose(slope(function, z), differences, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("function", SLOPES_AT_ZERO, ids=lambda f: f.__name__)
def test_slopes_at_zero_are_those_documented(function: Any) -> None:
    assert slope(function, np.zeros(1))[0] == SLOPES_AT_ZERO[function]


@pytest.mark.parametrize("function", ELEMENTWISE, ids=lambda f: f.__name__)
def test_extremes_are_finite_and_nan_is_not_hidden(function: Any) -> None:
    assert np.isfinite(slope(function, np.array([-1e4, 1e4]))).all()
    assert np.isnan(function(np.array([np.nan])))[0]


@pytest.mark.parametrize("function", [*ELEMENTWISE, nn.softmax], ids=lambda f: f.__name__)
def test_float32_stays(function: Any) -> None:
    z = Z.astype(np.float32)
    assert function(z).dtype == np.float32
    assert slope(function, z).dtype == np.float32


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_softmax(axis: int, rng: np.random.Generator) -> None:
    z = 100 * rng.normal(size=(4, 5))
    np.testing.assert_allclose(nn.softmax(z, axis), special.softmax(z, axis), atol=1e-14)
    np.testing.assert_allclose(
        nn.log_softmax(z, axis), special.log_softmax(z, axis), rtol=1e-13, atol=1e-13
    )


def test_the_jacobian_of_softmax(rng: np.random.Generator) -> None:
    z = rng.normal(size=4)
    p = special.softmax(z)
    np.testing.assert_allclose(pb.jacobian(nn.softmax)(z), np.diag(p) - np.outer(p, p), atol=1e-15)


OFFSETS = [0.0, 3e3, 1e6, -1e6]


def exact_softmax(z: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Softmax, its logarithm and logsumexp of a vector, with 60 digits."""
    with mpmath.workdps(60):
        powers = [mpmath.exp(mpmath.mpf(float(v))) for v in z]
        total = mpmath.fsum(powers)
        shares = np.array([float(p / total) for p in powers])
        logs = np.array([float(mpmath.log(p / total)) for p in powers])
        return shares, logs, float(mpmath.log(total))


@pytest.mark.parametrize("offset", OFFSETS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("run", [lambda f: f, pb.compile], ids=["eager", "compiled"])
def test_digits_of_softmax_at_any_offset(run: Any, dtype: Any, offset: float) -> None:
    z = (offset + np.array([0.0, 1.0, -2.0, 0.5, -1.0])).astype(dtype)
    shares, logs, total = exact_softmax(z)
    rtol = 1e-6 if dtype is np.float32 else 1e-14
    np.testing.assert_allclose(run(nn.softmax)(z), shares, rtol=rtol)
    np.testing.assert_allclose(run(nn.log_softmax)(z), logs, rtol=rtol)
    np.testing.assert_allclose(run(logsumexp)(z), total, rtol=rtol)
    assert abs(float(run(nn.softmax)(z).sum()) - 1) < rtol
    np.testing.assert_allclose(run(pb.grad(logsumexp))(z), shares, rtol=rtol)
    target = np.array([3])
    loss = lambda z: nn.softmax_cross_entropy(z[None], target)
    value, gradient = run(pb.value_and_grad(loss))(z)
    np.testing.assert_allclose(value, -logs[3], rtol=rtol)
    np.testing.assert_allclose(gradient, shares - np.eye(5)[3], rtol=10 * rtol, atol=rtol)
    assert abs(float(gradient.sum())) < rtol
    weights = np.arange(5.0).astype(dtype)
    of_shares = run(pb.grad(lambda z: np.sum(weights * nn.softmax(z))))(z)
    expected = shares * (weights - weights @ shares)
    np.testing.assert_allclose(of_shares, expected, rtol=10 * rtol, atol=rtol)
    second = run(pb.hessian(logsumexp))(z)
    np.testing.assert_allclose(second, np.diag(shares) - np.outer(shares, shares), atol=rtol)


@pytest.mark.parametrize("run", [lambda f: f, pb.compile], ids=["eager", "compiled"])
def test_logsumexp_at_infinity(run: Any) -> None:
    gradient = run(pb.grad(logsumexp))
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(gradient(np.array([np.inf, 1.0])), [1, 0])
        np.testing.assert_array_equal(gradient(np.array([np.inf, np.inf, 3])), [0.5, 0.5, 0])
        np.testing.assert_array_equal(gradient(np.array([-np.inf, -np.inf])), [0, 0])


@pytest.mark.parametrize("run", [lambda f: f, pb.compile], ids=["eager", "compiled"])
@pytest.mark.parametrize(("dtype", "x"), [(np.float64, -720.0), (np.float32, -95.0)])
def test_sigmoids_keep_numbers_below_the_normal_ones(run: Any, dtype: Any, x: float) -> None:
    x = np.full(5, x, dtype)
    expected = float(mpmath.exp(mpmath.mpf(float(x[0]))))
    spacing = float(np.spacing(dtype(expected)))
    np.testing.assert_allclose(run(nn.sigmoid)(x), expected, atol=spacing, rtol=0)
    gradient = run(pb.grad(lambda x: np.sum(nn.sigmoid(x))))(x)
    np.testing.assert_allclose(gradient, expected, atol=2 * spacing, rtol=0)

"""Regression with a Gaussian process: hyperparameters by the gradient of the marginal likelihood.

Rasmussen & Williams (2006), *Gaussian Processes for Machine Learning*, algorithm 2.1; the reference
for the gradient is their equation 5.9, which needs no derivative of a Cholesky factor.
"""

import numpy as np

import pullback as pb

RNG = np.random.default_rng(0)
X = np.sort(RNG.uniform(0, 5, 30))
Y = np.sin(X) + 0.1 * RNG.normal(size=30)
THETA = np.log(np.array([0.8, 1.2, 0.3]))  # length, amplitude, noise


def kernel(theta):
    length, amplitude, noise = np.exp(theta)
    distances = (X[:, None] - X[None, :]) / length
    return amplitude**2 * np.exp(-0.5 * distances**2) + noise**2 * np.eye(len(X))


def negative_log_likelihood(theta):
    factor = np.linalg.cholesky(kernel(theta))
    alpha = np.linalg.solve(factor.T, np.linalg.solve(factor, Y))
    half_log_det = np.sum(np.log(np.diag(factor)))
    return 0.5 * Y @ alpha + half_log_det + 0.5 * len(X) * np.log(2 * np.pi)


def reference(theta):
    """Equation 5.9: half the trace of (K^-1 - a a^T) dK."""
    inverse = np.linalg.inv(kernel(theta))
    alpha = inverse @ Y
    length, amplitude, noise = np.exp(theta)
    squares = ((X[:, None] - X[None, :]) / length) ** 2
    smooth = amplitude**2 * np.exp(-0.5 * squares)
    changes = (smooth * squares, 2 * smooth, 2 * noise**2 * np.eye(len(X)))
    return np.array([0.5 * np.sum((inverse - np.outer(alpha, alpha)) * d) for d in changes])


def test_the_gradient_is_that_of_the_book() -> None:
    expected = reference(THETA)
    np.testing.assert_allclose(pb.grad(negative_log_likelihood)(THETA), expected, rtol=1e-9)
    compiled = pb.compile(pb.value_and_grad(negative_log_likelihood))
    value, gradient = compiled(THETA)
    np.testing.assert_allclose(value, negative_log_likelihood(THETA), rtol=1e-12)
    np.testing.assert_allclose(gradient, expected, rtol=1e-9)
    pb.check_grads(negative_log_likelihood, (THETA,))


def test_training_finds_the_noise() -> None:
    step = pb.compile(pb.value_and_grad(negative_log_likelihood))
    theta, losses = THETA, []
    for _ in range(80):
        value, gradient = step(theta)
        losses.append(value)
        theta = theta - 0.01 * gradient
    assert losses[-1] < losses[0] - 5
    assert 0.05 < np.exp(theta[2]) < 0.2
    covariance = np.linalg.inv(pb.hessian(negative_log_likelihood)(theta))
    assert np.all(np.linalg.eigvalsh(covariance) > 0)  # a maximum of the likelihood

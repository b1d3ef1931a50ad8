"""A Kalman filter whose noises are estimated by the gradient of the likelihood.

Kalman (1960); the likelihood of the innovations is Harvey (1990), section 3.4. The reference is the
density of all observations at once, a normal distribution with the covariance of the model.
"""

import numpy as np

import pullback as pb

STEP = np.array([[1.0, 0.1], [0.0, 1.0]])  # position and speed
SEEN = np.array([[1.0, 0.0]])
RNG = np.random.default_rng(8)
OBSERVED = np.cumsum(0.1 * np.cumsum(0.3 * RNG.normal(size=15))) + 0.2 * RNG.normal(size=15)
LOGS = np.log(np.array([0.1, 0.05]))


def noises(logs):
    process, measurement = np.exp(logs)
    return process * np.eye(2), measurement * np.eye(1)


def filtered(logs):
    """Minus the log likelihood, one observation after the other."""
    q, r = noises(logs)
    mean, covariance = np.zeros(2), np.eye(2)
    total = 0.0
    for y in OBSERVED:
        mean, covariance = STEP @ mean, STEP @ covariance @ STEP.T + q
        spread = SEEN @ covariance @ SEEN.T + r
        gain = np.linalg.solve(spread, SEEN @ covariance).T
        error = np.atleast_1d(y - SEEN @ mean)
        total += 0.5 * (np.linalg.slogdet(2 * np.pi * spread).logabsdet)
        total += 0.5 * error @ np.linalg.inv(spread) @ error
        mean = mean + gain @ error
        covariance = covariance - gain @ spread @ gain.T
    return total


def scanned(logs):
    """The same with a scan, whose graph has one step."""
    q, r = noises(logs)

    def step(state, y):
        mean, covariance = state
        mean, covariance = STEP @ mean, STEP @ covariance @ STEP.T + q
        spread = SEEN @ covariance @ SEEN.T + r
        gain = np.linalg.solve(spread, SEEN @ covariance).T
        error = y - SEEN @ mean
        part = np.linalg.slogdet(2 * np.pi * spread)[1] + error @ np.linalg.solve(spread, error)
        return (mean + gain @ error, covariance - gain @ spread @ gain.T), 0.5 * part

    return np.sum(pb.scan(step, (np.zeros(2), np.eye(2)), OBSERVED)[1])


def at_once(logs):
    """The joint density, by the covariance of all states."""
    q, r = noises(logs)
    n = len(OBSERVED)
    powers = [np.linalg.matrix_power(STEP, k) for k in range(n + 1)]
    covariance = np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            part = powers[i + 1] @ powers[j + 1].T
            for k in range(min(i, j) + 1):
                part = part + powers[i - k] @ q @ powers[j - k].T
            covariance[i, j] = (SEEN @ part @ SEEN.T)[0, 0]
    covariance += r[0, 0] * np.eye(n)
    weights = np.linalg.solve(covariance, OBSERVED)
    return 0.5 * (np.linalg.slogdet(2 * np.pi * covariance)[1] + OBSERVED @ weights)


def test_the_likelihood_and_its_gradient() -> None:
    expected = at_once(LOGS)
    h = 1e-5
    slopes = [(at_once(LOGS + h * e) - at_once(LOGS - h * e)) / (2 * h) for e in np.eye(2)]
    for likelihood in (filtered, scanned):
        for transformed in (pb.value_and_grad, lambda f: pb.compile(pb.value_and_grad(f))):
            value, gradient = transformed(likelihood)(LOGS)
            np.testing.assert_allclose(value, expected, rtol=1e-10)
            np.testing.assert_allclose(gradient, slopes, rtol=1e-7)
    pb.check_grads(scanned, (LOGS,))
    h_filtered, h_scanned = pb.hessian(filtered)(LOGS), pb.hessian(scanned)(LOGS)
    np.testing.assert_allclose(h_filtered, h_scanned, rtol=1e-8)


def test_the_estimate_is_a_maximum() -> None:
    step = pb.compile(pb.value_and_grad(scanned))
    logs = LOGS
    for _ in range(150):
        logs = logs - 0.1 * step(logs)[1]
    assert np.linalg.norm(pb.grad(filtered)(logs)) < 0.3
    assert at_once(logs) < at_once(LOGS)

"""A mixture of normal distributions: Bishop (2006), section 9.2.

The reference is SciPy's density, and the gradient written with responsibilities (9.16 to 9.19).
"""

import numpy as np
from scipy.special import softmax
from scipy.stats import multivariate_normal

import pullback as pb

RNG = np.random.default_rng(7)
X = np.concatenate([RNG.normal(size=(12, 2)), RNG.normal(size=(10, 2)) + 3])
LOGITS, MEANS = np.array([0.2, -0.3]), np.array([[0.1, 0.2], [2.5, 2.0]])
FACTORS = np.stack([np.array([[1.0, 0.0], [0.3, 0.8]]), np.array([[0.9, 0.0], [-0.2, 1.2]])])


def log_likelihood(logits, means, factors):
    weights = np.exp(logits) / np.sum(np.exp(logits))
    total = 0.0
    for x in X:
        density = 0.0
        for w, mean, factor in zip(weights, means, factors, strict=True):
            z = np.linalg.solve(factor, x - mean)
            density += w * np.exp(-0.5 * z @ z) / (2 * np.pi * np.abs(np.linalg.det(factor)))
        total += np.log(density)
    return total


def in_one_go(logits, means, factors):
    """The same without a loop, as it would be written for many points."""
    gaps = X[:, None, :] - means
    z = np.einsum("kij,nkj->nki", np.linalg.inv(factors), gaps)
    logs = -0.5 * np.sum(z**2, axis=-1) - np.log(2 * np.pi) - np.linalg.slogdet(factors)[1]
    return np.sum(np.logaddexp.reduce(logs + logits - np.logaddexp.reduce(logits), axis=1))


def densities():
    return np.stack(
        [multivariate_normal(m, f @ f.T).pdf(X) for m, f in zip(MEANS, FACTORS, strict=True)], 1
    )


def test_likelihood_is_scipys() -> None:
    expected = np.sum(np.log(densities() @ softmax(LOGITS)))
    for f in (log_likelihood, in_one_go):
        np.testing.assert_allclose(f(LOGITS, MEANS, FACTORS), expected)


def test_gradient_is_that_of_the_responsibilities() -> None:
    joint = densities() * softmax(LOGITS)
    shares = joint / joint.sum(axis=1, keepdims=True)
    of_logits = shares.sum(axis=0) - len(X) * softmax(LOGITS)
    of_means = np.stack([
        np.linalg.solve(f @ f.T, ((X - m) * shares[:, [k]]).sum(axis=0))
        for k, (m, f) in enumerate(zip(MEANS, FACTORS, strict=True))
    ])  # fmt: skip
    for f in (log_likelihood, in_one_go, pb.compile(in_one_go)):
        logits, means = pb.grad(f, (0, 1))(LOGITS, MEANS, FACTORS)
        np.testing.assert_allclose(logits, of_logits)
        np.testing.assert_allclose(means, of_means)
    pb.check_grads(in_one_go, (LOGITS, MEANS, FACTORS))

"""Principal components by a singular value decomposition, and losses that look through them."""

import numpy as np

import pullback as pb

RNG = np.random.default_rng(5)
DATA = RNG.normal(size=(12, 3)) @ RNG.normal(size=(3, 5)) + 0.1 * RNG.normal(size=(12, 5))


def components(x, k):
    centered = x - np.mean(x, axis=0)
    u, s, vh = np.linalg.svd(centered, full_matrices=False)
    return u[:, :k] * s[:k], vh[:k], s


def unexplained(x):
    scores, axes, _ = components(x, 2)
    rest = x - np.mean(x, axis=0) - scores @ axes
    return np.sum(rest**2)


def test_what_two_components_leave() -> None:
    """It is the sum of the other squared singular values, whose gradient is known."""
    centered = DATA - DATA.mean(axis=0)
    u, s, vh = np.linalg.svd(centered, full_matrices=False)
    np.testing.assert_allclose(unexplained(DATA), np.sum(s[2:] ** 2))
    expected = 2 * (u[:, 2:] * s[2:]) @ vh[2:]
    for gradient in (pb.grad(unexplained), pb.compile(pb.grad(unexplained))):
        np.testing.assert_allclose(gradient(DATA), expected, atol=1e-12)
    pb.check_grads(unexplained, (DATA,), rtol=1e-6)


def test_a_loss_on_the_plane_of_the_components() -> None:
    """The covariance's eigenvectors span the same plane as the singular vectors of the data."""

    def by_svd(x):
        axes = components(x, 2)[1]
        return np.sum(np.sin(axes.T @ axes))

    def by_eigh(x):
        v = np.linalg.eigh(np.cov(x.T))[1][:, -2:]
        return np.sum(np.sin(v @ v.T))

    np.testing.assert_allclose(by_svd(DATA), by_eigh(DATA))
    np.testing.assert_allclose(pb.grad(by_svd)(DATA), pb.grad(by_eigh)(DATA), atol=1e-10)
    pb.check_grads(by_svd, (DATA,), rtol=1e-5)


def test_data_of_lower_rank_than_columns() -> None:
    """Two singular values are zero: their vectors are arbitrary, and are not used."""
    low = RNG.normal(size=(12, 3)) @ RNG.normal(size=(3, 5))

    def explained(x):
        scores, axes, s = components(x, 3)
        return np.sum(np.cos(scores @ axes)) + np.sum(np.log(s[:3]))

    u = RNG.normal(size=low.shape)
    h = 1e-6
    expected = (explained(low + h * u) - explained(low - h * u)) / (2 * h)
    np.testing.assert_allclose(np.sum(pb.grad(explained)(low) * u), expected, rtol=1e-6)

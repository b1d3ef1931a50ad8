"""A robot's path from noisy measurements between poses: Grisetti et al. (2010), section V.

The reference is the Jacobian that the paper writes down, in its equations 33 and 34.
"""

import numpy as np

import pullback as pb

RNG = np.random.default_rng(5)
TRUTH = np.array([[0, 0, 0], [1, 0.1, 0.4], [1.8, 0.7, 1.1], [1.9, 1.8, 2.0], [0.6, 1.5, 3.0]])
EDGES = [(0, 1), (1, 2), (2, 3), (3, 4), (0, 3), (1, 4)]


def rotation(angle):
    c, s = np.cos(angle), np.sin(angle)
    return np.stack([np.stack([c, -s]), np.stack([s, c])])


def between(a, b):
    """The pose ``b`` as seen from ``a``."""
    turned = (b[2] - a[2] + np.pi) % (2 * np.pi) - np.pi
    return np.append(rotation(a[2]).T @ (b[:2] - a[:2]), turned)


MEASURED = [between(TRUTH[i], TRUTH[j]) + 0.01 * RNG.normal(size=3) for i, j in EDGES]
GUESS = TRUTH + 0.1 * RNG.normal(size=TRUTH.shape)


def residuals(poses):
    found = [poses[0]]  # which holds the first pose in its place
    for (i, j), z in zip(EDGES, MEASURED, strict=True):
        error = between(poses[i], poses[j])
        found.append(np.append(rotation(z[2]).T @ (error[:2] - z[:2]), error[2] - z[2]))
    return np.concatenate(found)


def of_the_paper(poses):
    jacobian = np.zeros((3 + 3 * len(EDGES), poses.size))
    jacobian[:3, :3] = np.eye(3)
    for k, ((i, j), z) in enumerate(zip(EDGES, MEASURED, strict=True)):
        rows = slice(3 + 3 * k, 6 + 3 * k)
        r_i, r_z = rotation(poses[i, 2]), rotation(z[2])
        d_r = np.array(
            [
                [-np.sin(poses[i, 2]), -np.cos(poses[i, 2])],
                [np.cos(poses[i, 2]), -np.sin(poses[i, 2])],
            ]
        )
        a, b = np.zeros((3, 3)), np.eye(3)
        a[:2, :2], a[:2, 2] = -r_z.T @ r_i.T, r_z.T @ d_r.T @ (poses[j, :2] - poses[i, :2])
        a[2, 2], b[:2, :2] = -1, r_z.T @ r_i.T
        jacobian[rows, 3 * i : 3 * i + 3] = a
        jacobian[rows, 3 * j : 3 * j + 3] = b
    return jacobian


def test_jacobian_is_that_of_the_paper() -> None:
    ours = pb.jacobian(residuals)(GUESS).reshape(-1, GUESS.size)
    np.testing.assert_allclose(ours, of_the_paper(GUESS), atol=1e-13)
    pb.check_grads(lambda poses: np.sum(residuals(poses) ** 2), (GUESS,))


def test_gauss_newton_finds_the_path() -> None:
    jacobian = pb.compile(pb.jacobian(residuals))
    poses = GUESS
    for _ in range(6):
        slopes = jacobian(poses).reshape(-1, poses.size)
        poses = poses - np.linalg.lstsq(slopes, residuals(poses))[0].reshape(poses.shape)
    assert np.max(np.abs(poses - TRUTH)) < 0.05
    gradient = pb.grad(lambda p: np.sum(residuals(p) ** 2))(poses)
    assert np.max(np.abs(gradient)) < 1e-8

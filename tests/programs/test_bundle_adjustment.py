"""Cameras and points from pictures: Triggs et al. (2000), with the camera of Agarwal et al. (2010).

The reference turns points with SciPy's rotations.
"""

import numpy as np
from scipy.spatial.transform import Rotation

import pullback as pb
import pullback.numpy as pnp

RNG = np.random.default_rng(6)
# Each camera: rotation vector, translation, focal length, two distortions.
CAMERAS = np.concatenate(
    [0.2 * RNG.normal(size=(2, 3)), 0.1 * RNG.normal(size=(2, 3)) - [0, 0, 4],
     np.tile([500.0, -0.1, 0.01], (2, 1))], axis=1
)  # fmt: skip
POINTS = RNG.normal(size=(3, 3))
SEEN = [(c, p) for c in range(2) for p in range(3)]


def rotated(vector, point):
    """Rodrigues' formula."""
    angle = np.sqrt(np.sum(vector**2))
    axis = vector / angle
    along = np.dot(axis, point) * (1 - np.cos(angle))
    return np.cos(angle) * point + np.sin(angle) * np.cross(axis, point) + along * axis


def project(camera, point):
    p = rotated(camera[:3], point) + camera[3:6]
    x, y = -p[0] / p[2], -p[1] / p[2]
    r2 = x * x + y * y
    scale = camera[6] * (1 + camera[7] * r2 + camera[8] * r2**2)
    return pnp.array([scale * x, scale * y])


def by_scipy(camera, point):
    p = Rotation.from_rotvec(camera[:3]).apply(point) + camera[3:6]
    flat = -p[:2] / p[2]
    r2 = flat @ flat
    return camera[6] * (1 + camera[7] * r2 + camera[8] * r2 * r2) * flat


PICTURES = [by_scipy(CAMERAS[c], POINTS[p]) + RNG.normal(size=2) for c, p in SEEN]


def errors(cameras, points):
    found = []
    for (c, p), picture in zip(SEEN, PICTURES, strict=True):
        found.append(project(cameras[c], points[p]) - picture)
    return np.concatenate(found)


def test_projection_is_scipys() -> None:
    for c, p in SEEN:
        np.testing.assert_allclose(
            pb.vjp(project, CAMERAS[c], POINTS[p])[0], by_scipy(CAMERAS[c], POINTS[p])
        )


def test_gradient_and_sparsity() -> None:
    pb.check_grads(lambda c, p: 1e-4 * np.sum(errors(c, p) ** 2), (CAMERAS, POINTS), rtol=1e-6)
    of_cameras, of_points = pb.jacobian(errors, (0, 1))(CAMERAS, POINTS)
    for k, (c, p) in enumerate(SEEN):
        rows = slice(2 * k, 2 * k + 2)
        assert np.any(of_cameras[rows, c])
        assert not np.any(of_cameras[rows, 1 - c])
        assert not np.any(np.delete(of_points[rows], p, axis=1))


def test_a_step_of_gauss_newton_lowers_the_error() -> None:
    jacobian = pb.compile(pb.jacobian(errors, 1))
    points = POINTS + 0.05
    for _ in range(4):
        slopes = jacobian(CAMERAS, points).reshape(-1, points.size)
        points = points - np.linalg.lstsq(slopes, errors(CAMERAS, points))[0].reshape(3, 3)
    assert np.sum(errors(CAMERAS, points) ** 2) < np.sum(errors(CAMERAS, POINTS) ** 2)

"""Flow around a wall by the lattice Boltzmann method: He & Luo (1997), with bounce-back.

Collisions and streaming conserve mass, and momentum where there is no wall: so the derivative of
either by every population is known.
"""

import numpy as np

import pullback as pb
import pullback.numpy as pnp

VELOCITIES = np.array(
    [[0, 0], [1, 0], [0, 1], [-1, 0], [0, -1], [1, 1], [-1, 1], [-1, -1], [1, -1]]
)
WEIGHTS = np.array([4 / 9] + [1 / 9] * 4 + [1 / 36] * 4)
OPPOSITE = [0, 3, 4, 1, 2, 7, 8, 5, 6]
NX, NY, STEPS = 5, 4, 4
RNG = np.random.default_rng(4)
START = WEIGHTS[:, None, None] * (1 + 0.05 * RNG.normal(size=(9, NX, NY)))
WALL = np.zeros((NX, NY), bool)
WALL[2, 1:3] = True


def equilibrium(density, u):
    result = pnp.zeros((9, NX, NY))
    square = np.sum(u**2, axis=0)
    for i in range(9):
        along = VELOCITIES[i, 0] * u[0] + VELOCITIES[i, 1] * u[1]
        result[i] = WEIGHTS[i] * density * (1 + 3 * along + 4.5 * along**2 - 1.5 * square)
    return result


def run(f, omega, wall):
    f = f.copy()
    for _ in range(STEPS):
        density = np.sum(f, axis=0)
        u = np.einsum("ia,ixy->axy", VELOCITIES, f) / density
        collided = f - omega * (f - equilibrium(density, u))
        bounced = f[OPPOSITE]
        for i in range(9):
            moved = np.where(wall, bounced[i], collided[i])
            f[i] = np.roll(moved, VELOCITIES[i], axis=(0, 1))
    return f


def test_mass_is_conserved_and_so_its_derivative_is_one() -> None:
    value, slopes = pb.value_and_grad(lambda f: np.sum(run(f, 1.2, WALL)))(START)
    np.testing.assert_allclose(value, np.sum(START))
    np.testing.assert_allclose(slopes, np.ones_like(START), atol=1e-13)


def test_momentum_is_conserved_where_there_is_no_wall() -> None:
    def momentum(f):
        return np.einsum("ia,ixy->a", VELOCITIES, run(f, 1.2, np.zeros((NX, NY), bool)))

    jacobian = pb.jacobian(momentum)(START)
    expected = np.broadcast_to(VELOCITIES.T[:, :, None, None], (2, 9, NX, NY))
    np.testing.assert_allclose(jacobian, expected, atol=1e-13)


def test_drag_by_the_relaxation() -> None:
    def drag(f, omega):
        return np.sum(np.einsum("ia,ixy->axy", VELOCITIES, run(f, omega, WALL))[0] ** 2)

    pb.check_grads(drag, (START, np.array(1.2)), rtol=1e-6)
    compiled = pb.compile(pb.grad(drag, (0, 1)))(START, np.array(1.2))
    for a, b in zip(compiled, pb.grad(drag, (0, 1))(START, np.array(1.2)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-13)

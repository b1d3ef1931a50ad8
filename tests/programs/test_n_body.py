"""Planets by the leapfrog method, as in Hairer, Lubich & Wanner (2006), section I.1.4.

Leapfrog is symplectic: its Jacobian J satisfies J^T S J = S, which no approximate derivative does.
"""

import numpy as np

import pullback as pb

MASSES = np.array([1.0, 0.3, 0.05])
RNG = np.random.default_rng(3)
POSITIONS = np.array([[0.0, 0.0], [1.0, 0.1], [-0.4, 1.5]])
MOMENTA = 0.3 * RNG.normal(size=(3, 2))
STEPS, DT = 8, 0.05


def forces(positions, masses):
    result = []
    for i in range(len(masses)):
        total = np.zeros(2)
        for j in range(len(masses)):
            if i != j:
                gap = positions[j] - positions[i]
                total = total + masses[i] * masses[j] * gap / np.linalg.norm(gap) ** 3
        result.append(total)
    return np.stack(result)


def simulate(positions, momenta, masses=MASSES):
    for _ in range(STEPS):
        momenta = momenta + 0.5 * DT * forces(positions, masses)
        positions = positions + DT * momenta / masses[:, None]
        momenta = momenta + 0.5 * DT * forces(positions, masses)
    return positions, momenta


def flow(state):
    return np.concatenate(
        [np.ravel(z) for z in simulate(state[:6].reshape(3, 2), state[6:].reshape(3, 2))]
    )


def test_the_flow_is_symplectic() -> None:
    state = np.concatenate([POSITIONS.ravel(), MOMENTA.ravel()])
    jacobian = pb.jacobian(flow)(state)
    form = np.block([[np.zeros((6, 6)), np.eye(6)], [-np.eye(6), np.zeros((6, 6))]])
    np.testing.assert_allclose(jacobian.T @ form @ jacobian, form, atol=1e-12)


def test_going_back_is_the_inverse() -> None:
    state = np.concatenate([POSITIONS.ravel(), MOMENTA.ravel()])
    flip = np.concatenate([np.ones(6), -np.ones(6)])
    np.testing.assert_allclose(flip * flow(flip * flow(state)), state, atol=1e-12)
    there = pb.jacobian(flow)(state)
    back = pb.jacobian(flow)(flip * flow(state))
    np.testing.assert_allclose((flip[:, None] * back * flip) @ there, np.eye(12), atol=1e-11)


def test_masses() -> None:
    def distance(masses):
        positions, _ = simulate(POSITIONS, MOMENTA, masses)
        return np.linalg.norm(positions[0] - positions[2])

    pb.check_grads(distance, (MASSES,), rtol=1e-6)
    np.testing.assert_allclose(pb.compile(pb.grad(distance))(MASSES), pb.grad(distance)(MASSES))

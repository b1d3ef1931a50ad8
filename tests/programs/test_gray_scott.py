"""Reaction and diffusion of two substances: Pearson (1993), equation 1, by explicit steps.

The reference writes the Laplacian as a matrix, and the derivative as the product of the steps'.
"""

import numpy as np

import pullback as pb
import pullback.numpy as pnp

N, STEPS = 5, 6
D_U, D_V, DT = 0.16, 0.08, 1.0
RNG = np.random.default_rng(2)
U = 1 - 0.5 * RNG.uniform(size=(N, N))
V = 0.25 * RNG.uniform(size=(N, N))


def laplacian(z):
    return np.roll(z, 1, 0) + np.roll(z, -1, 0) + np.roll(z, 1, 1) + np.roll(z, -1, 1) - 4 * z


def run(feed, kill, u, v):
    u, v = pnp.array(u), pnp.array(v)
    for _ in range(STEPS):
        reaction = u * v * v
        u += DT * (D_U * laplacian(u) - reaction + feed * (1 - u))
        v += DT * (D_V * laplacian(v) + reaction - (feed + kill) * v)
    return u, v


def loss(feed, kill, u, v):
    return np.sum(run(feed, kill, u, v)[1] ** 2)


def by_matrices(feed, kill, u, v):
    """The loss and its gradient in the start, by the chain of the steps' Jacobians."""
    line = np.roll(np.eye(N), 1, 0) + np.roll(np.eye(N), -1, 0) - 2 * np.eye(N)
    spread = np.kron(line, np.eye(N)) + np.kron(np.eye(N), line)
    u, v = u.ravel(), v.ravel()
    total = np.eye(2 * N * N)
    one = np.eye(N * N)
    for _ in range(STEPS):
        uu = one + DT * (D_U * spread - np.diag(v * v) - feed * one)
        uv = -DT * np.diag(2 * u * v)
        vu = DT * np.diag(v * v)
        vv = one + DT * (D_V * spread + np.diag(2 * u * v) - (feed + kill) * one)
        total = np.block([[uu, uv], [vu, vv]]) @ total
        u, v = (
            u + DT * (D_U * spread @ u - u * v * v + feed * (1 - u)),
            v + DT * (D_V * spread @ v + u * v * v - (feed + kill) * v),
        )
    return np.sum(v**2), np.concatenate([0 * u, 2 * v]) @ total


def test_loss_and_gradient() -> None:
    args = (0.035, 0.06, U, V)
    value, (u_bar, v_bar) = pb.value_and_grad(loss, (2, 3))(*args)
    expected, slopes = by_matrices(*args)
    np.testing.assert_allclose(value, expected)
    np.testing.assert_allclose(np.concatenate([u_bar.ravel(), v_bar.ravel()]), slopes, atol=1e-13)
    pb.check_grads(loss, args)


def test_compiled() -> None:
    args = (0.035, 0.06, U, V)
    compiled = pb.compile(pb.grad(loss, (0, 1)))(*args)
    np.testing.assert_allclose(compiled, pb.grad(loss, (0, 1))(*args), rtol=1e-10)

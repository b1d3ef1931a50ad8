"""A pendulum is swung up by the gradient through its simulation.

Two hundred forces are found by L-BFGS; the gradient goes through every step of the integrator.
"""

import sys

import matplotlib.pyplot as plt
import numpy as np
from scipy.optimize import Bounds

import pullback as pb

step, length = 0.02, 200


def simulate(force):
    def advance(state, push):
        angle, speed = state
        speed = speed + step * (-9.81 * np.sin(angle) - 0.1 * speed + push)
        angle = angle + step * speed
        return (angle, speed), angle

    end, angles = pb.scan(advance, (0.0, 0.0), force)
    return end, angles


def cost(force):
    (angle, speed), _ = simulate(force)
    return 10 * (angle - np.pi) ** 2 + speed**2 + 0.001 * np.mean(force**2)


start = 0.1 * np.ones(length)
limits = Bounds(-5.0, 5.0)
found = pb.optimize.minimize(cost, start, method="L-BFGS-B", bounds=limits, compile=True)
_, angles = simulate(found.x)
print(f"cost {cost(start):.1f} -> {found.fun:.4f} in {found.nit} steps of the solver")
print(f"last angle {angles[-1] / np.pi:.3f} pi")

time = step * np.arange(length)
figure, axes = plt.subplots(2, 1, figsize=(7, 4.5), sharex=True)
axes[0].plot(time, found.x)
axes[0].set(ylabel="force, at most 5")
axes[1].plot(time, np.asarray(angles) / np.pi)
axes[1].axhline(1, color="gray", linewidth=0.5)
axes[1].set(ylabel="angle / pi", xlabel="time, s")
figure.savefig(sys.argv[1] if len(sys.argv) > 1 else "pendulum.png", dpi=120)

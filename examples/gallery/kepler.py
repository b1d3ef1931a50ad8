"""Orbits from the gradient of the energy.

A symplectic integrator needs forces; they are the gradient of the potential, whatever it is. Three
bodies on the figure-eight orbit of Chenciner and Montgomery (2000) come back to where they were.
"""

import sys

import matplotlib.pyplot as plt
import numpy as np

import pullback as pb


def potential(q):
    pairs = q[[0, 0, 1]] - q[[1, 2, 2]]
    return -np.sum(1 / np.sqrt(np.sum(pairs**2, axis=1)))


force = pb.compile(pb.grad(potential))
q = np.array([[0.97000436, -0.24308753], [-0.97000436, 0.24308753], [0.0, 0.0]])
v = np.array([[0.46620369, 0.43236573]] * 2 + [[-0.93240737, -0.86473146]])
start, step, period = q.copy(), 0.001, 6.32591398
energy = potential(q) + np.sum(v**2) / 2

track = []
for _ in range(round(period / step)):
    v = v - step / 2 * force(q)
    q = q + step * v
    v = v - step / 2 * force(q)
    track.append(q)
print(f"after one period, {np.abs(q - start).max():.0e} from the start")
print(f"energy drifted by {abs(potential(q) + np.sum(v**2) / 2 - energy):.0e}")

track = np.array(track)
figure, axes = plt.subplots(figsize=(7, 3.5))
axes.plot(*track[:, 0].T, "lightgray")
for moment, size in ((0, 4), (200, 6), (400, 8), (600, 10)):
    for body in range(3):
        axes.plot(*track[moment, body], f"C{body}o", markersize=size, alpha=0.2 + size / 14)
axes.set_aspect("equal")
figure.savefig(sys.argv[1] if len(sys.argv) > 1 else "kepler.png", dpi=120)

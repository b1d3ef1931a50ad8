"""How fast do errors grow? Tangents along the Lorenz attractor.

A JVP carries a small error along with the state; its growth is the largest Lyapunov exponent, 0.906
in the literature (Sprott 2003).
"""

import sys

import matplotlib.pyplot as plt
import numpy as np

import pullback as pb

step = 0.01


def rate(u):
    x, y, z = u
    return np.stack([10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z])


def advance(u):
    a = rate(u)
    b = rate(u + step / 2 * a)
    c = rate(u + step / 2 * b)
    d = rate(u + step * c)
    return u + step / 6 * (a + 2 * b + 2 * c + d)


@pb.compile
def run(u, error):
    def both(state, _):
        u, error = state
        u, error = pb.jvp(advance, (u,), (error,))
        size = np.sqrt(np.sum(error**2))
        return (u, error / size), (u, np.log(size))

    return pb.scan(both, (u, error), np.arange(50_000))


_, (track, growth) = run(np.array([1.0, 1.0, 20.0]), np.array([1.0, 0.0, 0.0]))
exponent = np.mean(growth[2000:]) / step
print(f"largest Lyapunov exponent {exponent:.2f}")

figure, axes = plt.subplots(figsize=(6, 4.5))
colour = np.convolve(growth, np.ones(20) / 20, mode="same") / step
points = axes.scatter(
    track[2000:12000, 0], track[2000:12000, 2], c=colour[2000:12000], s=1, cmap="coolwarm"
)
figure.colorbar(points, label="growth of an error, per unit of time")
axes.set(xlabel="x", ylabel="z")
figure.savefig(sys.argv[1] if len(sys.argv) > 1 else "lorenz.png", dpi=120)

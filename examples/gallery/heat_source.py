"""Where was the source? An inverse problem through a simulation.

Heat spreads on a plate for 150 steps. From eleven thermometers at the end, the gradient of the
misfit through all steps finds where the heat was at the start.
"""

import sys

import matplotlib.pyplot as plt
import numpy as np

import pullback as pb

n, steps = 32, 150
grid = np.stack(np.meshgrid(np.arange(n), np.arange(n), indexing="ij"))
places = np.random.default_rng(1).integers(4, n - 4, size=(2, 11))


def spread(u):
    for _ in range(steps):
        inner = u[1:-1, 1:-1]
        flow = u[2:, 1:-1] + u[:-2, 1:-1] + u[1:-1, 2:] + u[1:-1, :-2] - 4 * inner
        u = np.pad(inner + 0.2 * flow, 1)
    return u


def simulated(source):  # row, column, log of the heat
    distance = (grid[0] - source[0]) ** 2 + (grid[1] - source[1]) ** 2
    return spread(np.exp(source[2] - distance / 8))


truth = np.array([20.0, 11.0, 1.0])
noise = 0.001 * np.random.default_rng(0).normal(size=places.shape[1])
measured = simulated(truth)[tuple(places)] + noise


def residuals(source):
    return simulated(source)[tuple(places)] - measured


found = pb.optimize.least_squares(residuals, np.array([12.0, 18.0, 0.5]))
print("found", found.x.round(2), "after", found.nfev, "runs; truth", truth)

figure, axes = plt.subplots(1, 2, figsize=(8, 4))
axes[0].imshow(simulated(truth), cmap="magma")
axes[0].plot(places[1], places[0], "wo", markerfacecolor="none", label="thermometers")
axes[0].legend(loc="upper right")
axes[1].imshow(
    np.exp(found.x[2] - ((grid - found.x[:2, None, None]) ** 2).sum(0) / 8), cmap="magma"
)
axes[1].plot(truth[1], truth[0], "c+", markersize=14, label="true source")
axes[1].legend(loc="upper right")
figure.savefig(sys.argv[1] if len(sys.argv) > 1 else "heat_source.png", dpi=120)

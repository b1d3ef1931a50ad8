"""The gradient of a solution, without the gradient of the solver.

Kepler's equation M = E - e sin E has no closed solution. SciPy's root finder solves it; the
implicit function theorem differentiates it, so that the orbit can be fitted.
"""

import sys

import matplotlib.pyplot as plt
import numpy as np
from scipy.optimize import newton

import pullback as pb


def kepler(E, M, e):
    return E - e * np.sin(E) - M


def positions(p, t):
    M = 2 * np.pi * t / p["period"]
    E = pb.implicit_root(kepler, M, M, p["e"], solver=newton, linear_solver="gmres")
    return p["size"] * np.stack([np.cos(E) - p["e"], np.sqrt(1 - p["e"] ** 2) * np.sin(E)], axis=1)


rng = np.random.default_rng(0)
t = np.sort(rng.uniform(0, 10, size=40))
truth = {"size": 1.5, "e": 0.6, "period": 11.0}
seen = positions(truth, t) + 0.02 * rng.normal(size=(40, 2))

start = {"size": 1.0, "e": 0.4, "period": 10.0}
found = pb.optimize.least_squares(lambda p: (positions(p, t) - seen).ravel(), start)
print({name: f"{float(v):.3f}" for name, v in found.x.items()})

figure, axes = plt.subplots(figsize=(6, 4))
axes.plot(*seen.T, "k.", label="seen")
for p, name in ((start, "start"), (found.x, "found")):
    axes.plot(*positions(p, np.linspace(0, float(p["period"]), 300)).T, label=name)
axes.plot(0, 0, "C1*", markersize=12)
axes.set_aspect("equal")
axes.legend()
figure.savefig(sys.argv[1] if len(sys.argv) > 1 else "implicit_layer.png", dpi=120)

"""Three solvers on the banana valley.

Gradient descent, Newton's method with Hessian-vector products, and SciPy's BFGS start at the same
point of Rosenbrock's function. All derivatives come from the function itself.
"""

import sys

import matplotlib.pyplot as plt
import numpy as np

import pullback as pb


def rosenbrock(x):
    return np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


start = np.array([-1.2, 1.0])
tracks = {}

point, track = start, [start]
for _ in range(2000):
    point = point - 0.001 * pb.grad(rosenbrock)(point)
    track.append(point)
tracks["gradient descent, 2,000 steps"] = np.array(track)

for method in ("trust-ncg", "BFGS"):
    track = [start]
    found = pb.optimize.minimize(
        rosenbrock, start, method=method, callback=lambda x, track=track: track.append(x)
    )
    tracks[f"{method}, {found.nit} steps"] = np.array(track)

x, y = np.meshgrid(np.linspace(-1.6, 1.4, 200), np.linspace(-0.4, 1.6, 200))
height = pb.vmap(rosenbrock)(np.stack([x.ravel(), y.ravel()], axis=1)).reshape(x.shape)
figure, axes = plt.subplots(figsize=(7, 4.5))
axes.contour(x, y, height, levels=np.geomspace(0.1, 1000, 12), colors="lightgray")
for name, track in tracks.items():
    axes.plot(*track.T, ".-", markersize=4, label=name)
    print(f"{name}: f = {rosenbrock(track[-1]):.1e}")
axes.legend()
figure.savefig(sys.argv[1] if len(sys.argv) > 1 else "rosenbrock_newton.png", dpi=120)

"""A Gaussian process learns its length scale.

The negative log marginal likelihood goes through a Cholesky factorisation; its gradient sets
amplitude, length scale and noise.
"""

import sys

import matplotlib.pyplot as plt
import numpy as np

import pullback as pb

rng = np.random.default_rng(3)
x = np.sort(rng.uniform(0, 10, size=25))
y = np.sin(x) + 0.4 * np.cos(2.3 * x) + 0.15 * rng.normal(size=x.size)


def kernel(p, a, b):
    return np.exp(2 * p["size"] - (a[:, None] - b) ** 2 / (2 * np.exp(2 * p["scale"])))


def evidence(p):
    K = kernel(p, x, x) + np.exp(2 * p["noise"]) * np.eye(x.size)
    L = np.linalg.cholesky(K)
    half = np.linalg.solve(L, y)
    return half @ half / 2 + np.sum(np.log(np.diag(L))) + x.size / 2 * np.log(2 * np.pi)


start = {"size": 0.0, "scale": 1.0, "noise": -0.5}
found = pb.optimize.minimize(evidence, start)
p = found.x
print(f"negative log evidence {evidence(start):.2f} -> {found.fun:.2f}")
print({name: f"{np.exp(float(v)):.2f}" for name, v in p.items()})

at = np.linspace(-1, 11, 300)
figure, axes = plt.subplots(figsize=(7, 4))
for q, color, name in ((start, "gray", "before"), (p, "C0", "after")):
    K = kernel(q, x, x) + np.exp(2 * q["noise"]) * np.eye(x.size)
    cross = kernel(q, at, x)
    mean = cross @ np.linalg.solve(K, y)
    spread = np.exp(2 * q["size"]) - np.sum(cross * np.linalg.solve(K, cross.T).T, axis=1)
    axes.plot(at, mean, color=color, label=name)
    axes.fill_between(at, mean - 2 * spread**0.5, mean + 2 * spread**0.5, color=color, alpha=0.15)
axes.plot(x, y, "k.")
axes.legend()
figure.savefig(sys.argv[1] if len(sys.argv) > 1 else "gaussian_process.png", dpi=120)

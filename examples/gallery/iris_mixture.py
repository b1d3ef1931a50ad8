"""Iris flowers as a mixture of Gaussians, by gradient.

No expectation-maximisation: the log-likelihood of the mixture, with covariances from triangular
factors, goes to L-BFGS as it is written.
"""

import sys

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_iris

import pullback as pb

iris = load_iris()
x = iris.data[:, [2, 3]]  # length and width of petals, cm
x = (x - x.mean(axis=0)) / x.std(axis=0)
lower = np.tril_indices(2)


def log_densities(p):
    L = pb.numpy.zeros((3, 2, 2))  # factors of the inverse covariances
    L[:, lower[0], lower[1]] = p["factors"]
    z = np.einsum("kij,nki->nkj", L, x[:, None] - p["means"])
    scale = np.log(np.abs(L[:, 0, 0] * L[:, 1, 1]))
    weight = p["weights"] - np.log(np.sum(np.exp(p["weights"])))
    return weight + scale - np.sum(z**2, axis=2) / 2 - np.log(2 * np.pi)


def misfit(p):
    each = log_densities(p)
    return -np.mean(np.logaddexp.reduce(each, axis=1))


start = {
    "means": np.array([[-1.0, -1.0], [0.3, 0.3], [1.0, 1.0]]),
    "factors": np.tile([2.0, 0.0, 2.0], (3, 1)),
    "weights": np.zeros(3),
}
found = pb.optimize.minimize(misfit, start, method="L-BFGS-B")
label = np.argmax(log_densities(found.x), axis=1)
print(f"negative log likelihood {misfit(start):.3f} -> {found.fun:.3f}")
print(f"flowers in the cluster of their species: {np.mean(label == iris.target):.3f}")

figure, axes = plt.subplots(figsize=(6, 4))
axes.scatter(*x.T, c=label, cmap="viridis", s=14)
axes.scatter(*x[label != iris.target].T, facecolors="none", edgecolors="red", label="other species")
axes.set(xlabel="petal length, standardised", ylabel="petal width, standardised")
axes.legend()
figure.savefig(sys.argv[1] if len(sys.argv) > 1 else "iris_mixture.png", dpi=120)

"""Paths through a residual network.

How much of the gradient passes how many of 54 branches: from one backward pass that carries a
polynomial. The masses follow a binomial law (Veit et al. 2016).
"""

import sys

import matplotlib.pyplot as plt
import numpy as np

import pullback as pb

rng = np.random.default_rng(0)
n, width = 54, 16
x, target = rng.normal(size=(16, width)), rng.normal(size=(16, width))


def loss(weights, x, target):
    for i, (W, V) in enumerate(weights):
        x = x + pb.flow.branch(np.tanh(x @ W) @ V, f"block {i}")
    return np.mean((x - target) ** 2)


figure, axes = plt.subplots(figsize=(7, 4.5))
for scale in (0.3, 0.5, 0.7):
    weights = [rng.normal(size=(2, width, width)) * scale / np.sqrt(width) for _ in range(n)]
    report = pb.flow.paths(loss, weights, x, target)
    (line,) = axes.plot(report.mass, "o", markersize=4, label=f"weights x {scale}")
    axes.plot(report.law, color=line.get_color(), linewidth=1)
    print(f"weights x {scale}: 95% of the mass passes {report.middle} branches of {n}")
axes.set(xlabel="branches passed", ylabel="share of the path mass", xlim=(0, 40))
axes.legend(title="dots: measured, lines: binomial law")
figure.savefig(sys.argv[1] if len(sys.argv) > 1 else "highway.png", dpi=120)

"""A residual highway: the gradient by the number of branches that it passed."""

import sys

import numpy as np

import pullback as pb

rng = np.random.default_rng(0)
weights = [rng.normal(size=(2, 16, 16)) * 0.12 for _ in range(12)]
x, target = rng.normal(size=(32, 16)), rng.normal(size=(32, 16))


def loss(weights, x, target):
    for number, (W, V) in enumerate(weights):
        x = x + pb.flow.branch(np.tanh(x @ W) @ V, f"block {number}")
    return np.mean((x - target) ** 2)


report = pb.flow.paths(loss, weights, x, target)
report.save(sys.argv[1] if len(sys.argv) > 1 else "highway.html")
print(f"the direct path has {report.direct:.2f} of the gradient's norm")

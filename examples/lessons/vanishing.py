"""Why a gradient dies: error times slope, layer by layer."""

import sys

import numpy as np

import pullback as pb

rng = np.random.default_rng(0)
weights = [rng.normal(size=(3, 3)) / np.sqrt(3) for _ in range(6)]


def loss(weights, x):
    for W in weights:
        z = x @ W
        x = 1 / (1 + np.exp(-z))  # a slope of at most 1/4
    L = np.mean(x**2)
    return L  # noqa: RET504


report = pb.explain(loss, weights, rng.normal(size=(2, 3)))
report.save(sys.argv[1] if len(sys.argv) > 1 else "vanishing.html")
for layer in range(6):
    size = np.linalg.norm(report[f"weights[{layer}]"].value)
    print(f"layer {layer}: |dL/dW| = {size:.1e}")

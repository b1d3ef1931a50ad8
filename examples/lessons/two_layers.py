"""Two layers, eight steps: forward and backward, with numbers."""

import sys

import numpy as np

import pullback as pb


def loss(W1, b1, W2, b2, x, y):
    z1 = W1 @ x + b1
    a1 = np.tanh(z1)
    z2 = W2 @ a1 + b2
    yhat = 1 / (1 + np.exp(-z2))
    L = 0.5 * np.sum((yhat - y) ** 2)
    return L  # noqa: RET504 (the name is what the page shows)


W1, b1 = np.array([[0.1, -0.2], [0.4, 0.3], [-0.5, 0.2]]), np.array([0.0, 0.1, -0.1])
W2, b2 = np.array([[0.3, -0.6, 0.2]]), np.array([0.05])
x, y = np.array([1.0, 2.0]), np.array([1.0])
report = pb.explain(loss, W1, b1, W2, b2, x, y, argnums=(0, 1, 2, 3))
report.save(sys.argv[1] if len(sys.argv) > 1 else "two_layers.html")

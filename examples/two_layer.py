"""The backward table of a two-layer network: eight rows, from the loss back to the first weight."""

import numpy as np

import pullback as pb


def loss(W1, b1, W2, b2, x, y):
    z1 = W1 @ x + b1
    a1 = np.tanh(z1)
    z2 = W2 @ a1 + b2
    yhat = 1 / (1 + np.exp(-z2))
    L = 0.5 * np.sum((yhat - y) ** 2)
    return L  # noqa: RET504 - the table shows the name


rng = np.random.default_rng(0)
d, h, k = 3, 4, 2
parameters = (
    rng.normal(size=(h, d)),
    rng.normal(size=h),
    rng.normal(size=(k, h)),
    rng.normal(size=k),
)
example_args = (*parameters, rng.normal(size=d), rng.normal(size=k))

if __name__ == "__main__":
    print(pb.explain(loss, *example_args, argnums=(0, 1, 2, 3)))

"""Small training problems that tests share; each has one fault or none."""

import numpy as np

from pullback import nn
from pullback.flow import Problem


def rows(n=192, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 12))
    return x, np.argmax(x[:, :4] + 0.2 * x[:, 4:8], axis=1)


def cross_entropy(net, x, label):
    return nn.softmax_cross_entropy(net(x), label)


def network(depth=2, activation=nn.relu, initializer=nn.init.he, seed=1, width=48):
    rng = np.random.default_rng(seed)
    return nn.mlp(rng, (12, *[width] * depth, 4), activation=activation, initializer=initializer)


def problem(net=None, loss=cross_entropy, data=None, **recipe):
    given = {"learning_rate": 0.2, "n_steps": 40, "batch_size": 48, **recipe}
    return Problem(loss, net or network(), data or rows(), **given)

"""Results that need gradients along the way: training on digits, residual paths, a cliff."""

from __future__ import annotations

import math

import numpy as np

import pullback as pb
from experiments.result import Row, between, near
from pullback import nn
from pullback.flow.highways import binomial
from pullback.optim import clip_by_global_norm, sgd


def digits() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))[:1500]
    x = x[order].astype(float)
    return (x - x.mean()) / x.std(), y[order]


def cross_entropy(net, x, y):
    return nn.softmax_cross_entropy(net(x), y)


def trained(net, x, y, optimizer, n_steps, seed):
    """Loss on all rows after minibatches of 50."""
    state, rng = optimizer.init(net), np.random.default_rng(seed)

    def step(net, state, x, y):
        grads = pb.grad(cross_entropy)(net, x, y)
        return optimizer.update(grads, state, net)

    run = pb.compile(step)
    order = rng.permutation(len(x))
    for i in range(n_steps):
        at = (50 * i) % len(x)
        if at == 0:
            order = rng.permutation(len(x))
        rows = order[at : at + 50]
        net, state = run(net, state, x[rows], y[rows])
    return net


def a2(full: bool) -> list[Row]:
    x, y = digits()
    rows = []
    epochs = 5
    for name, init, low, high in (
        ("He", nn.init.he, 0.3, 1.6),
        ("Xavier", nn.init.xavier, 2.2, 2.35),
    ):
        net = nn.mlp(np.random.default_rng(0), (64, *[64] * 21, 10), initializer=init)
        net = trained(net, x, y, sgd(0.01, momentum=0.9), epochs * 30, 0)
        loss = float(cross_entropy(net, x, y))
        text = f"loss after {epochs} epochs, depth 22, {name}"
        rows.append(between("A2", text, loss, low, high, "He et al. 2015, figure 2"))
    for name, init, low, high in (
        ("He", nn.init.he, 0.0, 0.05),
        ("Xavier", nn.init.xavier, 2.28, 2.31),
    ):
        if not full:
            break
        net = nn.mlp(np.random.default_rng(0), (64, *[256] * 29, 10), initializer=init)
        net = trained(net, x, y, sgd(0.001, momentum=0.9), 900, 0)
        loss = float(cross_entropy(net, x, y))
        text = f"loss after 30 epochs, depth 30, {name}"
        rows.append(between("A2", text, loss, low, high, "He et al. 2015, figure 3"))
    return rows


def a4(full: bool) -> list[Row]:
    x, y = digits()
    source = "Schoenholz et al. 2017, figures 5 and 6"
    cases = [(1.0, 20, 0.85, 1.0, 1), (1.0, 47, 0.0, 0.2, 1)]
    if full:
        cases += [
            (1.3, 30, 0.95, 1, 1),
            (1.3, 47, 0.9, 1, 3),  # at the limit of what trains, where single runs differ
            (1.3, 120, 0, 0.2, 1),
            (2.5, 70, 0, 0.3, 1),
            (1.760955, 47, 0.9, 1, 1),
        ]
    rows = []
    for variance, depth, low, high, n_seeds in cases:
        found = [trained_accuracy(x, y, variance, depth, seed) for seed in range(n_seeds)]
        accuracy = float(np.median(found))
        reach = nn.meanfield.mean_field(np.tanh, variance, 0.05).trainable_depth
        text = f"accuracy, variance {variance:.3g} (6 xi = {reach:.4g}), depth {depth}"
        text += f", median of {n_seeds} seeds" * (n_seeds > 1)
        rows.append(between("A4", text, accuracy, low, high, source))
    return rows


def trained_accuracy(x, y, variance, depth, seed):
    """Accuracy of a tanh network after 600 steps; biases have variance 0.05."""
    rng = np.random.default_rng(seed)

    def init(rng, shape, dtype=float):
        return (rng.normal(size=shape) * math.sqrt(variance / shape[0])).astype(dtype)

    net = nn.mlp(rng, (64, *[100] * depth, 10), activation=np.tanh, initializer=init)
    for layer in net.layers:
        if isinstance(layer, nn.Linear):
            layer.bias[:] = rng.normal(size=layer.bias.shape) * math.sqrt(0.05)
    net = trained(net, x, y, sgd(0.01), 600, seed)
    return float(np.mean(np.argmax(net(x), axis=1) == y))


def a11() -> list[Row]:
    source = "Veit et al. 2016, section 4"
    half = binomial(54, 0.5)
    rows = [
        near("A11", "P(19 <= K <= 35), n = 54", float(np.sum(half[19:36])), 0.98017, 1e-4, source),
        near("A11", "P(5 <= K <= 17), n = 54", float(np.sum(half[5:18])), 0.0045367, 1e-4, source),
    ]
    for power, expected in ((-1.002, 4.89), (-0.524, 12.43)):
        rng = np.random.default_rng(0)
        q, n = 10**power, 54
        ws = [q * rng.normal(size=(32, 32)) / math.sqrt(32) for _ in range(n)]

        def loss(ws, x, v):
            for w in ws:
                x = x + pb.flow.branch(x @ w, "branch")
            return np.sum(x * v)

        report = pb.flow.paths(loss, ws, rng.normal(size=32), rng.normal(size=32), draws=8)
        mean = float(np.sum(np.arange(n + 1) * report.mass))
        text = f"mean branches of the path mass, gain {q:.3g}"
        rows.append(near("A11", text, mean, expected, 0.12, source))
        rows.append(
            between(
                "A11", f"error of the sum of orders, gain {q:.3g}", report.error, 0, 1e-12, "exact"
            )
        )
    return rows


def cliff(w, b):
    x = 0.5 + 0 * w
    for _ in range(50):
        x = w * nn.sigmoid(x) + b
    return (nn.sigmoid(x) - 0.7) ** 2


def a12() -> list[Row]:
    source = "Pascanu et al. 2013, figure 6"
    ws, bs = np.meshgrid(np.linspace(0, 10, 401), np.linspace(-6, 0, 401), indexing="ij")
    grads = pb.grad(lambda p: np.sum(cliff(p[0], p[1])))((ws, bs))
    size = np.hypot(*grads)
    rows = [
        near("A12", "largest gradient on the grid", np.max(size), 26.04, 0.01, source),
        near("A12", "median gradient on the grid", np.median(size), 0.0147, 0.02, source),
    ]
    slope = pb.grad(lambda p: cliff(p[0], p[1]))
    for clip, low, high in ((None, 0.05, 0.12), (1.0, 0.0, 1e-3)):
        p = (np.array(4.9), np.array(-2.55))
        longest = 0.0
        for _ in range(300):
            g = slope(p)
            if clip is not None:
                g = clip_by_global_norm(g, clip)
            longest = max(longest, 0.1 * float(np.hypot(*g)))
            p = tuple(a - 0.1 * d for a, d in zip(p, g, strict=True))
        name = "clipped at 1" if clip else "unclipped"
        rows.append(between("A12", f"final error, {name}", float(cliff(*p)), low, high, source))
        if clip:
            rows.append(
                between("A12", "longest step, clipped at 1", longest, 0.0999, 0.1 + 1e-12, source)
            )
    return rows

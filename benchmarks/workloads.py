"""Whole steps, written once for any library that has NumPy's names.

A workload is ``loss(xp, params, batch)`` with its data; ``adam`` makes forward pass, backward pass
and update of it. ``xp`` has the names of NumPy, and ``scan``, ``conv(x, w, stride, padding)``,
``max_pool(x)`` with windows of 2 x 2 and ``attention(query, key, value, is_causal=False)``.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

RATE, FIRST, SECOND, EPSILON = 1e-3, 0.9, 0.999, 1e-8


@dataclass(frozen=True)
class Workload:
    """A loss with parameters (a flat list of arrays) and a batch (arrays that change each step).

    ``goal`` is how many times faster than the best peer a step shall be; ``is_slow_to_compile``
    tells that torch.compile, which unrolls loops, takes many minutes. ``share`` is how much of the
    operations in its program, those of both branches counted, a step cannot do without.
    """

    name: str
    loss: Callable[..., Any]
    params: list[Any]
    batch: list[Any]
    goal: float
    kind: str = "adam"
    is_slow_to_compile: bool = False
    share: float = 1


def adam(xp: Any, value_and_grad: Callable[..., Any], loss: Callable[..., Any]) -> Any:
    """``step(params, m, v, t, *batch)`` -> the same after one step of Adam, and the loss."""
    gradient = value_and_grad(lambda params, *batch: loss(xp, params, *batch))

    def step(params: Any, m: Any, v: Any, t: Any, *batch: Any) -> Any:
        value, grads = gradient(params, *batch)
        t = t + 1
        m = [FIRST * a + (1 - FIRST) * g for a, g in zip(m, grads, strict=True)]
        v = [SECOND * a + (1 - SECOND) * g * g for a, g in zip(v, grads, strict=True)]
        rate = RATE * xp.sqrt(1 - SECOND**t) / (1 - FIRST**t)
        params = [
            p - rate * a / (xp.sqrt(b) + EPSILON) for p, a, b in zip(params, m, v, strict=True)
        ]
        return params, m, v, t, value

    return step


def cross_entropy(xp: Any, logits: Any, labels: Any) -> Any:
    """Mean of -log softmax at one-hot ``labels``."""
    peak = xp.max(logits, axis=1, keepdims=True)
    shifted = logits - peak
    log_p = shifted - xp.log(xp.sum(xp.exp(shifted), axis=1, keepdims=True))
    return -xp.mean(xp.sum(labels * log_p, axis=1))


def network(rng: Any, widths: tuple[int, ...]) -> list[Any]:
    params = []
    for n, m in itertools.pairwise(widths):
        params += [rng.normal(size=(n, m)) / n**0.5, np.zeros(m)]
    return [p.astype(np.float32) for p in params]


def classifier(xp: Any, params: Any, x: Any, y: Any) -> Any:
    for w, b in zip(params[:-2:2], params[1:-2:2], strict=True):
        x = xp.tanh(x @ w + b)
    return cross_entropy(xp, x @ params[-2] + params[-1], y)


def regressor(xp: Any, params: Any, x: Any, y: Any) -> Any:
    for w, b in zip(params[:-2:2], params[1:-2:2], strict=True):
        x = xp.tanh(x @ w + b)
    return xp.mean((x @ params[-2] + params[-1] - y) ** 2)


def mlp(widths: tuple[int, ...], n_rows: int, goal: float, name: str = "") -> Workload:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n_rows, widths[0])).astype(np.float32)
    if widths[-1] == 1:
        y = rng.normal(size=(n_rows, 1)).astype(np.float32)
        loss: Any = regressor
    else:
        y = np.eye(widths[-1], dtype=np.float32)[rng.integers(widths[-1], size=n_rows)]
        loss = classifier
    name = name or f"MLP {'-'.join(map(str, widths))}, batch {n_rows}"
    return Workload(name, loss, network(rng, widths), [x, y], goal)


def attention_block(xp: Any, p: Any, x: Any, heads: int) -> Any:
    """Pre-normalised block: attention, then a perceptron of four times the width."""
    batch, time, width = x.shape

    def normal(x: Any, scale: Any, shift: Any) -> Any:
        centered = x - xp.mean(x, axis=-1, keepdims=True)
        variance = xp.mean(centered * centered, axis=-1, keepdims=True)
        return centered / xp.sqrt(variance + 1e-5) * scale + shift

    def split(x: Any) -> Any:
        return xp.transpose(xp.reshape(x, (batch, time, heads, width // heads)), (0, 2, 1, 3))

    h = normal(x, p[0], p[1])
    q, k, v = split(h @ p[2]), split(h @ p[3]), split(h @ p[4])
    mixed = xp.transpose(xp.attention(q, k, v), (0, 2, 1, 3))
    mixed = xp.reshape(mixed, (batch, time, width))
    x = x + mixed @ p[5]
    h = normal(x, p[6], p[7])
    return x + xp.maximum(h @ p[8] + p[9], 0) @ p[10] + p[11]


def transformer(layers: int = 4, width: int = 128, heads: int = 4, time: int = 128) -> Workload:
    rng = np.random.default_rng(0)
    n_rows, n_classes = 8, 32

    def loss(xp: Any, params: Any, x: Any, y: Any) -> Any:
        for i in range(layers):
            x = attention_block(xp, params[12 * i : 12 * i + 12], x, heads)
        logits = xp.reshape(x @ params[-1], (n_rows * time, n_classes))
        return cross_entropy(xp, logits, y)

    def matrix(n: int, m: int) -> Any:
        return rng.normal(size=(n, m)) / n**0.5

    params = []
    for _ in range(layers):
        params += [np.ones(width), np.zeros(width)]
        params += [matrix(width, width) for _ in range(4)]
        params += [np.ones(width), np.zeros(width)]
        params += [matrix(width, 4 * width), np.zeros(4 * width)]
        params += [matrix(4 * width, width), np.zeros(width)]
    params += [matrix(width, n_classes)]
    x = rng.normal(size=(n_rows, time, width))
    y = np.eye(n_classes)[rng.integers(n_classes, size=n_rows * time)]
    cast = [a.astype(np.float32) for a in (*params, x, y)]
    name = f"transformer, {layers} layers of {width}, T {time}, batch {n_rows}"
    return Workload(name, loss, cast[:-2], cast[-2:], 1.3)


def causal_attention(heads: int = 4, time: int = 2048, size: int = 64) -> Workload:
    """Gradient of attention alone, to the past."""
    rng = np.random.default_rng(0)

    def loss(xp: Any, params: Any, weights: Any) -> Any:
        return xp.sum(xp.attention(*params, is_causal=True) * weights)

    draw = [rng.normal(size=(1, heads, time, size)).astype(np.float32) for _ in range(4)]
    name = f"causal attention gradient, {heads} heads of {size}, T {time}"
    return Workload(name, loss, draw[:3], draw[3:], 1, kind="gradient", share=0.5)


def mixture(n: int = 10_000, d: int = 32, k: int = 25) -> Workload:
    """Log-likelihood gradient of a Gaussian mixture with diagonal covariances."""
    rng = np.random.default_rng(0)

    def loss(xp: Any, params: Any, x: Any) -> Any:
        weights, means, log_scales = params
        precision = xp.exp(-2 * log_scales)
        squares = (x * x) @ precision.T - 2 * (x @ (means * precision).T)
        squares = squares + xp.sum(means * means * precision, axis=1)
        terms = weights - xp.sum(log_scales, axis=1) - 0.5 * squares
        peak = xp.max(terms, axis=1, keepdims=True)
        norm = xp.log(xp.sum(xp.exp(weights)))
        return -xp.mean(xp.log(xp.sum(xp.exp(terms - peak), axis=1)) + peak[:, 0] - norm)

    params = [rng.normal(size=k), rng.normal(size=(k, d)), 0.1 * rng.normal(size=(k, d))]
    name = f"Gaussian mixture, {n:,} x {d}, K {k}, float64"
    return Workload(name, loss, params, [rng.normal(size=(n, d))], 1.5, kind="gradient")


def logistic_hvp(n: int = 10_000, d: int = 500) -> Workload:
    rng = np.random.default_rng(0)

    def loss(xp: Any, params: Any, x: Any, y: Any, direction: Any) -> Any:
        (w,) = params
        z = x @ w
        return xp.mean(xp.logaddexp(0, z) - y * z)

    x = rng.normal(size=(n, d))
    y = (rng.random(n) < 0.5).astype(float)
    name = f"logistic regression HVP, {n:,} x {d}, float64"
    return Workload(
        name, loss, [0.1 * rng.normal(size=d)], [x, y, rng.normal(size=d)], 1.3, kind="hvp"
    )


def elementwise(n: int = 2_000_000) -> Workload:
    rng = np.random.default_rng(0)

    def loss(xp: Any, params: Any, x: Any) -> Any:
        (w,) = params
        return xp.mean(xp.tanh(x * w) * xp.exp(-0.5 * x * x) + xp.sqrt(1 + w * w))

    draw = [rng.normal(size=n).astype(np.float32) for _ in range(2)]
    return Workload(f"elementwise chain, {n:,} values", loss, draw[:1], draw[1:], 1.3)


def lstm(layers: int = 2, width: int = 128, time: int = 64, n_rows: int = 32) -> Workload:
    rng = np.random.default_rng(0)

    def loss(xp: Any, params: Any, x: Any) -> Any:
        for w, u, b in zip(params[::3], params[1::3], params[2::3], strict=True):

            def step(carry: Any, x_t: Any, w: Any = w, u: Any = u, b: Any = b) -> Any:
                h, c = carry
                z = x_t @ w + h @ u + b
                gates = 1 / (1 + xp.exp(-z[:, : 3 * width]))
                forget, enter, leave = (gates[:, k * width : (k + 1) * width] for k in range(3))
                c = forget * c + enter * xp.tanh(z[:, 3 * width :])
                h = leave * xp.tanh(c)
                return (h, c), h

            start = xp.zeros((n_rows, width), np.float32)
            _, x = xp.scan(step, (start, start), x)
        return xp.mean(x[-1] * x[-1])

    params = []
    for _ in range(layers):
        params += [rng.normal(size=(width, 4 * width)) / width**0.5 for _ in range(2)]
        params += [np.zeros(4 * width)]
    cast = [p.astype(np.float32) for p in params]
    x = rng.normal(size=(time, n_rows, width)).astype(np.float32)
    name = f"LSTM, {layers} layers, width {width}, T {time}, batch {n_rows}"
    return Workload(name, loss, cast, [x], 2, is_slow_to_compile=True)


def images(rng: Any, n_rows: int) -> list[Any]:
    """Images of 32 x 32 in three colours, and one of ten classes for each."""
    x = rng.normal(size=(n_rows, 3, 32, 32)).astype(np.float32)
    return [x, np.eye(10, dtype=np.float32)[rng.integers(10, size=n_rows)]]


def kernel(rng: Any, n_in: int, n_out: int, size: int = 3) -> Any:
    return rng.normal(size=(n_out, n_in, size, size)) * (2 / (n_in * size**2)) ** 0.5


def convolutional(channels: tuple[int, ...] = (3, 32, 64, 128), n_rows: int = 64) -> Workload:
    """Convolution, ReLU and pooling, three times; then one dense layer."""
    rng = np.random.default_rng(0)

    def loss(xp: Any, params: Any, x: Any, y: Any) -> Any:
        for w, b in zip(params[:-2:2], params[1:-2:2], strict=True):
            x = xp.max_pool(xp.maximum(xp.conv(x, w, 1, 1) + b[:, None, None], 0))
        return cross_entropy(xp, xp.reshape(x, (n_rows, -1)) @ params[-2] + params[-1], y)

    params = []
    for n_in, n_out in itertools.pairwise(channels):
        params += [kernel(rng, n_in, n_out), np.zeros(n_out)]
    n_features = channels[-1] * (32 >> len(channels) - 1) ** 2
    params += [rng.normal(size=(n_features, 10)) / n_features**0.5, np.zeros(10)]
    cast = [p.astype(np.float32) for p in params]
    name = f"CNN {'-'.join(map(str, channels))}, 32 x 32, batch {n_rows}"
    return Workload(name, loss, cast, images(rng, n_rows), 1.2)


def residual(n_blocks: int = 3, n_rows: int = 64) -> Workload:
    """The residual network of He et al. (2015), section 4.2, with 20 layers for 3 blocks.

    Shortcuts have no parameters: where the number of channels doubles, every other value is taken
    and the new channels are zeros.
    """
    rng = np.random.default_rng(0)

    def normal(xp: Any, x: Any, scale: Any, shift: Any) -> Any:
        centered = x - xp.mean(x, axis=(0, 2, 3), keepdims=True)
        variance = xp.mean(centered * centered, axis=(0, 2, 3), keepdims=True)
        factor = scale[:, None, None] / xp.sqrt(variance + 1e-5)
        return centered * factor + shift[:, None, None]

    def block(xp: Any, p: Any, x: Any) -> Any:
        more = p[0].shape[0] - x.shape[1]
        h = xp.conv(x, p[0], 2 if more else 1, 1)
        h = xp.maximum(normal(xp, h, p[1], p[2]), 0)
        h = normal(xp, xp.conv(h, p[3], 1, 1), p[4], p[5])
        if more:
            x = xp.pad(x[:, :, ::2, ::2], ((0, 0), (0, more), (0, 0), (0, 0)), "constant")
        return xp.maximum(x + h, 0)

    def loss(xp: Any, params: Any, x: Any, y: Any) -> Any:
        x = xp.maximum(normal(xp, xp.conv(x, params[0], 1, 1), params[1], params[2]), 0)
        for i in range(3, len(params) - 2, 6):
            x = block(xp, params[i : i + 6], x)
        return cross_entropy(xp, xp.mean(x, axis=(2, 3)) @ params[-2] + params[-1], y)

    params: list[Any] = []
    widths = [3, 16] + [16] * 2 * n_blocks + [32] * 2 * n_blocks + [64] * 2 * n_blocks
    for n_in, n_out in itertools.pairwise(widths):
        params += [kernel(rng, n_in, n_out), np.ones(n_out), np.zeros(n_out)]
    params += [rng.normal(size=(64, 10)) / 8, np.zeros(10)]
    cast = [p.astype(np.float32) for p in params]
    name = f"ResNet-{6 * n_blocks + 2}, 32 x 32, batch {n_rows}"
    batch = images(rng, n_rows)
    return Workload(name, loss, cast, batch, 1.2, is_slow_to_compile=n_blocks > 1)


def heat(n: int = 256, steps: int = 500) -> Workload:
    """Gradient through explicit steps of the heat equation on a ring, for the conductivities."""
    rng = np.random.default_rng(0)

    def loss(xp: Any, params: Any, u: Any) -> Any:
        (k,) = params

        def step(u: Any, _: Any) -> Any:
            return u + 0.1 * k * (xp.roll(u, 1) + xp.roll(u, -1) - 2 * u), None

        return xp.sum(xp.scan(step, u, None, length=steps)[0] ** 2)

    name = f"heat equation, {steps} steps of {n} cells, float64"
    start = [rng.normal(size=n)]
    return Workload(name, loss, [np.ones(n)], start, 2, kind="gradient", is_slow_to_compile=True)


def all_workloads() -> list[Workload]:
    return [
        mlp((8, 32, 32, 1), 32, 6),
        mlp((784, 256, 128, 10), 128, 1.6),
        mlp((784, 1024, 1024, 10), 256, 1.1),
        mlp((64,) * 20 + (10,), 64, 2.8, "20 layers of 64, batch 64"),
        transformer(),
        causal_attention(),
        logistic_hvp(),
        mixture(),
        lstm(),
        convolutional(),
        residual(),
        heat(),
        elementwise(),
    ]

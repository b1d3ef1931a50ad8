"""What random networks do before training: scales, spectra, shattering, normalization, dying."""

from __future__ import annotations

import math

import numpy as np

import pullback as pb
from experiments.result import Row, between, near
from pullback import nn
from pullback.flow.extras import autocorrelation

GLOROT = "Glorot & Bengio 2010"


def standard(rng, shape, dtype=np.float64):
    """U(-1/sqrt(n), 1/sqrt(n)), the custom before 2010."""
    return rng.uniform(-1, 1, shape).astype(dtype) / math.sqrt(shape[0])


def a1() -> list[Row]:
    rows = []
    for name, init, sigma, ratio in (
        ("standard", standard, 0.4901, 0.085),
        ("normalized", nn.init.xavier, 0.8488, 0.42),
    ):
        rng = np.random.default_rng(0)
        weight = init(rng, (1000, 1000))
        mean = np.mean(np.linalg.svd(weight, compute_uv=False))
        rows.append(near("A1", f"mean singular value, {name}", mean, sigma, 0.02, GLOROT))
        net = nn.mlp(rng, (1000, *[1000] * 5, 10), activation=np.tanh, initializer=init)
        x, y = rng.normal(size=(100, 1000)), rng.integers(0, 10, 100)
        found = pb.flow.probe(lambda net, x, y: nn.softmax_cross_entropy(net(x), y), net, x, y)
        z = [v for v in found.layers if v.path.endswith(("[0]", "[8]"))]
        measured = z[0].ct_rms / z[1].ct_rms
        rows.append(near("A1", f"dL/dz layer 1 / layer 5, {name}", measured, ratio, 0.35, GLOROT))
        hidden = [p.grad_rms for p in found.parameters if p.path.endswith("weight")][1:5]
        text = f"dL/dW largest / smallest of layers 2 to 5, {name}"
        rows.append(between("A1", text, max(hidden) / min(hidden), 1, 1.6, GLOROT))
    return rows


def a3() -> list[Row]:
    source = "He et al. 2015, section 2.2"
    rows = []
    for c, std in ((64, 0.0589), (128, 0.0417), (256, 0.0295), (512, 0.0208)):
        weight = nn.init.he(np.random.default_rng(0), (c, c, 3, 3), layout="oihw")
        rows.append(near("A3", f"std of weights, {c} channels", weight.std(), std, 0.02, source))
    exact = {c: math.sqrt(2 / (9 * c)) for c in (64, 128, 256, 512)}
    shrink = (exact[64] / 0.01) * (exact[128] / 0.01) ** 2 * (exact[256] / 0.01) ** 2
    shrink *= (exact[512] / 0.01) ** 4
    rows.append(
        near("A3", "shrinking from conv10 to conv2 with std 0.01", shrink, 1.7e4, 0.02, source)
    )
    return rows


def growth(variance: float, seed: int, n: int = 500, depth: int = 60) -> float:
    """Mean-square gain per layer of a random tanh network, by one backward pass."""
    q = nn.meanfield.mean_field(np.tanh, variance, 0.05).q
    rng = np.random.default_rng(seed)
    ws = [rng.normal(size=(n, n)) * math.sqrt(variance / n) for _ in range(depth)]
    bs = [rng.normal(size=n) * math.sqrt(0.05) for _ in range(depth)]

    def loss(p, x, v):
        for w, b in zip(*p, strict=True):
            z = x @ w + b
            x = np.tanh(z)
        return np.sum(x * v)

    x, v = rng.normal(size=(2, 32, n))
    found = pb.flow.probe(loss, (ws, bs), x * math.sqrt(q), v)
    z = [layer.ct_norm for layer in found.layers if layer.name.startswith("z")]
    slope = np.polyfit(np.arange(len(z) - 10), np.log(z[:-10]), 1)[0]
    return math.exp(-2 * slope)


def a5() -> list[Row]:
    rows = []
    for variance in (1.3, 1.760955, 2.5):
        theory = nn.meanfield.mean_field(np.tanh, variance, 0.05)
        chi = float(np.mean([growth(variance, seed) for seed in range(3)]))
        text = f"chi_1 of tanh, weight variance {variance:.3g}"
        rows.append(near("A5", text, chi, theory.chi, 0.02, "Schoenholz et al. 2017"))
    return rows


def spread(kind: str, depth: int, relu: bool, rng: np.random.Generator, n: int = 400) -> float:
    """Variance over squared mean of the squared singular values of a product of layers."""
    found = []
    for _ in range(3):
        product = np.eye(n)
        for _ in range(depth):
            if kind == "orthogonal":
                w = nn.init.orthogonal(rng, (n, n))
            else:
                w = rng.normal(size=(n, n)) / math.sqrt(n)
            gate = math.sqrt(2) * (rng.random(n) < 0.5) if relu else np.ones(n)
            product = (product @ w) * gate
        squares = np.linalg.svd(product, compute_uv=False) ** 2
        found.append(np.var(squares) / np.mean(squares) ** 2)
    return float(np.mean(found))


def a6() -> list[Row]:
    rng = np.random.default_rng(0)
    source = "Pennington et al. 2017; Saxe et al. 2014"
    rows = []
    for kind, relu, factor in (
        ("gaussian", False, 1),
        ("gaussian", True, 2),
        ("orthogonal", True, 1),
    ):
        for depth in (2, 8):
            text = f"spread of spectrum, {kind}{' relu' if relu else ''}, depth {depth}"
            rows.append(
                near("A6", text, spread(kind, depth, relu, rng), factor * depth, 0.15, source)
            )
    text = "spread of spectrum, orthogonal linear, depth 8"
    rows.append(between("A6", text, spread("orthogonal", 8, False, rng), 0, 1e-10, source))
    return rows


def balduzzi(kind: str, depth: int, seed: int, width: int = 200, points: int = 256) -> float:
    """Autocorrelation at lag 5 of the gradient with respect to the first layer's units."""
    rng = np.random.default_rng(seed)
    x = np.linspace(-2, 2, points)[:, None]
    first = x @ rng.normal(size=(1, width)) + rng.normal(size=width)
    stop = pb.stop_gradient
    if kind == "looks-linear":
        ws = [nn.init.looks_linear(rng, (2 * width, width)) for _ in range(depth)]
    else:
        ws = [nn.init.he(rng, (width, width)) for _ in range(depth)]
    last = rng.normal(size=width)

    def output(h):
        for w in ws:
            if kind == "looks-linear":
                h = nn.crelu(h) @ w
            elif kind == "centred":
                h = nn.relu(h) @ w
                h = h - stop(np.mean(h, axis=0))
            else:
                mean, std = stop(np.mean(h, axis=0)), stop(np.std(h, axis=0))
                h = h + 0.1 * (nn.relu((h - mean) / std) @ w)
        return np.sum(h @ last)

    series = pb.grad(output)(first)
    if np.all(np.ptp(series, axis=0) < 1e-9 * np.max(np.abs(series))):
        return 1.0  # constant along the grid
    return float(np.mean(autocorrelation(series, [5])))


def a7() -> list[Row]:
    source = "Balduzzi et al. 2017, figures 1 and 2"
    means = {
        kind: np.mean([balduzzi(kind, depth, seed) for seed in range(3)])
        for kind, depth in (("centred", 24), ("residual", 50), ("looks-linear", 24))
    }
    return [
        between("A7", "ACF(5), plain centred, depth 24", means["centred"], -0.1, 0.1, source),
        between(
            "A7", "ACF(5), residual, BN, beta 0.1, depth 50", means["residual"], 0.6, 1, source
        ),
        between("A7", "ACF(5), looks-linear, depth 24", means["looks-linear"], 0.999, 1, source),
    ]


def a8() -> list[Row]:
    """Gates on with probability 1/2, on together with probability 1/4, Gaussian weights."""
    rng = np.random.default_rng(0)
    source = "Balduzzi et al. 2017, theorems 1 to 3"
    n, draws = 50, 400

    def correlation(depth, beta=None, residual=False):
        top = both = 0.0
        for _ in range(draws):
            a = np.tile(rng.normal(size=n), (2, 1))
            for k in range(depth):
                w = rng.normal(size=(n, n)) * math.sqrt(2 / n)
                gates = rng.random((2, n)) < 0.5
                branch = (a * gates) @ w
                if beta is not None:
                    branch *= beta / math.sqrt(beta**2 * (depth - 1 - k) + 1)
                a = a + branch if residual else branch
            top += float(np.sum(a[0] * a[1]))
            both += float(np.sum(a**2)) / 2
        return top / both

    def finite(depth, beta=1.0):
        product = np.prod([1 + beta**2 / (2 * (beta**2 * k + 1)) for k in range(depth)])
        return float(product / (1 + beta**2 * depth))

    return [
        near("A8", "correlation, plain, depth 2", correlation(2), 0.25, 0.15, source),
        near("A8", "correlation, plain, depth 4", correlation(4), 0.0625, 0.5, source),
        near(
            "A8",
            "correlation, residual, depth 4",
            correlation(4, residual=True),
            0.3164,
            0.15,
            source,
        ),
        near(
            "A8",
            "correlation, residual with BN, depth 10",
            correlation(10, 1.0, True),
            finite(10),
            0.1,
            source,
        ),
    ]


def a9() -> list[Row]:
    rows = []
    for batch, expected, tolerance in ((400, 1.46694, 0.025), (128, 1.474, 0.03), (32, 1.52, 0.05)):
        rng = np.random.default_rng(0)
        width, depth = 400, 25
        ws = [rng.normal(size=(width, width)) / math.sqrt(width) for _ in range(depth)]

        def loss(ws, x, v):
            for w in ws:
                h = x @ w
                mean, variance = nn.batch_statistics(h)
                x = nn.relu((h - mean) / np.sqrt(variance))
            return np.sum(x * v)

        x, v = rng.normal(size=(2, batch, width))
        found = pb.flow.probe(loss, ws, x, v)
        norms = [layer.ct_norm for layer in found.layers if layer.name.startswith("h")]
        ratio = float(np.exp(-2 * np.polyfit(np.arange(20), np.log(norms[2:22]), 1)[0]))
        text = f"growth of squared gradients per layer, batch {batch}"
        rows.append(near("A9", text, ratio, expected, tolerance, "Yang et al. 2019"))
    return rows


def a10() -> list[Row]:
    rows, n_nets, n_layers = [], 8000, 9
    for width, on_ray in ((2, 0.9249), (3, 0.6993), (5, 0.2485), (10, 0.00875)):
        rng = np.random.default_rng(0)
        h = np.ones((n_nets, 1))
        for layer in range(n_layers):
            w = rng.normal(size=(n_nets, 1 if layer == 0 else width, width))
            h = nn.relu(np.einsum("bi,bij->bj", h, w))
        dead = float(np.mean(~np.any(h > 0, axis=1)))
        sigma = math.sqrt(on_ray * (1 - on_ray) / n_nets)
        text = f"born dead on a ray, width {width}, 9 hidden layers"
        rows.append(
            between("A10", text, dead, on_ray - 3 * sigma, on_ray + 3 * sigma, "Lu et al. 2019")
        )
    return rows

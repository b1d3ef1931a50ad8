"""Measurements that need more than one pass: singular values, shattering, noise, curvature."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from pullback import tree
from pullback.core.graph import Variable
from pullback.curvature import lanczos
from pullback.flow.measurements import Curvature, JacobianMeasure, NoiseMeasure, Shattering
from pullback.flow.problem import Problem
from pullback.flow.recording import Recording, record
from pullback.flow.structure import Network
from pullback.optim import global_norm
from pullback.transforms.derivatives import grad
from pullback.transforms.mode import hvp

__all__ = [
    "autocorrelation",
    "curvature",
    "jacobians",
    "largest_singular_value",
    "ljung_box",
    "noise",
    "shattering",
]

MAX_ITERATIONS = 100
TOLERANCE = 1e-3
N_DRAWS = 8
N_POINTS = 256
N_CHUNKS = 8
LAGS = 20
LANCZOS_STEPS = 12
# Quantile 0.99 of the chi-squared distribution with 20 degrees of freedom.
CHI_SQUARED_20_99 = 37.56623478662507

Linear = Callable[[Any], Any]


def largest_singular_value(
    jvp: Linear, vjp: Linear, shape: tuple[int, ...], rng: np.random.Generator
) -> tuple[float, float]:
    """Power iteration on ``J^T J``: ``(singular value, relative residual)``.

    Converges like ``(s2 / s1)**2`` a step; stops at a relative change of 1e-3 or 100 steps.
    """
    u = rng.standard_normal(shape)
    size = 0.0
    u /= np.linalg.norm(u)
    residual = math.inf
    for _ in range(MAX_ITERATIONS):
        w = np.asarray(vjp(jvp(u)), dtype=float)
        square = float(np.sum(u * w))
        if square <= 0 or not np.isfinite(square):
            return (0.0, 0.0) if square <= 0 else (math.inf, math.nan)
        residual = float(np.linalg.norm(w - square * u)) / square
        new = math.sqrt(square)
        u = w / np.linalg.norm(w)
        if abs(new - size) <= TOLERANCE * new:
            return new, residual
        size = new
    return size, residual


def _smallest(
    jvp: Linear, vjp: Linear, shape: tuple[int, ...], largest: float, rng: np.random.Generator
) -> float:
    """Power iteration on ``largest**2 - J^T J``."""
    top = largest**2 * 1.01
    u = rng.standard_normal(shape)
    u /= np.linalg.norm(u)
    square = top
    for _ in range(MAX_ITERATIONS):
        w = np.asarray(vjp(jvp(u)), dtype=float)
        square = max(float(np.sum(u * w)), 0.0)
        w = top * u - w
        norm = float(np.linalg.norm(w))
        if norm == 0:
            break
        u = w / norm
    return math.sqrt(square)


def jacobian_between(
    run: Recording, start: Variable, stop: Variable, names: tuple[str, str], seed: int = 0
) -> JacobianMeasure:
    """Singular values of d stop / d start in a recording."""
    rng = np.random.default_rng(seed)
    at = run.maker(start) + 1

    def jvp(u: Any) -> Any:
        return run.tangents({start: u.astype(start.type.dtype)}, stop)

    def vjp(v: Any) -> Any:
        found = run.cotangents({stop: np.asarray(v, stop.type.dtype)}, start=at).get(start)
        return np.zeros(start.type.shape) if found is None else found

    shape = start.type.shape
    largest, residual = largest_singular_value(jvp, vjp, shape, rng)
    squares = [
        float(np.sum(np.asarray(vjp(rng.standard_normal(stop.type.shape)), float) ** 2))
        for _ in range(N_DRAWS)
    ]
    total = float(np.mean(squares))
    mean = total / max(start.type.size, 1)
    spread = float(np.std(squares, ddof=1)) / math.sqrt(N_DRAWS) / max(total, 1e-300)
    smallest = _smallest(jvp, vjp, shape, largest, rng) if np.isfinite(largest) else math.nan
    return JacobianMeasure(*names, largest, residual, smallest, mean, float(spread), N_DRAWS)


def jacobians(network: Network) -> tuple[JacobianMeasure, ...]:
    """Each layer's Jacobian, and last the one from the first layer to the last."""
    layers = [layer for layer in network.layers if layer.variable in network.upstream]
    pairs = list(pairwise(layers))
    if len(layers) > 2:
        pairs.append((layers[0], layers[-1]))
    return tuple(
        jacobian_between(network.run, a.variable, b.variable, (a.name, b.name)) for a, b in pairs
    )


# -- shattering -----------------------------------------------------------------------------------
def autocorrelation(series: Any, lags: Sequence[int]) -> Any:
    """Autocorrelation of ``series`` ``(points, units)`` at ``lags``: ``(lags, units)``.

    ``sum_t (g_t - m)(g_{t+k} - m) / sum_t (g_t - m)**2``; 0 for a unit without variation.
    """
    centered = np.asarray(series, float) - np.mean(series, axis=0)
    total = np.sum(centered**2, axis=0)
    n = len(centered)
    with np.errstate(all="ignore"):
        rows = [np.sum(centered[: n - k] * centered[k:], axis=0) / total for k in lags]
    return np.nan_to_num(np.array(rows))


def ljung_box(acf: Any, n_points: int) -> Any:
    """``n (n + 2) sum_k r_k**2 / (n - k)`` over the lags 1 to ``len(acf)``."""
    lags = np.arange(1, len(acf) + 1).reshape(-1, *(1,) * (np.ndim(acf) - 1))
    return n_points * (n_points + 2) * np.sum(np.asarray(acf) ** 2 / (n_points - lags), axis=0)


def shattering(problem: Problem, seed: int = 0) -> Shattering | None:
    """How fast the gradient changes between two rows of the data.

    The gradient of the sum of the outputs with respect to the first layer's output, at 256 points
    of the segment. ``None`` if the data is not one float array of inputs, or if the loss does not
    take any number of rows.
    """
    if not problem.n_rows or problem.n_rows < 2 or np.asarray(problem.batch[0]).dtype.kind != "f":
        return None
    rng = np.random.default_rng(seed)
    a, b = rng.choice(problem.n_rows, 2, replace=False)
    x = np.asarray(problem.batch[0])
    t = np.linspace(0, 1, N_POINTS).reshape(-1, *(1,) * (x.ndim - 1))
    segment = ((1 - t) * x[a] + t * x[b]).astype(x.dtype)
    rest = [
        np.repeat(np.asarray(part)[a : a + 1], N_POINTS, axis=0) if np.ndim(part) else part
        for part in problem.batch[1:]
    ]
    network = Network(record(problem.loss, problem.params, (segment, *rest), root=problem.root))
    if network.output is None or not network.weighted:
        return None
    first = network.weighted[0].output
    if first is network.output or first.type.shape[:1] != (N_POINTS,):
        return None
    seeds = {network.output: np.ones(network.output.type.shape, network.output.type.dtype)}
    found = network.run.cotangents(seeds).get(first)
    if found is None:
        return None
    series = np.asarray(found, float).reshape(N_POINTS, -1)
    acf = autocorrelation(series, range(1, LAGS + 1))
    kept = np.ptp(series, axis=0) > 0
    if not kept.any():  # a gradient that does not change at all
        kept[:] = True
        acf[:] = 1.0
    means = np.mean(acf[:, kept], axis=1)
    q = float(np.mean(ljung_box(acf[:, kept], N_POINTS)))
    name = next((v.name for v in network.layers if v.variable is first), network.weighted[0].path)
    lags = tuple(range(1, LAGS + 1))
    return Shattering(name, N_POINTS, lags, tuple(map(float, means)), q, CHI_SQUARED_20_99)


# -- noise and curvature --------------------------------------------------------------------------
def noise(problem: Problem) -> NoiseMeasure | None:
    """The gradient noise scale from ``N_CHUNKS`` parts of the data.

    ``|G|^2 ~ (B |G_B|^2 - b |G_b|^2) / (B - b)`` and ``tr(S) ~ (|G_b|^2 - |G_B|^2) / (1/b - 1/B)``
    with ``G_b`` the gradient of a part and ``G_B`` their mean. ``None`` with fewer than two rows
    a part.
    """
    small = problem.n_rows // N_CHUNKS
    if small < 2:
        return None
    order = np.random.default_rng(0).permutation(problem.n_rows)[: small * N_CHUNKS]
    gradient = grad(problem.loss)
    parts = [
        tree.ravel(gradient(problem.params, *problem.rows(index)))[0]
        for index in order.reshape(N_CHUNKS, small)
    ]
    squares = np.array([float(global_norm(part)) ** 2 for part in parts])
    big_square = float(global_norm(sum(parts) / N_CHUNKS)) ** 2
    small_square = float(np.mean(squares))
    big = small * N_CHUNKS
    signal = (big * big_square - small * small_square) / (big - small)
    variance = (small_square - big_square) / (1 / small - 1 / big)
    total = float(np.sum(squares))
    return NoiseMeasure(
        scale=variance / signal if signal > 0 else math.nan,
        signal=signal,
        variance=variance,
        n_chunks=N_CHUNKS,
        largest_share=float(np.max(squares)) / total if total > 0 else math.nan,
    )


class Hessian:
    """Products with the Hessian of a problem's loss, as :func:`pullback.curvature.lanczos` asks."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.vector, self.unravel = tree.ravel(problem.params)
        self.shape = (self.vector.size, self.vector.size)
        self.dtype = self.vector.dtype

    def __matmul__(self, v: Any) -> Any:
        problem = self.problem
        product = hvp(
            lambda p: problem.loss(p, *problem.batch), (problem.params,), (self.unravel(v),)
        )
        return np.asarray(tree.ravel(product)[0], dtype=float)


def curvature(problem: Problem, seed: int = 0) -> Curvature:
    """The largest Hessian eigenvalue by ``LANCZOS_STEPS`` steps of Lanczos."""
    hessian = Hessian(problem)
    start = np.random.default_rng(seed).standard_normal(hessian.vector.size)
    diagonal, beside, basis = lanczos(hessian, LANCZOS_STEPS, start)
    if not np.all(np.isfinite([*diagonal, *beside])):
        return Curvature(math.nan, math.nan, math.nan, len(diagonal))
    values, vectors = np.linalg.eigh(np.diag(diagonal) + np.diag(beside, 1) + np.diag(beside, -1))
    largest, v = float(values[-1]), basis @ vectors[:, -1]
    residual = float(np.linalg.norm(hessian @ v - largest * v)) / max(abs(largest), 1e-300)
    rate = problem.learning_rate
    sharpness = math.nan if rate is None else rate * largest
    return Curvature(largest, residual, sharpness, len(diagonal) + 1)

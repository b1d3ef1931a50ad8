"""Verdicts on data and structure: what real programs suffer from more often than from flow."""

from __future__ import annotations

from typing import Any

import numpy as np

from pullback.flow.evidence import Evidence, certainty
from pullback.flow.findings import Finding
from pullback.flow.measure import rms
from pullback.flow.thresholds import limit
from pullback.nn.normalization import batch_statistics

__all__ = ["RULES", "dependence", "p_value", "shifts"]

N_PERMUTATIONS = 199
MAX_TEST_ROWS = 256
NEIGHBOURS = 5
SHIFTED = 0.01  # p-value: one of four shifts is looked for, so stricter than without


def input_scale(evidence: Evidence) -> list[Finding]:
    """The scale of what the first layer reads, as a whole and feature by feature."""
    x = evidence.inputs
    if x is None or not x.size or not np.all(np.isfinite(x)):
        return []
    size = rms(x)
    flat = x.reshape(x.shape[0], -1) if x.ndim == 2 else x.reshape(-1, 1)
    spread = np.sqrt(np.mean(flat**2, axis=0))
    spread = spread[spread > 0]
    ratio = float(np.max(spread) / np.median(spread)) if spread.size else 1.0
    large, small = limit("input scale").value, limit("input scale, small").value
    if size > large:
        excess, name = size / large, "input scale"
    elif 0 < size < small:
        excess, name = small / size, "input scale, small"
    elif ratio > limit("input spread").value:
        excess, name = ratio / limit("input spread").value, "input spread"
    else:
        return []
    constant = float(np.mean(np.ptp(flat, axis=0) == 0))
    return [
        Finding(
            "input scale",
            "severe" if excess > 3 else "warning",
            certainty(excess, 10),
            (
                f"the first layer reads values with mean {np.mean(x):.3g} and RMS {size:.3g}; "
                f"features differ in scale by up to {ratio:.3g} times the median",
                f"{constant:.0%} of the features are constant",
            ),
            place="batch[0]",
            value=size if name != "input spread" else ratio,
            threshold=limit(name),
            alternatives=("weights that are scaled to match",),
            remedies=("scale inputs",),
            advice="train on (x - mean) / std of each feature over the training rows",
        )
    ]


def outlier(evidence: Evidence) -> list[Finding]:
    """A row that dwarfs all others."""
    x = evidence.inputs
    if x is None or x.ndim < 2 or len(x) < 8 or not np.all(np.isfinite(x)):
        return []
    sizes = np.sqrt(np.mean(x.reshape(len(x), -1) ** 2, axis=1))
    ratio = float(np.max(sizes) / max(np.median(sizes), 1e-300))
    n_far = int(np.sum(sizes > 20 * np.median(sizes)))
    if ratio < 50 or n_far > 0.05 * len(x):
        return []
    row = int(np.argmax(sizes))
    return [
        Finding(
            "outlier",
            "severe" if ratio > 200 else "warning",
            certainty(ratio / 50, 10),
            (
                f"row {row} of the probed rows is {ratio:.3g} times as large as the median row; "
                f"{n_far} rows are more than 20 times as large",
            ),
            place=f"batch[0], row {row}",
            value=ratio,
            alternatives=("inputs that are not scaled",),
            remedies=("clip", "drop outliers"),
            advice="correct or drop these rows, or clip the gradient",
        )
    ]


def labels(evidence: Evidence) -> list[Finding]:
    """Constant, out of range, or independent of the inputs."""
    y = evidence.targets
    if y is None or not y.size:
        return []
    place = f"batch[{len(evidence.rows) - 1}]"
    head = evidence.head
    if np.all(y == y.reshape(-1)[0]) if y.ndim < 2 else np.all(y == y[:1]):
        return [
            Finding(
                "constant labels",
                "severe",
                0.97,
                (f"all {len(y)} probed targets are {y.reshape(-1)[0]:.3g}",),
                place=place,
                alternatives=("rows that are sorted, of which few were passed",),
                advice="check how the targets are read",
            )
        ]
    if y.dtype.kind in "iu" and head is not None and y.ndim == 1 and head.start.ndim == 2:
        n = head.start.shape[-1]
        if n > 1 and (y.min() < 0 or y.max() >= n):
            return [
                Finding(
                    "labels out of range",
                    "severe",
                    0.95,
                    (f"targets go from {y.min()} to {y.max()}; the network has {n} outputs",),
                    place=place,
                    value=float(y.max()),
                    alternatives=("class numbers that start at 1",),
                    advice=f"number the classes from 0 to {n - 1}",
                )
            ]
    return _unrelated(evidence, y, place)


def _unrelated(evidence: Evidence, y: Any, place: str) -> list[Finding]:
    x = evidence.inputs
    if x is None or len(x) != len(y) or len(x) < 32:
        return []
    p = p_value(x, y)
    if p <= limit("unrelated").value:
        return []
    shifted = shifts(x, y)
    texts = [
        f"neighbouring inputs do not have more similar targets than random ones: p = {p:.2g} by a "
        f"permutation test with {min(len(x), MAX_TEST_ROWS)} rows"
    ]
    if shifted:
        texts.append(f"with the targets moved by {shifted[0]} row(s) they do")
    return [
        Finding(
            "labels unrelated to inputs",
            "severe" if shifted or p > 0.2 else "warning",
            0.95 if shifted else round(0.6 + 0.3 * min(1.0, p / 0.5), 2),
            tuple(texts),
            place=place,
            value=p,
            threshold=limit("unrelated"),
            alternatives=("a dependence that distances do not show", "too few rows"),
            remedies=("align targets",),
            advice="check that inputs and targets are read, shuffled and filtered together",
        )
    ]


def shifts(x: Any, y: Any) -> list[int]:
    """By how many rows targets that do not depend on the inputs can be moved so that they do."""
    return [k for k in (-1, 1, -2, 2) if p_value(x, np.roll(y, k, axis=0)) <= SHIFTED]


def p_value(x: Any, y: Any) -> float:
    """Of the hypothesis that ``y`` does not depend on ``x``, by permutations of the rows of ``y``.

    The smaller p-value of two statistics, doubled: similarity of the targets of the nearest
    neighbours, and the sum of squared correlations.
    """
    if len(x) > MAX_TEST_ROWS:
        chosen = np.linspace(0, len(x) - 1, MAX_TEST_ROWS).astype(int)
        x, y = x[chosen], y[chosen]
    rng = np.random.default_rng(0)
    orders = [np.arange(len(x))] + [rng.permutation(len(x)) for _ in range(N_PERMUTATIONS)]
    neighbour, linear = dependence(x, y)
    best = 1.0
    for statistic in (neighbour, linear):
        values = np.array([statistic(order) for order in orders])
        best = min(best, float(np.mean(values >= values[0] - 1e-12)))
    return min(1.0, 2 * best)


def dependence(x: Any, y: Any) -> tuple[Any, Any]:
    """Two statistics of the order of the targets: of the nearest neighbours, and linear."""
    flat = np.asarray(x, float).reshape(len(x), -1)
    scale = np.std(flat, axis=0)
    flat = (flat[:, scale > 0] - np.mean(flat[:, scale > 0], axis=0)) / scale[scale > 0]
    squares = np.sum(flat**2, axis=1)
    distance = squares[:, None] + squares - 2 * flat @ flat.T
    np.fill_diagonal(distance, np.inf)
    near = np.argsort(distance, axis=1)[:, :NEIGHBOURS]
    coded = _coded(y)
    coded = coded - np.mean(coded, axis=0)

    def neighbour(order: Any) -> float:
        z = coded[order]
        return float(np.sum(z[:, None, :] * z[near]))

    def linear(order: Any) -> float:
        return float(np.sum((flat.T @ coded[order]) ** 2))

    return neighbour, linear


def _coded(y: Any) -> Any:
    """Targets as float columns: class numbers one-hot."""
    y = np.asarray(y)
    if y.ndim == 1 and y.dtype.kind in "iub":
        classes = np.unique(y)
        if len(classes) <= 64:
            return (y[:, None] == classes).astype(float)
    flat = y.astype(float).reshape(len(y), -1)
    # Ranks, so that a few huge targets do not decide alone.
    return np.argsort(np.argsort(flat, axis=0), axis=0).astype(float)


def order(evidence: Evidence) -> list[Finding]:
    """Rows that come sorted in batches that are not shuffled."""
    problem, y = evidence.problem, None
    size = problem.batch_size
    if problem.shuffles or size is None or size >= problem.n_rows or len(problem.batch) < 2:
        return []
    y = np.asarray(problem.batch[-1])
    if not y.ndim or y.dtype.kind not in "fiub":
        return []
    coded = _coded(y)
    n = len(coded) // size
    if n < 2 or not np.any(np.ptp(coded, axis=0)):
        return []
    means = coded[: n * size].reshape(n, size, -1).mean(axis=1)
    expected = np.sum(np.var(coded, axis=0)) / size
    ratio = float(np.sum(np.var(means, axis=0, ddof=1)) / expected)
    if not ratio > limit("order").value:
        return []
    return [
        Finding(
            "order of the data",
            "severe" if ratio > 3 * limit("order").value else "warning",
            certainty(ratio / limit("order").value, 4),
            (
                f"the mean target differs between batches of {size} rows {ratio:.3g} times as much "
                "as chance would make it: the rows are sorted, and not shuffled",
            ),
            place=f"batch[{len(problem.batch) - 1}]",
            value=ratio,
            threshold=limit("order"),
            alternatives=("a slow drift of the data",),
            remedies=("shuffle",),
            advice="draw the rows in random order in each epoch",
        )
    ]


def nonlinearity(evidence: Evidence) -> list[Finding]:
    """Several layers that are one affine map."""
    network = evidence.network
    n = len([w for w in network.weighted if w.output in network.upstream])
    if n < 2 or not network.is_affine():
        return []
    return [
        Finding(
            "missing non-linearity",
            "warning",
            0.9,
            (
                f"{n} weighted layers with nothing but affine steps between them: the output is an "
                "affine function of the input, as with one layer",
            ),
            place=network.weighted[0].path,
            line=str(evidence.run.source(network.weighted[0].output) or ""),
            alternatives=("a factorized linear model on purpose",),
            remedies=("activation",),
            advice="put an activation, such as nn.relu, between the layers",
        )
    ]


def equal_weights(evidence: Evidence) -> list[Finding]:
    """Units that compute the same, and therefore get the same gradient."""
    for unit in evidence.probe.units:
        alive = round(unit.n_units * (1 - unit.dead))
        if unit.n_units > 1 and unit.distinct <= max(1, unit.n_units // 4) and alive != 1:
            if unit.dead > 0.5 and unit.distinct > 1:
                continue
            if unit.saturated > 0.9:
                continue
            flat = [p.path for p in evidence.probe.parameters if len(p.shape) > 1 and p.ptp == 0]
            if unit.dead == 1 and not flat:
                continue
            return [
                Finding(
                    "equal initial weights",
                    "severe",
                    0.95,
                    (
                        f"{unit.n_units} units of {unit.name} have {unit.distinct} different "
                        "outputs: equal units get equal gradients and stay equal",
                        *([f"all entries are equal in {', '.join(flat[:3])}"] if flat else []),
                    ),
                    place=flat[0] if flat else unit.path,
                    line=unit.line,
                    value=float(unit.distinct),
                    alternatives=("inputs that are all the same",),
                    remedies=("initializer", "lsuv"),
                    advice="draw initial weights at random, e.g. with nn.init.he",
                )
            ]
    return []


def statistics(evidence: Evidence) -> list[Finding]:
    """Batch normalization that trains on running statistics that do not fit the data."""
    run = evidence.run
    for path, layer in evidence.norms():
        steps = [s for s in run.steps if s.layer == path]
        if not steps or any(s.function == "train" for s in steps):
            continue
        x = next((run.read(v) for s in steps for v in s.equation.inputs if v.type.ndim >= 2), None)
        if x is None:
            continue
        mean, variance = batch_statistics(np.asarray(x, float))
        spread = np.sqrt(np.asarray(layer.variance, float) + 1e-12)
        away = float(np.sqrt(np.mean(((mean - layer.mean) / spread) ** 2)))
        ratio = float(np.mean(np.abs(np.log((variance + 1e-9) / (spread**2 + 1e-9)))))
        distance = max(away, ratio)
        if distance > limit("statistics").value:
            return [
                Finding(
                    "batch statistics",
                    "severe" if distance > 3 else "warning",
                    certainty(distance / limit("statistics").value, 4),
                    (
                        f"{path} trains on running statistics: the batch's means "
                        f"are {away:.3g} running standard deviations away, its variances off by a "
                        f"factor of {np.exp(ratio):.3g}",
                    ),
                    place=path,
                    value=distance,
                    threshold=limit("statistics"),
                    alternatives=("fine-tuning with frozen statistics",),
                    remedies=("batch statistics",),
                    advice="call layer.train(x) in the training loss and keep the layer it returns",
                )
            ]
    return []


RULES = (
    input_scale,
    outlier,
    labels,
    order,
    nonlinearity,
    equal_weights,
    statistics,
)

"""What a probe measures, as data: plain numbers that print, and export as JSON."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

__all__ = [
    "Curvature",
    "JacobianMeasure",
    "LayerMeasure",
    "NoiseMeasure",
    "ParameterMeasure",
    "Shattering",
    "UnitMeasure",
    "to_json",
]


def to_json(value: Any) -> Any:
    """Dataclasses, tuples and numbers as what ``json.dumps`` takes; NaN and infinity as text."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, (list, tuple)):
        return [to_json(part) for part in value]
    if isinstance(value, dict):
        return {str(key): to_json(part) for key, part in value.items()}
    if isinstance(value, (bool, int, str)) or value is None:
        return value
    number = float(value)
    return number if math.isfinite(number) else str(number)


@dataclass(frozen=True)
class LayerMeasure:
    """One value along the depth, forward and backward.

    Attributes:
        name: of the layer; ``path`` its place in the model; ``line`` the user's line.
        shape: of the value, rows first.
        mean, rms, p98: of its entries; ``p98`` is the 98th percentile of absolute values.
        ct_rms: root mean square of dL/da over its entries.
        ct_norm: Euclidean norm of dL/da; unlike ``ct_rms`` it does not depend on the width.
        gain: (norm of dL/da here / norm of dL/da at the next layer)**2, the mean-square gain of
            the next layer's transposed Jacobian along the actual gradient; NaN at the last layer.
        subnormal: share of the non-zero entries of dL/da below the smallest normal number of the
            dtype; ``half`` the share below the smallest number of float16, 2**-24.
    """

    name: str
    path: str
    line: str
    shape: tuple[int, ...]
    mean: float
    rms: float
    p98: float
    ct_rms: float
    ct_norm: float
    gain: float
    subnormal: float
    half: float


@dataclass(frozen=True)
class UnitMeasure:
    """The units of one activation on the probed rows.

    Attributes:
        name: of the layer; ``kind`` the activation's function.
        n_units: how many; ``n_samples`` on how many values each was seen.
        dead: share of units whose derivative is exactly 0 on every sample.
        bound: 95% upper bound on the probability that such a unit is active, 3 / n_samples (rule
            of three, Hanley & Lippman-Hand 1983).
        dormant: share of units whose mean absolute output is at most 0.025 of the layer's mean
            (Sokar et al. 2023).
        saturated: share of (unit, sample) whose derivative is below 0.05 of the largest possible;
            0 for activations that are not bounded.
        is_first: whether the units read the data directly: then a dead unit stays dead on these
            rows under plain gradient descent without weight decay.
        distinct: number of different units, as columns of outputs.
        certified: share of units that interval arithmetic proves to have derivative 0 for every
            input inside of the range of the probed rows.
    """

    name: str
    path: str
    line: str
    kind: str
    n_units: int
    n_samples: int
    dead: float
    bound: float
    dormant: float
    saturated: float
    is_first: bool
    distinct: int
    dead_units: tuple[int, ...] = ()
    certified: float = 0.0


@dataclass(frozen=True)
class ParameterMeasure:
    """One parameter array.

    Attributes:
        is_connected: whether the loss depends on it through values with derivatives.
        update_ratio: RMS of the optimizer's first step / RMS of the parameter; NaN without a
            learning rate or for parameters that are 0.
        ptp: largest minus smallest entry.
    """

    path: str
    shape: tuple[int, ...]
    rms: float
    ptp: float
    grad_rms: float
    update_ratio: float
    is_connected: bool
    subnormal: float


@dataclass(frozen=True)
class JacobianMeasure:
    """Singular values of the Jacobian between two layers, over the probed rows.

    Attributes:
        largest: by power iteration on J^T J, with its relative ``residual``.
        smallest: by power iteration on (largest**2 - J^T J); an upper bound until converged.
        mean_square: ||J||_F**2 / n, n the number of entries of the start, by ``n_draws`` draws
            (Hutchinson); ``spread`` is the relative standard error.
    """

    start: str
    stop: str
    largest: float
    residual: float
    smallest: float
    mean_square: float
    spread: float
    n_draws: int


@dataclass(frozen=True)
class Shattering:
    """Autocorrelation of the output's gradient along a segment between two inputs.

    Attributes:
        layer: where the gradient is taken; ``n_points`` on the segment.
        acf: autocorrelation at the lags ``lags``, mean over units.
        q: Ljung-Box statistic over 20 lags, mean over units; ``q_limit`` its 99% limit if the
            gradients were white noise.
    """

    layer: str
    n_points: int
    lags: tuple[int, ...]
    acf: tuple[float, ...]
    q: float
    q_limit: float

    def at(self, lag: int) -> float:
        return self.acf[self.lags.index(lag)]


@dataclass(frozen=True)
class NoiseMeasure:
    """Gradient noise scale, tr(Sigma) / |G|**2 (McCandlish et al. 2018, appendix A).

    Attributes:
        scale: in examples; NaN if the estimate of |G|**2 is not positive.
        signal: the estimate of |G|**2; ``variance`` that of tr(Sigma) per example.
        largest_share: largest chunk's squared gradient norm over the sum of all chunks': near 1,
            few examples make the gradient.
    """

    scale: float
    signal: float
    variance: float
    n_chunks: int
    largest_share: float


@dataclass(frozen=True)
class Curvature:
    """Largest Hessian eigenvalue by Lanczos on Hessian-vector products.

    Attributes:
        largest: in loss per squared parameter; ``residual`` relative.
        sharpness: learning rate * largest; above 2 plain gradient descent is unstable along that
            direction (Cohen et al. 2021); NaN without a learning rate.
    """

    largest: float
    residual: float
    sharpness: float
    n_products: int

"""Signal propagation in wide random networks: where they are critical, and how deep a signal goes.

A wide layer with weights of variance ``weight_variance / fan_in`` and biases of variance
``bias_variance`` maps the variance ``q`` of pre-activations to
``weight_variance * E[phi(sqrt(q) z)**2] + bias_variance``. At the fixed point, squared gradients
multiply by ``chi = weight_variance * E[phi'(sqrt(q) z)**2]`` per layer: below 1 they vanish, above
1 they explode, at 1 the network is critical.

References:
    B. Poole et al. (2016), "Exponential expressivity in deep neural networks through transient
    chaos", NeurIPS, eq. 3 and 6.
    S. Schoenholz et al. (2017), "Deep Information Propagation", ICLR, eq. 3, 5 and 9.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from pullback.errors import ArgumentError
from pullback.nn.init import normal_mean
from pullback.transforms.derivatives import grad

__all__ = ["MeanField", "critical", "mean_field", "slope_moment"]

Activation = Callable[[Any], Any]
N_ITERATIONS = 10_000
TRAINABLE = 6.0  # depth scales to which networks train (Schoenholz et al. 2017, figures 5 and 6)


@dataclass(frozen=True)
class MeanField:
    """A wide network at its fixed point.

    Attributes:
        weight_variance: of the weights, times the fan-in; ``bias_variance`` of the biases.
        q: variance of pre-activations at the fixed point.
        chi: factor of squared gradients per layer.
        depth: ``1 / |ln chi|``, over how many layers they change by a factor of e; infinite at
            criticality.
        trainable_depth: six times that.
    """

    weight_variance: float
    bias_variance: float
    q: float
    chi: float

    @property
    def depth(self) -> float:
        log = abs(math.log(self.chi)) if self.chi > 0 else math.inf
        return 1 / log if log > 1e-12 else math.inf

    @property
    def trainable_depth(self) -> float:
        return TRAINABLE * self.depth


def derivative(activation: Activation) -> Activation:
    """The elementwise derivative."""
    return grad(lambda z: np.sum(activation(z)))


def slope_moment(activation: Activation, q: float = 1.0) -> float:
    """``E[phi'(sqrt(q) z)**2]`` with ``z`` standard normal: chi for weights of variance 1 / fan-in.

    >>> from pullback import nn
    >>> round(nn.meanfield.slope_moment(nn.tanh), 6), round(nn.meanfield.slope_moment(nn.selu), 4)
    (0.464403, 1.0716)
    """
    slope = derivative(activation)
    return normal_mean(lambda z: slope(z) ** 2, math.sqrt(q))


def mean_field(
    activation: Activation, weight_variance: float, bias_variance: float = 0.0, *, q: float = 1.0
) -> MeanField:
    """The fixed point of pre-activation variance, started from ``q``, and its chi.

    Raises:
        ArgumentError: if a variance is negative, or if the variance grows without bound.

    >>> from pullback import nn
    >>> found = nn.meanfield.mean_field(nn.tanh, 1.3, 0.05)
    >>> round(found.q, 4), round(found.chi, 5), round(found.trainable_depth, 1)
    (0.3153, 0.88016, 47.0)
    """
    if weight_variance < 0 or bias_variance < 0:
        raise ArgumentError("mean_field: a variance is negative", fix="pass numbers from 0 on")
    for _ in range(N_ITERATIONS):
        new = weight_variance * _second_moment(activation, q) + bias_variance
        if not new < 1e12:
            raise ArgumentError(
                "mean_field: the variance of pre-activations grows without bound",
                fix="take a smaller weight_variance",
            )
        if abs(new - q) <= 1e-13 * max(new, 1e-300):
            break
        q = new
    return MeanField(
        weight_variance, bias_variance, q, weight_variance * slope_moment(activation, q)
    )


def _second_moment(activation: Activation, q: float) -> float:
    return normal_mean(lambda z: activation(z) ** 2, math.sqrt(q))


def critical(activation: Activation, q: float = 1.0) -> MeanField:
    """The weight and bias variances with chi = 1 whose fixed point is ``q``.

    ``weight_variance = 1 / E[phi'(sqrt(q) z)**2]``, and the biases make up the rest of ``q``.

    Raises:
        ArgumentError: if no bias variance from 0 on gives that fixed point, as for the sigmoid.

    >>> from pullback import nn
    >>> found = nn.meanfield.critical(nn.tanh, 0.5)
    >>> round(found.weight_variance, 6), round(found.bias_variance, 6)
    (1.687975, 0.038041)
    """
    weight_variance = 1 / slope_moment(activation, q)
    bias_variance = q - weight_variance * _second_moment(activation, q)
    if bias_variance < -1e-12 * q:
        raise ArgumentError(
            f"critical: no bias variance keeps pre-activations at variance {q:g} with chi = 1",
            details=[f"it would be {bias_variance:.4g}"],
            fix="try another q, or another activation",
        )
    return MeanField(weight_variance, max(bias_variance, 0.0), q, 1.0)

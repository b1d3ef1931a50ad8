"""Random weights whose variance keeps signals and gradients at scale through many layers.

Each scheme states a variance ``scale / n`` with ``n`` the fan of the layer; the distribution is
normal, uniform on ``[-a, a]`` with ``a = sqrt(3 * variance)``, or normal cut at two standard
deviations and widened again to the same variance.

References:
    X. Glorot, Y. Bengio (2010), "Understanding the difficulty of training deep feedforward neural
    networks", AISTATS, eq. 12 and 16.
    K. He et al. (2015), "Delving Deep into Rectifiers", ICCV, doi:10.1109/ICCV.2015.123,
    eq. 10, 14 and 15.
    Y. LeCun et al. (1998), "Efficient BackProp", doi:10.1007/3-540-49430-8_2, section 4.6.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike

from pullback.errors import ArgumentError

__all__ = ["fan_in_fan_out", "gain", "he", "lecun", "xavier"]

Distribution = Literal["normal", "uniform", "truncated normal"]
Mode = Literal["fan_in", "fan_out", "fan_avg"]

CUT = 2.0  # of the truncated normal, in standard deviations
QUADRATURE_NODES = 200
QUADRATURE_RANGE = 12.0  # exp(-12**2 / 2) is 5e-32


def fan_in_fan_out(shape: Sequence[int], layout: str = "io") -> tuple[int, int]:
    """Inputs and outputs of one unit: the number of weights it reads, and that read it.

    Args:
        shape: of the weight.
        layout: one letter per axis: ``i`` inputs, ``o`` outputs, any other letter an axis of the
            kernel. A dense layer is ``"io"``; convolutions are ``"oihw"``, ``"hwio"``, ...

    Raises:
        ArgumentError: if the layout does not describe the shape.

    >>> from pullback.nn import init
    >>> init.fan_in_fan_out((784, 100))
    (784, 100)
    >>> init.fan_in_fan_out((64, 32, 3, 3), "oihw")
    (288, 576)
    """
    if len(layout) != len(shape) or layout.count("i") != 1 or layout.count("o") != 1:
        raise ArgumentError(
            f"layout {layout!r} does not describe a weight of shape {tuple(shape)}",
            details=["one letter per axis: one 'i', one 'o', other letters for the kernel's axes"],
            fix="use 'io' for a dense layer, 'oihw' or 'hwio' for a convolution",
        )
    sizes = dict.fromkeys("io", 1)
    kernel = 1
    for letter, size in zip(layout, shape, strict=True):
        if letter in sizes:
            sizes[letter] = size
        else:
            kernel *= size
    return sizes["i"] * kernel, sizes["o"] * kernel


def he(
    rng: Any,
    shape: Sequence[int],
    *,
    distribution: Distribution = "normal",
    mode: Mode = "fan_in",
    negative_slope: float = 0.0,
    layout: str = "io",
    dtype: DTypeLike = np.float64,
) -> Any:
    """Variance ``2 / ((1 + negative_slope**2) * n)``, for ReLU and leaky ReLU.

    Keeps the second moment of activations (``mode="fan_in"``) or of their cotangents
    (``"fan_out"``). Source: He et al. (2015), eq. 10, 14 and 15.

    Args:
        rng: ``numpy.random.Generator`` or ``pullback.random.Generator``.
        shape: of the weight, with axes as ``layout`` names them.
        distribution: ``"normal"``, ``"uniform"`` or ``"truncated normal"``.
        mode: the fan ``n``: ``"fan_in"``, ``"fan_out"`` or their mean ``"fan_avg"``.
        negative_slope: of the leaky ReLU that follows; 0 for ReLU.
        layout: see :func:`fan_in_fan_out`.
        dtype: of the result, float32 or float64.

    >>> import numpy as np
    >>> from pullback.nn import init
    >>> weight = init.he(np.random.default_rng(0), (800, 500))
    >>> weight.shape, round(float(weight.std()), 3)
    ((800, 500), 0.05)
    """
    scale = 2 / (1 + negative_slope**2)
    return _draw(rng, shape, scale, distribution, mode, layout, dtype)


def xavier(
    rng: Any,
    shape: Sequence[int],
    *,
    distribution: Distribution = "uniform",
    mode: Mode = "fan_avg",
    gain: float = 1.0,
    layout: str = "io",
    dtype: DTypeLike = np.float64,
) -> Any:
    """Variance ``gain**2 * 2 / (fan_in + fan_out)``, for tanh and other odd functions.

    A compromise between keeping activations and keeping cotangents. Source: Glorot & Bengio
    (2010), eq. 12 (variance) and 16 (uniform bound). Arguments as :func:`he`.

    >>> import numpy as np
    >>> from pullback.nn import init
    >>> weight = init.xavier(np.random.default_rng(0), (400, 200))
    >>> round(float(np.abs(weight).max()), 4)
    0.1
    """
    return _draw(rng, shape, gain**2, distribution, mode, layout, dtype)


def lecun(
    rng: Any,
    shape: Sequence[int],
    *,
    distribution: Distribution = "normal",
    mode: Mode = "fan_in",
    gain: float = 1.0,
    layout: str = "io",
    dtype: DTypeLike = np.float64,
) -> Any:
    """Variance ``gain**2 / fan_in``, for scaled tanh (LeCun 1998) and SELU (Klambauer 2017).

    Arguments as :func:`he`. With ``gain=init.gain(activation)`` it keeps the second moment of
    the activations through a wide network with any activation.

    >>> import numpy as np
    >>> from pullback.nn import init
    >>> weight = init.lecun(np.random.default_rng(0), (400, 500), dtype=np.float32)
    >>> weight.dtype, round(float(weight.std()), 2)
    (dtype('float32'), 0.05)
    """
    return _draw(rng, shape, gain**2, distribution, mode, layout, dtype)


def gain(activation: Callable[[Any], Any]) -> float:
    """``E[activation(z)**2] ** -0.5`` with ``z`` standard normal.

    The factor by which weights of variance ``1 / fan_in`` widen so that pre-activations of a wide
    layer keep variance 1. By Gauss-Legendre quadrature on both sides of 0, where activations
    have their kink; about 12 digits for the activations of ``pullback.nn``.

    >>> import numpy as np
    >>> from pullback import nn
    >>> round(nn.init.gain(nn.relu), 5), round(nn.init.gain(np.tanh), 5)
    (1.41421, 1.59254)
    """
    nodes, weights = np.polynomial.legendre.leggauss(QUADRATURE_NODES)
    half = QUADRATURE_RANGE / 2
    z = half * np.concatenate([nodes - 1, nodes + 1])
    density = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    moment = half * np.sum(np.tile(weights, 2) * density * activation(z) ** 2)
    return float(moment**-0.5)


def _draw(
    rng: Any,
    shape: Sequence[int],
    scale: float,
    distribution: Distribution,
    mode: Mode,
    layout: str,
    dtype: DTypeLike,
) -> Any:
    fan_in, fan_out = fan_in_fan_out(shape, layout)
    fans = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}
    if mode not in fans:
        raise ArgumentError(f"unknown mode {mode!r}", fix=f"use one of {', '.join(fans)}")
    if min(fan_in, fan_out) < 1:
        raise ArgumentError(
            f"a weight of shape {tuple(shape)} has no inputs or no outputs",
            fix="give every axis at least one entry",
        )
    std = math.sqrt(scale / fans[mode])
    shape, dtype = tuple(shape), np.dtype(dtype)
    if distribution == "normal":
        return std * rng.standard_normal(shape, dtype)
    if distribution == "uniform":
        return math.sqrt(3) * std * (2 * rng.random(shape, dtype) - 1)
    if distribution == "truncated normal":
        return std / _std_of_cut_normal() * _cut_normal(rng, shape, dtype)
    raise ArgumentError(
        f"unknown distribution {distribution!r}", fix="use normal, uniform or truncated normal"
    )


def _cut_normal(rng: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
    values = rng.standard_normal(shape, dtype)
    outside = np.abs(values) > CUT
    while np.any(outside):
        values[outside] = rng.standard_normal((int(np.sum(outside)),), dtype)
        outside = np.abs(values) > CUT
    return values


def _std_of_cut_normal() -> float:
    density = math.exp(-(CUT**2) / 2) / math.sqrt(2 * math.pi)
    return math.sqrt(1 - 2 * CUT * density / math.erf(CUT / math.sqrt(2)))

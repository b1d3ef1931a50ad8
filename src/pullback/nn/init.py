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
    A. Saxe, J. McClelland, S. Ganguli (2014), "Exact solutions to the nonlinear dynamics of
    learning in deep linear neural networks", ICLR (orthogonal).
    L. Xiao et al. (2018), "Dynamical Isometry and a Mean Field Theory of CNNs", ICML (delta).
    D. Balduzzi et al. (2017), "The Shattered Gradients Problem", ICML, section 4 (looks-linear).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike

from pullback.errors import ArgumentError

__all__ = [
    "delta_orthogonal",
    "fan_in_fan_out",
    "gain",
    "he",
    "lecun",
    "looks_linear",
    "normal_mean",
    "orthogonal",
    "truncated_normal",
    "xavier",
    "zeros",
]

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


def truncated_normal(
    rng: Any, shape: Sequence[int], *, std: float = 0.02, dtype: DTypeLike = np.float64
) -> Any:
    """Normal numbers of standard deviation ``std`` after cutting at two widths of the bell.

    The uncut bell is wider by 1 / 0.8796, so that ``std`` is the deviation of the result.

    >>> import numpy as np
    >>> from pullback.nn import init
    >>> weight = init.truncated_normal(np.random.default_rng(0), (500, 400), std=0.5)
    >>> round(float(weight.std()), 3), round(float(np.abs(weight).max()), 2)
    (0.5, 1.14)
    """
    return std / _std_of_cut_normal() * _cut_normal(rng, tuple(shape), np.dtype(dtype))


def zeros(rng: Any, shape: Sequence[int], *, dtype: DTypeLike = np.float64) -> Any:  # noqa: ARG001
    """Zeros, for the last layer of a branch: the branch then starts as the identity shortcut.

    Goyal et al. (2017), "Accurate, Large Minibatch SGD", section 5.1; Zhang, Dauphin & Ma (2019),
    "Fixup Initialization". The gradient of these weights is not zero, so they move.

    >>> from pullback.nn import init
    >>> init.zeros(None, (1, 2))
    array([[0., 0.]])
    """
    return np.zeros(tuple(shape), dtype)


def orthogonal(
    rng: Any,
    shape: Sequence[int],
    *,
    gain: float = 1.0,
    layout: str = "io",
    dtype: DTypeLike = np.float64,
) -> Any:
    """``gain`` times a random matrix with orthonormal rows or columns, whichever are fewer.

    Uniform over such matrices (Haar). A convolution is one matrix of its inputs times the kernel's
    axes by its outputs. Source: Saxe et al. (2014). Arguments as :func:`he`.

    >>> import numpy as np
    >>> from pullback.nn import init
    >>> weight = init.orthogonal(np.random.default_rng(0), (5, 3))
    >>> np.allclose(weight.T @ weight, np.eye(3))
    True
    """
    fan_in_fan_out(shape, layout)
    at = layout.index("o")
    others = [n for i, n in enumerate(shape) if i != at]
    matrix = _orthonormal(rng, math.prod(others), shape[at])
    return gain * np.moveaxis(matrix.reshape(*others, shape[at]), -1, at).astype(dtype)


def delta_orthogonal(
    rng: Any,
    shape: Sequence[int],
    *,
    gain: float = 1.0,
    layout: str = "oihw",
    dtype: DTypeLike = np.float64,
) -> Any:
    """A convolution that is 0 but for the kernel's centre, which holds an orthogonal matrix.

    Keeps the norm of every pixel's channels, whatever the depth. Source: Xiao et al. (2018),
    algorithm 1. Needs at least as many outputs as inputs. Arguments as :func:`he`.

    Raises:
        ArgumentError: if there are fewer outputs than inputs.

    >>> import numpy as np
    >>> from pullback.nn import init
    >>> weight = init.delta_orthogonal(np.random.default_rng(0), (4, 2, 3, 3))
    >>> np.allclose(weight[:, :, 1, 1].T @ weight[:, :, 1, 1], np.eye(2)), np.sum(weight != 0)
    (True, np.int64(8))
    """
    fan_in_fan_out(shape, layout)
    ways = {letter: n for letter, n in zip(layout, shape, strict=True) if letter in "io"}
    if ways["o"] < ways["i"]:
        raise ArgumentError(
            f"delta_orthogonal: {ways['i']} inputs do not fit into {ways['o']} outputs",
            fix="use init.orthogonal, or as many outputs as inputs",
        )
    weight = np.zeros(tuple(shape), dtype)
    centre = tuple(
        slice(None) if letter in "io" else n // 2 for letter, n in zip(layout, shape, strict=True)
    )
    matrix = gain * _orthonormal(rng, ways["i"], ways["o"])
    weight[centre] = matrix if layout.index("i") < layout.index("o") else matrix.T
    return weight


def looks_linear(
    rng: Any, shape: Sequence[int], *, gain: float = 1.0, dtype: DTypeLike = np.float64
) -> Any:
    """``[W, -W]`` with ``W`` orthogonal: after :func:`pullback.nn.crelu` a linear map at the start.

    ``crelu(z) @ [W; -W] = z @ W``, so that gradients do not shatter however deep the network is.
    Source: Balduzzi et al. (2017), section 4.

    Args:
        shape: ``(2 n, outputs)``: the concatenated halves come in.

    Raises:
        ArgumentError: if the number of inputs is odd.

    >>> import numpy as np
    >>> from pullback import nn
    >>> weight, z = nn.init.looks_linear(np.random.default_rng(0), (8, 4)), np.arange(4.0)
    >>> np.allclose(nn.crelu(z) @ weight, z @ weight[:4])
    True
    """
    if len(shape) != 2 or shape[0] % 2:
        raise ArgumentError(
            f"looks_linear: a weight of shape {tuple(shape)}",
            fix="use it after nn.crelu, which doubles the features: (2 * n, outputs)",
        )
    half = gain * _orthonormal(rng, shape[0] // 2, shape[1])
    return np.concatenate([half, -half]).astype(dtype)


def _orthonormal(rng: Any, n_rows: int, n_columns: int) -> Any:
    """Haar-distributed ``(n_rows, n_columns)``: QR of normal numbers, signs of R's diagonal taken
    out (Mezzadri 2007, "How to generate random matrices from the classical compact groups").
    """
    tall = rng.standard_normal((max(n_rows, n_columns), min(n_rows, n_columns)))
    q, r = np.linalg.qr(tall)
    q = q * np.sign(np.diag(r))
    return q if n_rows >= n_columns else q.T


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
    return float(normal_mean(lambda z: activation(z) ** 2) ** -0.5)


def normal_mean(function: Callable[[Any], Any], std: float = 1.0) -> float:
    """``E[function(std * z)]`` with ``z`` standard normal, by Gauss-Legendre on both sides of 0."""
    nodes, weights = np.polynomial.legendre.leggauss(QUADRATURE_NODES)
    half = QUADRATURE_RANGE / 2
    z = half * np.concatenate([nodes - 1, nodes + 1])
    density = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    return float(half * np.sum(np.tile(weights, 2) * density * function(std * z)))


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

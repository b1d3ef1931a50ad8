"""Normalization: mean 0 and variance 1 along some axes, then a learned scale and shift."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from pullback import tree
from pullback.core.source import here
from pullback.errors import ArgumentError, ShapeError
from pullback.transforms.derivatives import stop_gradient

__all__ = [
    "BatchNorm",
    "GroupNorm",
    "LayerNorm",
    "RMSNorm",
    "batch_norm",
    "batch_statistics",
    "group_norm",
    "layer_norm",
    "rms_norm",
]


def layer_norm(x: Any, scale: Any, shift: Any, *, eps: float = 1e-5) -> Any:
    """``scale * (x - mean) / sqrt(variance + eps) + shift``, each example along its last axis.

    Args:
        x: ``(..., features)``.
        scale, shift: ``(features,)``.
        eps: keeps the division finite where the features of an example are equal.

    Source: Ba, Kiros & Hinton (2016), "Layer Normalization", eq. 3 and 4.

    >>> import numpy as np
    >>> from pullback import nn
    >>> nn.layer_norm(np.array([[1.0, 3.0]]), np.ones(2), np.zeros(2), eps=0.0)
    array([[-1.,  1.]])
    """
    centered = x - np.mean(x, axis=-1, keepdims=True)
    variance = np.mean(centered * centered, axis=-1, keepdims=True)
    return centered / np.sqrt(variance + eps) * scale + shift


def rms_norm(x: Any, scale: Any, *, eps: float | None = None) -> Any:
    """``scale * x / sqrt(mean(x**2) + eps)``, each example along its last axis.

    Args:
        x: ``(..., features)``.
        scale: ``(features,)``.
        eps: keeps the division finite where all features are 0; the distance from 1 to the next
            number of the dtype unless given.

    Source: Zhang & Sennrich (2019), "Root Mean Square Layer Normalization", eq. 4.

    >>> import numpy as np
    >>> from pullback import nn
    >>> nn.rms_norm(np.array([[1.0, 7.0]]), np.ones(2), eps=0.0)
    array([[0.2, 1.4]])
    """
    eps = float(np.finfo(np.result_type(x)).eps) if eps is None else eps
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + eps) * scale


def group_norm(x: Any, scale: Any, shift: Any, groups: int, *, eps: float = 1e-5) -> Any:
    """Mean 0 and variance 1 of each group of channels of an example, then scale and shift.

    Args:
        x: ``(batch, channels, *space)``.
        scale, shift: ``(channels,)``.
        groups: into so many groups of neighbours the channels are split.
        eps: keeps the division finite where a group is constant.

    Raises:
        ShapeError: if ``x`` does not have ``channels`` channels, or ``groups`` does not divide
            them.

    Source: Wu & He (2018), "Group Normalization", eq. 1 to 6.

    >>> import numpy as np
    >>> from pullback import nn
    >>> nn.group_norm(np.array([[1.0, 3.0, 5.0, 9.0]]), np.ones(4), np.zeros(4), 2, eps=0.0)
    array([[-1.,  1., -1.,  1.]])
    """
    shape = np.shape(x)
    if len(shape) < 2 or shape[1:2] != np.shape(scale) or groups < 1 or shape[1] % groups:
        raise ShapeError(
            f"group_norm: the input has shape {shape}, the scale {np.shape(scale)}, with "
            f"{groups} groups",
            fix="x is (batch, channels, *space), each channel has one scale, and the number of "
            "channels is a multiple of the number of groups",
        )
    parts = np.reshape(x, (shape[0], groups, -1))
    centered = parts - np.mean(parts, axis=-1, keepdims=True)
    variance = np.mean(centered * centered, axis=-1, keepdims=True)
    per_channel = (-1, *(1,) * (len(shape) - 2))
    normalized = np.reshape(centered / np.sqrt(variance + eps), shape)
    return normalized * np.reshape(scale, per_channel) + np.reshape(shift, per_channel)


def batch_statistics(x: Any) -> tuple[Any, Any]:
    """Mean and variance (divided by the number of values) of each channel.

    Args:
        x: ``(batch, channels, *space)``, with any number of axes of space.

    Returns:
        two arrays ``(channels,)``.

    >>> import numpy as np
    >>> from pullback import nn
    >>> nn.batch_statistics(np.array([[1.0, 10.0], [3.0, 10.0]]))
    (array([ 2., 10.]), array([1., 0.]))
    """
    axes = (0, *range(2, np.ndim(x)))
    return np.mean(x, axis=axes), np.var(x, axis=axes)


def batch_norm(
    x: Any, scale: Any, shift: Any, mean: Any, variance: Any, *, eps: float = 1e-5
) -> Any:
    """``scale * (x - mean) / sqrt(variance + eps) + shift``, with one number of each per channel.

    Args:
        x: ``(batch, channels, *space)``.
        scale, shift, mean, variance: ``(channels,)``; in training, ``mean`` and ``variance`` are
            :func:`batch_statistics` of ``x``, through which the gradient flows too.
        eps: keeps the division finite where a channel is constant.

    Raises:
        ShapeError: if ``x`` does not have ``channels`` channels.

    Source: Ioffe & Szegedy (2015), "Batch Normalization", algorithm 1.

    >>> import numpy as np
    >>> from pullback import nn
    >>> x = np.array([[1.0, 10.0], [3.0, 10.0]])
    >>> nn.batch_norm(x, np.ones(2), np.zeros(2), *nn.batch_statistics(x), eps=0.25)
    array([[-0.89442719,  0.        ],
           [ 0.89442719,  0.        ]])
    """
    if np.ndim(x) < 2 or np.shape(x)[1:2] != np.shape(scale):
        raise ShapeError(
            f"batch_norm: the input has shape {np.shape(x)}, the scale {np.shape(scale)}",
            fix="x is (batch, channels, *space), and each channel has one scale",
        )
    per_channel = (-1, *(1,) * (np.ndim(x) - 2))
    factor = scale / np.sqrt(variance + eps)
    return (x - np.reshape(mean, per_channel)) * np.reshape(factor, per_channel) + np.reshape(
        shift, per_channel
    )


@dataclasses.dataclass
class BatchNorm:
    """Batch normalization with running statistics.

    Called on ``(batch, channels, *space)``, it normalizes with ``mean`` and ``variance``, as after
    training. In training call :meth:`train`, which normalizes with the statistics of the batch and
    returns the layer with running statistics moved towards them; the layer itself does not change.
    In a :class:`~pullback.nn.Sequential` call :meth:`train` of that.

    Args:
        scale, shift: ``(channels,)``, learned.
        mean, variance: ``(channels,)``, running statistics; see :func:`batch_statistics`.
        momentum: what the running statistics keep of their old value.
        eps: see :func:`batch_norm`.

    Source: Ioffe & Szegedy (2015), "Batch Normalization", algorithms 1 and 2.

    >>> import numpy as np
    >>> from pullback import nn
    >>> layer = nn.BatchNorm.init(2, momentum=0.5)
    >>> x = np.array([[1.0, 10.0], [3.0, 10.0]])
    >>> y, layer = layer.train(x)
    >>> layer.mean, layer.variance
    (array([1., 5.]), array([1. , 0.5]))
    >>> layer(np.array([[1.0, 5.0]]))
    array([[0., 0.]])
    """

    scale: Any
    shift: Any
    mean: Any
    variance: Any
    momentum: float = 0.9
    eps: float = 1e-5

    @classmethod
    def init(
        cls,
        channels: int,
        *,
        momentum: float = 0.9,
        eps: float = 1e-5,
        dtype: DTypeLike = np.float64,
    ) -> BatchNorm:
        """Scale and variance 1, shift and mean 0."""
        ones, zeros = np.ones(channels, dtype), np.zeros(channels, dtype)
        return cls(ones, zeros, zeros.copy(), ones.copy(), momentum, eps)

    def __call__(self, x: Any) -> Any:
        mean, variance = stop_gradient(self.mean), stop_gradient(self.variance)
        return batch_norm(x, self.scale, self.shift, mean, variance, eps=self.eps)

    def train(self, x: Any, rng: Any = None) -> tuple[Any, BatchNorm]:  # noqa: ARG002
        """The normalized batch, and the layer with the next running statistics."""
        mean, variance = batch_statistics(x)
        y = batch_norm(x, self.scale, self.shift, mean, variance, eps=self.eps)
        new = 1 - self.momentum
        moved = dataclasses.replace(
            self,
            mean=self.momentum * self.mean + new * mean,
            variance=self.momentum * self.variance + new * variance,
        )
        return y, moved


@dataclasses.dataclass
class LayerNorm:
    """:func:`layer_norm` with a learned scale and shift.

    Args:
        weight, bias: ``(features,)``: the scale and the shift.
        eps: see :func:`layer_norm`.

    Called on ``(..., features)``.

    >>> import numpy as np
    >>> from pullback import nn
    >>> nn.LayerNorm.init(2, eps=0.0)(np.array([[1.0, 3.0]]))
    array([[-1.,  1.]])
    """

    weight: Any
    bias: Any
    eps: float = 1e-5

    @classmethod
    def init(cls, features: int, *, eps: float = 1e-5, dtype: DTypeLike = np.float64) -> LayerNorm:
        """A scale of 1 and a shift of 0."""
        return cls(np.ones(features, dtype), np.zeros(features, dtype), eps)

    def __call__(self, x: Any) -> Any:
        _check_features("LayerNorm", x, self.weight)
        return layer_norm(x, self.weight, self.bias, eps=self.eps)


@dataclasses.dataclass
class RMSNorm:
    """:func:`rms_norm` with a learned scale.

    Args:
        weight: ``(features,)``.
        eps: see :func:`rms_norm`.

    Called on ``(..., features)``.

    >>> import numpy as np
    >>> from pullback import nn
    >>> nn.RMSNorm.init(2, eps=0.0)(np.array([[1.0, 7.0]]))
    array([[0.2, 1.4]])
    """

    weight: Any
    eps: float | None = None

    @classmethod
    def init(
        cls, features: int, *, eps: float | None = None, dtype: DTypeLike = np.float64
    ) -> RMSNorm:
        """A scale of 1."""
        return cls(np.ones(features, dtype), eps)

    def __call__(self, x: Any) -> Any:
        _check_features("RMSNorm", x, self.weight)
        return rms_norm(x, self.weight, eps=self.eps)


@dataclasses.dataclass
class GroupNorm:
    """:func:`group_norm` with a learned scale and shift for each channel.

    Args:
        weight, bias: ``(channels,)``: the scale and the shift.
        groups: see :func:`group_norm`.
        eps: see :func:`group_norm`.

    Called on ``(batch, channels, *space)``.

    >>> import numpy as np
    >>> from pullback import nn
    >>> nn.GroupNorm.init(2, 4, eps=0.0)(np.array([[1.0, 3.0, 5.0, 9.0]]))
    array([[-1.,  1., -1.,  1.]])
    """

    weight: Any
    bias: Any
    groups: int
    eps: float = 1e-5

    @classmethod
    def init(
        cls, groups: int, channels: int, *, eps: float = 1e-5, dtype: DTypeLike = np.float64
    ) -> GroupNorm:
        """A scale of 1 and a shift of 0.

        Raises:
            ArgumentError: if ``groups`` does not divide ``channels``.
        """
        if groups < 1 or channels % groups:
            raise ArgumentError(
                f"GroupNorm: {channels} channels in {groups} groups",
                fix="make the number of channels a multiple of the number of groups",
            )
        return cls(np.ones(channels, dtype), np.zeros(channels, dtype), groups, eps)

    def __call__(self, x: Any) -> Any:
        return group_norm(x, self.weight, self.bias, self.groups, eps=self.eps)


def _check_features(name: str, x: Any, weight: Any) -> None:
    if np.shape(x)[-1:] != np.shape(weight):
        raise ShapeError(
            f"{name}: the input has shape {np.shape(x)}, its last axis should be "
            f"{np.shape(weight)[0]}",
            where=str(here()),
            fix="put features in the last axis",
        )


for _layer, _static in (
    (BatchNorm, ("momentum", "eps")),
    (LayerNorm, ("eps",)),
    (RMSNorm, ("eps",)),
    (GroupNorm, ("groups", "eps")),
):
    tree.dataclass(_layer, _static)

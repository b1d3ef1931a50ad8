"""Normalization: mean 0 and variance 1 along some axes, then a learned scale and shift."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from pullback import tree
from pullback.errors import ShapeError
from pullback.transforms.derivatives import stop_gradient

__all__ = ["BatchNorm", "batch_norm", "batch_statistics", "layer_norm"]


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

    def train(self, x: Any) -> tuple[Any, BatchNorm]:
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


tree.dataclass(BatchNorm, ("momentum", "eps"))

"""Pooling layers, and pooling to a number of windows instead of to a size of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from pullback import tree
from pullback.core.source import here
from pullback.errors import ShapeError
from pullback.nn.convolution import Padding, Size, max_pool, mean_pool, sizes

__all__ = [
    "AdaptiveMaxPool",
    "AdaptiveMeanPool",
    "MaxPool",
    "MeanPool",
    "adaptive_max_pool",
    "adaptive_mean_pool",
]


def adaptive_mean_pool(x: Any, size: Size) -> Any:
    """The mean of each of ``size`` windows that cover every axis of space.

    Window ``i`` of ``m`` along an axis of ``n`` values reads those from ``floor(i * n / m)`` to
    ``ceil((i + 1) * n / m)``; the windows overlap where ``m`` does not divide ``n``.

    Args:
        x: ``(batch, channels, *space)``.
        size: windows along each axis of space: one number for all, or one per axis. With 1 each
            channel becomes its mean.

    Returns:
        ``(batch, channels, *size)``.

    Raises:
        ShapeError: if ``x`` has no axis of space.
        ArgumentError: if a size is less than 1.

    >>> import numpy as np
    >>> from pullback import nn
    >>> nn.adaptive_mean_pool(np.array([[[1.0, 2.0, 3.0, 4.0, 8.0]]]), 2)
    array([[[2., 5.]]])
    """
    return _each_axis("adaptive_mean_pool", np.mean, x, size)


def adaptive_max_pool(x: Any, size: Size) -> Any:
    """The largest value in each of the windows of :func:`adaptive_mean_pool`.

    >>> import numpy as np
    >>> from pullback import nn
    >>> nn.adaptive_max_pool(np.array([[[1.0, 2.0, 3.0, 4.0, 8.0]]]), 2)
    array([[[3., 8.]]])
    """
    return _each_axis("adaptive_max_pool", np.max, x, size)


def _each_axis(name: str, fold: Any, x: Any, size: Size) -> Any:
    """Windows are products of intervals, so one axis after the other is folded."""
    n = np.ndim(x) - 2
    if n < 1:
        raise ShapeError(
            f"{name}: x has {np.ndim(x)} axes",
            where=str(here()),
            fix="x is (batch, channels, *space)",
        )
    for axis, m in enumerate(sizes(name, "size", size, n), 2):
        x = _along(fold, x, axis, m)
    return x


def _along(fold: Any, x: Any, axis: int, m: int) -> Any:
    shape = np.shape(x)
    n = shape[axis]
    if n % m == 0:
        return fold(np.reshape(x, (*shape[:axis], m, n // m, *shape[axis + 1 :])), axis=axis + 1)
    before = (slice(None),) * axis
    parts = [x[(*before, slice(i * n // m, -(-(i + 1) * n // m)))] for i in range(m)]
    return np.stack([fold(part, axis=axis) for part in parts], axis=axis)


@dataclasses.dataclass
class MaxPool:
    """:func:`~pullback.nn.max_pool` as a layer.

    >>> import numpy as np
    >>> from pullback import nn
    >>> nn.MaxPool(2)(np.array([[[1.0, 5.0, 2.0, 3.0]]]))
    array([[[5., 3.]]])
    """

    window: Size
    stride: Size | None = None
    padding: Padding = 0

    def __call__(self, x: Any) -> Any:
        return max_pool(x, self.window, self.stride, self.padding)


@dataclasses.dataclass
class MeanPool:
    """:func:`~pullback.nn.mean_pool` as a layer.

    >>> import numpy as np
    >>> from pullback import nn
    >>> nn.MeanPool(2)(np.array([[[1.0, 5.0, 2.0, 3.0]]]))
    array([[[3. , 2.5]]])
    """

    window: Size
    stride: Size | None = None
    padding: Padding = 0

    def __call__(self, x: Any) -> Any:
        return mean_pool(x, self.window, self.stride, self.padding)


@dataclasses.dataclass
class AdaptiveMeanPool:
    """:func:`adaptive_mean_pool` as a layer.

    >>> import numpy as np
    >>> from pullback import nn
    >>> nn.AdaptiveMeanPool(1)(np.ones((2, 3, 5, 7))).shape
    (2, 3, 1, 1)
    """

    size: int | Sequence[int]

    def __call__(self, x: Any) -> Any:
        return adaptive_mean_pool(x, self.size)


@dataclasses.dataclass
class AdaptiveMaxPool:
    """:func:`adaptive_max_pool` as a layer.

    >>> import numpy as np
    >>> from pullback import nn
    >>> nn.AdaptiveMaxPool((2, 1))(np.ones((2, 3, 5, 7))).shape
    (2, 3, 2, 1)
    """

    size: int | Sequence[int]

    def __call__(self, x: Any) -> Any:
        return adaptive_max_pool(x, self.size)


for _layer, _static in (
    (MaxPool, ("window", "stride", "padding")),
    (MeanPool, ("window", "stride", "padding")),
    (AdaptiveMeanPool, ("size",)),
    (AdaptiveMaxPool, ("size",)),
):
    tree.dataclass(_layer, _static)

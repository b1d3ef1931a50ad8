"""Branches around which the input goes on: residual blocks, and depthwise-separable convolution."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from pullback import tree
from pullback.core.source import here
from pullback.errors import ShapeError
from pullback.nn.convolution import Conv2d, Size
from pullback.nn.functional import relu
from pullback.nn.layers import Layer, Sequential, trained
from pullback.nn.normalization import BatchNorm

__all__ = ["Residual", "depthwise_separable", "residual_block"]


@dataclasses.dataclass
class Residual:
    """``shortcut(x) + scale * branch(x)``.

    Args:
        branch: a layer or network.
        shortcut: a layer that gives the input the shape of the branch's output; ``None`` for the
            input itself.
        scale: of the branch: ``1 / sqrt(n)`` keeps the variance of ``n`` blocks in a row within
            ``e`` times that of the first; 0 starts as the identity. It is learned like any weight.

    Raises:
        ShapeError: if the two do not have the same shape.

    Source: He et al. (2016), "Deep Residual Learning for Image Recognition", eq. 1 and 2; the
    scale as in Bachlechner et al. (2021), "ReZero is All You Need".

    >>> import numpy as np
    >>> from pullback import nn
    >>> nn.Residual(nn.Sequential(np.tanh), None, np.float64(0.5))(np.array([[0.0, 100.0]]))
    array([[  0. , 100.5]])
    """

    branch: Any
    shortcut: Any = None
    scale: Any = None

    def __call__(self, x: Any) -> Any:
        return self._sum(x if self.shortcut is None else self.shortcut(x), self.branch(x))

    def train(self, x: Any, rng: Any = None) -> tuple[Any, Residual]:
        """The sum in training, and the block with the next statistics of its layers."""
        y, branch = trained(self.branch, x, rng)
        straight, shortcut = x, self.shortcut
        if shortcut is not None:
            straight, shortcut = trained(shortcut, x, rng)
        return self._sum(straight, y), Residual(branch, shortcut, self.scale)

    def _sum(self, straight: Any, y: Any) -> Any:
        if np.shape(straight) != np.shape(y):
            raise ShapeError(
                f"Residual: the branch gives {np.shape(y)}, the way around it {np.shape(straight)}",
                where=str(here()),
                fix="give a shortcut that changes the shape in the same way, such as a convolution "
                "with a kernel of size 1",
            )
        return straight + (y if self.scale is None else self.scale * y)


tree.dataclass(Residual)


def residual_block(
    rng: Any,
    in_channels: int,
    out_channels: int,
    *,
    stride: Size = 1,
    preactivation: bool = False,
    scale: float | None = None,
    activation: Layer = relu,
    dtype: DTypeLike = np.float64,
) -> Sequential:
    """Two 3 x 3 convolutions with batch normalization, and a way around them.

    With ``preactivation`` (He et al. 2016, "Identity Mappings in Deep Residual Networks", figure
    1b) normalization and activation come before each convolution, and nothing follows the sum;
    without it (the first paper) the activation follows the sum. Where shape changes, the way
    around is a 1 x 1 convolution, in the first paper's order with normalization.

    Args:
        rng: generator of the initial weights.
        in_channels, out_channels: of the block.
        stride: of the first convolution.
        preactivation: which order.
        scale: see :class:`Residual`; ``None`` for 1, not learned.
        activation: elementwise function.
        dtype: of all parameters.

    >>> import numpy as np
    >>> from pullback import nn
    >>> block = nn.residual_block(np.random.default_rng(0), 4, 8, stride=2)
    >>> block(np.ones((2, 4, 6, 6))).shape
    (2, 8, 3, 3)
    """

    def conv(n_in: int, kernel: int, step: Size) -> Conv2d:
        padding = kernel // 2
        return Conv2d.init(
            rng, n_in, out_channels, kernel, stride=step, padding=padding, dtype=dtype
        )

    def norm(channels: int) -> BatchNorm:
        return BatchNorm.init(channels, dtype=dtype)

    first, second = conv(in_channels, 3, stride), conv(out_channels, 3, 1)
    factor = None if scale is None else np.asarray(scale, dtype)
    shortcut: Any = None
    if in_channels != out_channels or stride not in (1, (1, 1)):
        shortcut = conv(in_channels, 1, stride)
    if preactivation:
        branch = Sequential(
            norm(in_channels), activation, first, norm(out_channels), activation, second
        )
        return Sequential(Residual(branch, shortcut, factor))
    branch = Sequential(first, norm(out_channels), activation, second, norm(out_channels))
    if shortcut is not None:
        shortcut = Sequential(shortcut, norm(out_channels))
    return Sequential(Residual(branch, shortcut, factor), activation)


def depthwise_separable(
    rng: Any,
    in_channels: int,
    out_channels: int,
    *,
    kernel_size: Size = 3,
    stride: Size = 1,
    activation: Layer = relu,
    dtype: DTypeLike = np.float64,
) -> Sequential:
    """A convolution of each channel by itself, then one across channels with a kernel of size 1.

    Both are followed by batch normalization and the activation. Weights: ``in * kernel**2 + in *
    out`` instead of ``in * out * kernel**2``.

    Source: Howard et al. (2017), "MobileNets", section 3.1 and figure 3.

    >>> import numpy as np
    >>> from pullback import nn
    >>> block = nn.depthwise_separable(np.random.default_rng(0), 4, 8, stride=2)
    >>> block(np.ones((2, 4, 6, 6))).shape
    (2, 8, 3, 3)
    """
    kernel = (kernel_size,) * 2 if isinstance(kernel_size, int) else tuple(kernel_size)
    padding = tuple(((k - 1) // 2, k // 2) for k in kernel)
    depthwise = Conv2d.init(
        rng,
        in_channels,
        in_channels,
        kernel,
        stride=stride,
        padding=padding,
        groups=in_channels,
        dtype=dtype,
    )
    pointwise = Conv2d.init(rng, in_channels, out_channels, 1, dtype=dtype)
    return Sequential(
        depthwise,
        BatchNorm.init(in_channels, dtype=dtype),
        activation,
        pointwise,
        BatchNorm.init(out_channels, dtype=dtype),
        activation,
    )

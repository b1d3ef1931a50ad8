"""Convolution and pooling of batches ``(batch, channels, *space)``, in any number of dimensions.

Every function is NumPy code or one primitive: it works on arrays and on traced values.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import DTypeLike

from pullback import tree
from pullback.core.source import here
from pullback.errors import ArgumentError, ShapeError
from pullback.nn.init import he
from pullback.ops.conv import conv as primitive

__all__ = [
    "Conv1d",
    "Conv2d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "conv",
    "conv_transpose",
    "max_pool",
    "mean_pool",
    "sizes",
]

Size = int | Sequence[int]
Padding = int | Sequence[int | tuple[int, int]] | Literal["same", "valid"]


def conv(
    x: Any,
    w: Any,
    *,
    stride: Size = 1,
    padding: Padding = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Any:
    """Slide filters over a batch.

    ``y[b, o, p] = sum x[b, i, p * stride + k * dilation - low] * w[o, i, k]`` over the input
    channels ``i`` and the positions ``k`` under the kernel; ``x`` is 0 outside. This is
    cross-correlation: the kernel is not flipped.

    Args:
        x: ``(batch, channels, *space)``.
        w: ``(out_channels, channels // groups, *kernel)``.
        stride: of the positions ``p``; one number for all axes, or one per axis, as all sizes here.
        padding: zeros on both sides: a number, or per axis a number or a pair ``(low, high)``;
            ``"valid"`` for none; ``"same"`` for ``ceil(size / stride)`` positions, with the odd
            zero at the high end. Negative padding crops.
        dilation: step between the values under the kernel.
        groups: parts into which the channels are split; output channels of a part read the input
            channels of the same part. With as many groups as channels it is a depthwise
            convolution.

    Returns:
        ``(batch, out_channels, *positions)``, with ``(size + low + high - (kernel - 1) * dilation
        - 1) // stride + 1`` positions along an axis.

    Raises:
        ShapeError: if channels and groups do not fit, or the kernel is larger than the padded
            input.
        ArgumentError: if a stride or dilation is less than 1, or padding is not as above.

    Source: Dumoulin & Visin (2016), "A guide to convolution arithmetic for deep learning",
    relationships 6 and 13.

    >>> import numpy as np
    >>> from pullback import nn
    >>> x = np.array([[[1.0, 2.0, 4.0, 7.0]]])
    >>> nn.conv(x, np.array([[[-1.0, 1.0]]]))
    array([[[1., 2., 3.]]])
    >>> nn.conv(x, np.ones((1, 1, 3)), stride=2, padding=1)
    array([[[ 3., 13.]]])
    """
    n = np.ndim(x) - 2
    if n < 1 or np.ndim(w) != n + 2:
        raise ShapeError(
            f"conv: x has {np.ndim(x)} axes and w has {np.ndim(w)}",
            where=str(here()),
            details=[f"x: {np.shape(x)}", f"w: {np.shape(w)}"],
            fix="x is (batch, channels, *space), w is (out_channels, channels // groups, *kernel)",
        )
    stride, dilation = sizes("conv", "stride", stride, n), sizes("conv", "dilation", dilation, n)
    reach = [(k - 1) * d + 1 for k, d in zip(np.shape(w)[2:], dilation, strict=True)]
    return primitive(
        x,
        w,
        stride=stride,
        padding=_pads("conv", padding, np.shape(x)[2:], reach, stride),
        dilation=dilation,
        input_dilation=(1,) * n,
        groups=groups,
    )


def conv_transpose(
    x: Any,
    w: Any,
    *,
    stride: Size = 1,
    padding: Padding = 0,
    output_padding: int | Sequence[int] = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Any:
    """The transpose of :func:`conv`: each value of ``x`` adds a multiple of the kernel to ``y``.

    Args:
        x: ``(batch, channels, *space)``.
        w: ``(channels, out_channels // groups, *kernel)``: the kernel of the convolution that this
            is the transpose of.
        stride, dilation, groups: of that convolution, which reads ``y`` and writes ``x``.
        padding: of that convolution: numbers only.
        output_padding: values more at the high end of each axis, less than the stride; a
            convolution with a stride gives the same shape for several sizes, and this tells which.

    Returns:
        ``(batch, out_channels, *positions)``, with ``(size - 1) * stride - low - high + (kernel -
        1) * dilation + 1 + output_padding`` positions along an axis.

    Raises:
        ShapeError: if channels and groups do not fit.
        ArgumentError: if a number is out of range.

    Source: Dumoulin & Visin (2016), "A guide to convolution arithmetic for deep learning",
    relationship 14.

    >>> import numpy as np
    >>> from pullback import nn
    >>> nn.conv_transpose(np.array([[[1.0, 2.0]]]), np.array([[[1.0, 10.0, 100.0]]]), stride=2)
    array([[[  1.,  10., 102.,  20., 200.]]])
    """
    n, shape = np.ndim(x) - 2, np.shape(w)
    if n < 1 or len(shape) != n + 2 or shape[0] != np.shape(x)[1] or shape[0] % groups:
        raise ShapeError(
            f"conv_transpose: x is {np.shape(x)}, w is {shape}, with {groups} groups",
            where=str(here()),
            fix="x is (batch, channels, *space), w is (channels, out_channels // groups, *kernel)",
        )
    stride = sizes("conv_transpose", "stride", stride, n)
    dilation = sizes("conv_transpose", "dilation", dilation, n)
    if isinstance(padding, str):
        raise ArgumentError("conv_transpose: padding is text", fix="give numbers")
    reach = [(k - 1) * d for k, d in zip(shape[2:], dilation, strict=True)]
    pads = _pads("conv_transpose", padding, np.shape(x)[2:], reach, stride)
    more = _pads("conv_transpose", output_padding, np.shape(x)[2:], reach, stride)
    if any(not 0 <= high < s for (_, high), s in zip(more, stride, strict=True)):
        raise ArgumentError(
            f"conv_transpose: output_padding is {output_padding} with strides {stride}",
            fix="choose numbers from 0 on that are less than the stride",
        )
    # Channels of a group trade places, and the kernel turns around.
    w = np.reshape(w, (groups, shape[0] // groups, *shape[1:]))
    w = np.reshape(np.swapaxes(w, 1, 2), (groups * shape[1], shape[0] // groups, *shape[2:]))
    return primitive(
        x,
        np.flip(w, tuple(range(2, n + 2))),
        stride=(1,) * n,
        padding=tuple(
            (r - low, r - high + extra)
            for r, (low, high), (_, extra) in zip(reach, pads, more, strict=True)
        ),
        dilation=dilation,
        input_dilation=stride,
        groups=groups,
    )


def max_pool(x: Any, window: Size, stride: Size | None = None, padding: Padding = 0) -> Any:
    """The largest value in each window of ``x``.

    Where several values are largest, the derivative is split equally among them.

    Args:
        x: ``(batch, channels, *space)``.
        window: its size; one number for all axes of space, or one per axis.
        stride: from window to window; the size of the window unless given, so that windows do not
            overlap. Values after the last whole window are not read.
        padding: as :func:`conv` takes it, less than the window; padded values are never largest.

    Returns:
        ``(batch, channels, *positions)``.

    Raises:
        ShapeError: if the window is larger than the padded input.
        ArgumentError: if a window or stride is less than 1, or padding is not as above.

    >>> import numpy as np
    >>> import pullback as pb
    >>> x = np.array([[[1.0, 5.0, 2.0, 3.0, 9.0]]])
    >>> pb.nn.max_pool(x, 2)
    array([[[5., 3.]]])
    >>> pb.nn.max_pool(x, 3, stride=2, padding=1)
    array([[[5., 5., 9.]]])
    >>> pb.grad(lambda x: np.sum(pb.nn.max_pool(x, 2)))(x)
    array([[[0., 1., 0., 1., 0.]]])
    """
    return np.max(_windows("max_pool", x, window, stride, padding, _lowest(x)), axis=0)


def mean_pool(x: Any, window: Size, stride: Size | None = None, padding: Padding = 0) -> Any:
    """The mean of each window of ``x``; padded zeros count as values.

    Arguments, shapes and refusals as :func:`max_pool`.

    >>> import numpy as np
    >>> from pullback import nn
    >>> nn.mean_pool(np.array([[[1.0, 5.0, 2.0, 3.0, 9.0]]]), 2)
    array([[[3. , 2.5]]])
    """
    return np.mean(_windows("mean_pool", x, window, stride, padding, 0), axis=0)


def _lowest(x: Any) -> Any:
    """The value that is larger than no other."""
    dtype = np.result_type(x)
    return -np.inf if dtype.kind == "f" else False if dtype.kind == "b" else np.iinfo(dtype).min


def _windows(
    name: str, x: Any, window: Size, stride: Size | None, padding: Padding, fill: Any
) -> Any:
    """``(values of a window, batch, channels, *positions)``: NumPy folds a leading axis fastest."""
    n = np.ndim(x) - 2
    if n < 1:
        raise ShapeError(f"{name}: x has {np.ndim(x)} axes", fix="x is (batch, channels, *space)")
    window = sizes(name, "window", window, n)
    stride = window if stride is None else sizes(name, "stride", stride, n)
    pads = _pads(name, padding, np.shape(x)[2:], window, stride)
    if any(not 0 <= pad < size for pair, size in zip(pads, window, strict=True) for pad in pair):
        raise ArgumentError(
            f"{name}: padding {pads} with windows of {window}",
            where=str(here()),
            fix="pad less than the window, so that every window holds a value",
        )
    if any(map(any, pads)):
        x = np.pad(x, ((0, 0), (0, 0), *pads), constant_values=fill)
    space = np.shape(x)[2:]
    if any(size < k for size, k in zip(space, window, strict=True)):
        raise ShapeError(
            f"{name}: windows of {window} do not fit into {space}",
            where=str(here()),
            details=[f"padded x: {np.shape(x)}"],
            fix="pad more, or use smaller windows",
        )
    counts = [(size - k) // s + 1 for size, k, s in zip(space, window, stride, strict=True)]
    if stride != window:
        starts = itertools.product(*map(range, window))
        return np.stack([_strided(x, start, counts, stride) for start in starts])
    whole = tuple(m * k for m, k in zip(counts, window, strict=True))
    if whole != space:
        x = x[(..., *map(slice, whole))]
    pairs = itertools.chain(*zip(counts, window, strict=True))
    split = np.reshape(x, (*np.shape(x)[:2], *pairs))
    order = (*range(3, 3 + 2 * n, 2), 0, 1, *range(2, 2 + 2 * n, 2))
    return np.reshape(np.transpose(split, order), (math.prod(window), *np.shape(x)[:2], *counts))


def _strided(x: Any, start: Sequence[int], counts: Sequence[int], stride: Sequence[int]) -> Any:
    """``counts`` values of each axis of space, ``stride`` apart."""
    axes = zip(start, counts, stride, strict=True)
    return x[(..., *(slice(i, i + (m - 1) * s + 1, s) for i, m, s in axes))]


def sizes(name: str, what: str, value: Size, n: int) -> tuple[int, ...]:
    """One size per axis of space, each 1 or more."""
    numbers = (value,) * n if isinstance(value, int | np.integer) else tuple(value)
    if len(numbers) != n or min(numbers) < 1:
        raise ArgumentError(
            f"{name}: {what} is {value!r} with {n} axes of space",
            where=str(here()),
            fix="give one number, or one per axis, of 1 or more",
        )
    return tuple(map(int, numbers))


def _pads(
    name: str, padding: Padding, space: Sequence[int], reach: Sequence[int], stride: Sequence[int]
) -> tuple[tuple[int, int], ...]:
    """Zeros before and after each axis of space."""
    if isinstance(padding, str):
        if padding not in ("same", "valid"):
            raise ArgumentError(
                f"{name}: unknown padding {padding!r}", fix="use 'same', 'valid' or numbers"
            )
        if padding == "valid":
            return ((0, 0),) * len(space)
        missing = [
            max(0, (-(-size // s) - 1) * s + k - size)
            for size, k, s in zip(space, reach, stride, strict=True)
        ]
        return tuple((m // 2, m - m // 2) for m in missing)
    entries = (padding,) * len(space) if isinstance(padding, int | np.integer) else tuple(padding)
    pads = tuple((p, p) if isinstance(p, int | np.integer) else tuple(p) for p in entries)
    if len(pads) != len(space) or any(len(pair) != 2 for pair in pads):
        raise ArgumentError(
            f"{name}: padding is {padding!r} with {len(space)} axes of space",
            where=str(here()),
            fix="give one number, or per axis a number or a pair (low, high)",
        )
    return tuple((int(low), int(high)) for low, high in pads)


@dataclasses.dataclass
class _Filters:
    """What convolutions and transposed ones share: ``layout`` says which channels come first."""

    weight: Any
    bias: Any
    layout: ClassVar[str]

    @classmethod
    def drawn(
        cls,
        rng: Any,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        groups: int,
        initializer: Callable[..., Any],
        dtype: DTypeLike,
    ) -> tuple[Any, Any]:
        """A random weight, and a bias of zeros."""
        if groups < 1 or in_channels % groups or out_channels % groups:
            raise ArgumentError(
                f"{cls.__name__}: {in_channels} channels to {out_channels} in {groups} groups",
                fix="make both numbers of channels multiples of groups",
            )
        kernel = sizes(cls.__name__, "kernel_size", kernel_size, len(cls.layout) - 2)
        channels = {"i": in_channels, "o": out_channels}
        first, second = (channels[axis] for axis in cls.layout[:2])
        shape = (first, second // groups, *kernel)
        return initializer(rng, shape, layout=cls.layout, dtype=dtype), np.zeros(
            out_channels, dtype
        )

    def biased(self, y: Any) -> Any:
        """``y`` with the bias of its channel added."""
        return y + np.reshape(self.bias, (-1, *(1,) * (len(self.layout) - 2)))


@dataclasses.dataclass
class _Conv(_Filters):
    stride: Size = 1
    padding: Padding = 0
    dilation: Size = 1
    groups: int = 1

    @classmethod
    def init(
        cls,
        rng: Any,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        *,
        stride: Size = 1,
        padding: Padding = 0,
        dilation: Size = 1,
        groups: int = 1,
        initializer: Callable[..., Any] = he,
        dtype: DTypeLike = np.float64,
    ) -> Self:
        """Random weight from ``initializer(rng, shape, layout=layout, dtype=dtype)``, bias zeros.

        The fan-in is what one output value reads: ``in_channels // groups`` times the size of the
        kernel.

        Raises:
            ArgumentError: if channels are not a multiple of ``groups``, or a size is less than 1.
        """
        weight, bias = cls.drawn(
            rng, in_channels, out_channels, kernel_size, groups, initializer, dtype
        )
        return cls(weight, bias, stride, padding, dilation, groups)

    def __call__(self, x: Any) -> Any:
        y = conv(
            x,
            self.weight,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
        )
        return self.biased(y)


@dataclasses.dataclass
class Conv1d(_Conv):
    """``conv(x, weight) + bias`` along one axis of space; see :func:`conv`.

    Args:
        weight: ``(out_channels, in_channels // groups, kernel)``.
        bias: ``(out_channels,)``.
        stride, padding, dilation, groups: as :func:`conv` takes them.

    Called on ``(batch, in_channels, size)``, returns ``(batch, out_channels, positions)``.

    >>> import numpy as np
    >>> from pullback import nn
    >>> layer = nn.Conv1d.init(np.random.default_rng(0), 2, 4, 3, padding="same")
    >>> layer(np.ones((5, 2, 10))).shape
    (5, 4, 10)
    """

    layout: ClassVar[str] = "oiw"


@dataclasses.dataclass
class Conv2d(_Conv):
    """``conv(x, weight) + bias`` along two axes of space; see :func:`conv`.

    Args:
        weight: ``(out_channels, in_channels // groups, height, width)``.
        bias: ``(out_channels,)``.
        stride, padding, dilation, groups: as :func:`conv` takes them.

    Called on ``(batch, in_channels, *space)``, returns ``(batch, out_channels, *positions)``.

    >>> import numpy as np
    >>> from pullback import nn, tree
    >>> rng = np.random.default_rng(0)
    >>> net = nn.Sequential(nn.Conv2d.init(rng, 3, 8, 3, padding=1), nn.relu)
    >>> net(np.ones((5, 3, 6, 6))).shape
    (5, 8, 6, 6)
    >>> tree.paths(net, "net")
    ['net.layers[0].weight', 'net.layers[0].bias']
    """

    layout: ClassVar[str] = "oihw"


@dataclasses.dataclass
class _ConvTranspose(_Filters):
    stride: Size = 1
    padding: Padding = 0
    output_padding: int | Sequence[int] = 0
    dilation: Size = 1
    groups: int = 1

    @classmethod
    def init(
        cls,
        rng: Any,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        *,
        stride: Size = 1,
        padding: Padding = 0,
        output_padding: int | Sequence[int] = 0,
        dilation: Size = 1,
        groups: int = 1,
        initializer: Callable[..., Any] = he,
        dtype: DTypeLike = np.float64,
    ) -> Self:
        """Random weight from ``initializer(rng, shape, layout=layout, dtype=dtype)``, bias zeros.

        The fan-in counts all values of the kernel, of which one output reads a share if the stride
        is more than 1.

        Raises:
            ArgumentError: if channels are not a multiple of ``groups``, or a size is less than 1.
        """
        weight, bias = cls.drawn(
            rng, in_channels, out_channels, kernel_size, groups, initializer, dtype
        )
        return cls(weight, bias, stride, padding, output_padding, dilation, groups)

    def __call__(self, x: Any) -> Any:
        y = conv_transpose(
            x,
            self.weight,
            stride=self.stride,
            padding=self.padding,
            output_padding=self.output_padding,
            dilation=self.dilation,
            groups=self.groups,
        )
        return self.biased(y)


@dataclasses.dataclass
class ConvTranspose1d(_ConvTranspose):
    """``conv_transpose(x, weight) + bias`` along one axis; see :func:`conv_transpose`.

    Args:
        weight: ``(in_channels, out_channels // groups, kernel)``.
        bias: ``(out_channels,)``.
        stride, padding, output_padding, dilation, groups: as :func:`conv_transpose` takes them.

    >>> import numpy as np
    >>> from pullback import nn
    >>> layer = nn.ConvTranspose1d.init(np.random.default_rng(0), 2, 4, 2, stride=2)
    >>> layer(np.ones((5, 2, 10))).shape
    (5, 4, 20)
    """

    layout: ClassVar[str] = "iow"


@dataclasses.dataclass
class ConvTranspose2d(_ConvTranspose):
    """``conv_transpose(x, weight) + bias`` along two axes; see :func:`conv_transpose`.

    Args:
        weight: ``(in_channels, out_channels // groups, height, width)``.
        bias: ``(out_channels,)``.
        stride, padding, output_padding, dilation, groups: as :func:`conv_transpose` takes them.

    >>> import numpy as np
    >>> from pullback import nn
    >>> layer = nn.ConvTranspose2d.init(np.random.default_rng(0), 2, 4, 2, stride=2)
    >>> layer(np.ones((5, 2, 3, 4))).shape
    (5, 4, 6, 8)
    """

    layout: ClassVar[str] = "iohw"


for _layer in (Conv1d, Conv2d):
    tree.dataclass(_layer, ("stride", "padding", "dilation", "groups"))
for _transposed in (ConvTranspose1d, ConvTranspose2d):
    tree.dataclass(_transposed, ("stride", "padding", "output_padding", "dilation", "groups"))

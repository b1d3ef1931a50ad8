"""Convolution, as networks use the word: cross-correlation of images with a bank of filters.

``conv`` is linear in the images and in the filters, and both transposes are again ``conv``: the
cotangent of the images slides the flipped filters over the dilated cotangent, the cotangent of the
filters slides the cotangent over the images, with examples and channels exchanged.

Reference: V. Dumoulin, F. Visin (2016), "A guide to convolution arithmetic for deep learning",
arXiv:1603.07285, chapters 2, 4 and 5.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.lib.stride_tricks import as_strided

from pullback.core.primitive import Sample
from pullback.core.source import here
from pullback.core.types import ArrayType
from pullback.errors import ArgumentError, ShapeError
from pullback.ops.families import cast, conjugate, contraction, draw, move_axis
from pullback.ops.index import BACKWARD, EVERYTHING, index
from pullback.ops.shape import transpose

__all__: list[str] = []

CHUNK: Final = 1 << 20  # values of patches at a time: few products, and little memory

Ints = tuple[int, ...]
Pads = tuple[tuple[int, int], ...]


def _extent(size: int, dilation: int) -> int:
    """From the first to the last of ``size`` values that are ``dilation`` apart."""
    return (size - 1) * dilation + 1


def _check(x: Any, w: Any, groups: int, **per_axis: Sequence[Any]) -> None:
    """Refuse operands and parameters that do not belong together, before any size is computed."""

    def refuse(headline: str, fix: str) -> ShapeError:
        details = [f"x: {x.dtype} {x.shape}", f"w: {w.dtype} {w.shape}"]
        return ShapeError(f"conv: {headline}", where=str(here()), details=details, fix=fix)

    if len(x.shape) < 3 or len(x.shape) != len(w.shape):
        raise refuse(
            f"x has {len(x.shape)} axes and w has {len(w.shape)}",
            "x is (batch, channels, *space), w is (out_channels, channels // groups, *kernel)",
        )
    n = len(x.shape) - 2
    for name, values in per_axis.items():
        if len(values) != n:
            raise ArgumentError(
                f"conv: {name} has {len(values)} entries for {n} axes of space", where=str(here())
            )
        if name != "padding" and min(values) < 1:
            raise ArgumentError(
                f"conv: {name} is {tuple(values)}", where=str(here()), fix="use 1 or more"
            )
    if groups < 1:
        raise ArgumentError(f"conv: groups is {groups}", where=str(here()), fix="use 1 or more")
    if x.shape[1] != w.shape[1] * groups:
        raise refuse(
            f"x has {x.shape[1]} channels, w reads {groups} x {w.shape[1]}",
            "x.shape[1] must be groups * w.shape[1]",
        )
    if w.shape[0] % groups:
        raise refuse(
            f"{w.shape[0]} out_channels in {groups} groups",
            "the number of out_channels must be a multiple of groups",
        )
    if 0 in (*x.shape[2:], *w.shape[2:]):
        raise refuse("an axis of space is empty", "give images and kernels at least one value")


def _conv_type(
    x: ArrayType,
    w: ArrayType,
    *,
    stride: Ints,
    padding: Pads,
    dilation: Ints,
    input_dilation: Ints,
    groups: int,
) -> ArrayType:
    _check(
        x,
        w,
        groups,
        stride=stride,
        padding=padding,
        dilation=dilation,
        input_dilation=input_dilation,
    )
    space = []
    for i, (size, kernel) in enumerate(zip(x.shape[2:], w.shape[2:], strict=True)):
        padded = _extent(size, input_dilation[i]) + sum(padding[i])
        reach = _extent(kernel, dilation[i])
        if padded < reach:
            raise ShapeError(
                f"conv: axis {i} of the kernel reaches over {reach} values, "
                f"the padded input has {padded}",
                where=str(here()),
                details=[f"x: {x.dtype} {x.shape}", f"w: {w.dtype} {w.shape}"],
                fix="pad more, or use a smaller kernel or dilation",
            )
        space.append((padded - reach) // stride[i] + 1)
    return ArrayType((x.shape[0], w.shape[0], *space), np.result_type(x.dtype, w.dtype))


def _pad(x: Any, padding: Pads, dilation: Ints) -> Any:
    """``x`` with zeros around and between its values; negative padding crops."""
    source, target, shape = [slice(None)] * 2, [slice(None)] * 2, [*x.shape[:2]]
    for size, (low, high), step in zip(x.shape[2:], padding, dilation, strict=True):
        padded = _extent(size, step) + low + high
        first = max(0, -(low // step))  # the first and the end of the values that are inside
        end = max(first, min(size, -((low - padded) // step)))
        start = first * step + low
        source.append(slice(first, end))
        target.append(slice(start, start + (end - first) * step, step))
        shape.append(padded)
    inner = x[tuple(source)]
    if inner.shape == tuple(shape):
        return inner
    out = np.zeros(shape, x.dtype)
    out[tuple(target)] = inner
    return out


def _evaluate(
    x: Any,
    w: Any,
    *,
    stride: Ints,
    padding: Pads,
    dilation: Ints,
    input_dilation: Ints,
    groups: int,
) -> Any:
    """Matrix products of filters and patches, a chunk of the patches at a time.

    Patches are copied with the longer runs innermost: positions, or (where a cotangent slides over
    the images) the values under the kernel.
    """
    y_type = _conv_type(
        x,
        w,
        stride=stride,
        padding=padding,
        dilation=dilation,
        input_dilation=input_dilation,
        groups=groups,
    )
    x, w = x.astype(y_type.dtype, copy=False), w.astype(y_type.dtype, copy=False)
    x = _pad(x, padding, input_dilation)
    n_in, *kernel = w.shape[1:]
    space = y_type.shape[2:]
    by_row, by_channel, *steps = x.strides
    patches: Any = as_strided(
        x,
        (x.shape[0], groups, n_in, *kernel, *space),
        (
            by_row,
            n_in * by_channel,
            by_channel,
            *(s * d for s, d in zip(steps, dilation, strict=True)),
            *(s * d for s, d in zip(steps, stride, strict=True)),
        ),
        writeable=False,
    )
    multiply = _with_positions_inside if space[-1] >= kernel[-1] else _with_kernel_inside
    return np.reshape(multiply(patches, w), y_type.shape)


def _with_positions_inside(patches: Any, w: Any) -> Any:
    """The products for patches (rows, groups, channels, *kernel, *space), some rows at a time."""
    n = w.ndim - 2
    n_rows, groups, n_in = patches.shape[:3]
    n_filters, n_positions = w.shape[0] // groups, math.prod(patches.shape[3 + n :])
    reads = n_in * math.prod(w.shape[2:])
    filters = np.reshape(w, (groups, n_filters, reads))
    y = np.empty((n_rows, groups, n_filters, n_positions), w.dtype)
    step = max(1, CHUNK // max(1, groups * reads * n_positions))
    for i in range(0, n_rows, step):
        part = np.moveaxis(patches[i : i + step], 0, 2 + n)
        rows = part.shape[2 + n]
        products = filters @ np.reshape(part, (groups, reads, rows * n_positions))
        products = np.reshape(products, (groups, n_filters, rows, n_positions))
        y[i : i + step] = np.moveaxis(products, 2, 0)
    return y


def _with_kernel_inside(patches: Any, w: Any) -> Any:
    """The same products, summed over some channels at a time."""
    n = w.ndim - 2
    n_rows, groups, n_in = patches.shape[:3]
    n_filters, n_positions = w.shape[0] // groups, math.prod(patches.shape[3 + n :])
    size = math.prod(w.shape[2:])
    patches = np.transpose(patches, (1, 0, *range(3 + n, 3 + 2 * n), *range(2, 3 + n)))
    y = np.zeros((groups, n_rows * n_positions, n_filters), w.dtype)
    step = max(1, CHUNK // max(1, groups * n_rows * n_positions * size))
    for i in range(0, n_in, step):
        part = patches[(..., slice(i, i + step), *[slice(None)] * n)]
        reads = part.shape[2 + n] * size
        filters = np.reshape(w[:, i : i + step], (groups, n_filters, reads))
        y += np.reshape(part, (groups, n_rows * n_positions, reads)) @ filters.mT
    return np.transpose(np.reshape(y, (groups, n_rows, n_positions, n_filters)), (1, 0, 3, 2))


# -- transposes -----------------------------------------------------------------------------------
def exchanged(x: Any, axis: int = 0) -> Any:
    """``x`` with ``axis`` and the one after it exchanged."""
    axes = [*range(x.ndim)]
    axes[axis : axis + 2] = axis + 1, axis
    return transpose(x, axes=tuple(axes))


def flipped(w: Any) -> Any:
    """Filters turned around in space."""
    return index(w, key=(EVERYTHING,) * 2 + (BACKWARD,) * (w.ndim - 2))


def _to_images(
    ct: Any,
    x_type: ArrayType,
    x2: Any,
    *,
    stride: Ints,
    padding: Pads,
    dilation: Ints,
    input_dilation: Ints,
    groups: int,
) -> Any:
    """Flipped filters with input and output channels exchanged, over the dilated cotangent."""
    n_out, n_in, *kernel = x2.shape
    x2 = conjugate(x2)
    if groups > 1:
        w = exchanged(np.reshape(x2, (groups, n_out // groups, n_in, *kernel)), 1)
        w = np.reshape(w, (groups * n_in, n_out // groups, *kernel))
    else:
        w = exchanged(x2)
    pads = []
    for i, size in enumerate(kernel):
        reach = _extent(size, dilation[i])
        low = reach - 1 - padding[i][0]
        padded = (x_type.shape[2 + i] - 1) * input_dilation[i] + reach
        pads.append((low, padded - _extent(ct.shape[2 + i], stride[i]) - low))
    y = conv(
        ct,
        flipped(w),
        stride=input_dilation,
        padding=tuple(pads),
        dilation=dilation,
        input_dilation=stride,
        groups=groups,
    )
    return cast(y, x_type.dtype)


def _to_filters(
    ct: Any,
    x_type: ArrayType,
    x1: Any,
    *,
    stride: Ints,
    padding: Pads,
    dilation: Ints,
    input_dilation: Ints,
    groups: int,
) -> Any:
    """The cotangent over the images, with examples and channels exchanged."""
    n_rows, n_channels, *space = x1.shape
    x1 = conjugate(x1)
    if groups > 1:
        x = np.reshape(x1, (n_rows, groups, n_channels // groups, *space))
        x = np.reshape(np.swapaxes(x, 0, 2), (n_channels // groups, groups * n_rows, *space))
    else:
        x = exchanged(x1)
    pads = []
    for i, size in enumerate(x_type.shape[2:]):
        reach = _extent(ct.shape[2 + i], stride[i])
        padded = (size - 1) * dilation[i] + reach
        low = padding[i][0]
        pads.append((low, padded - _extent(space[i], input_dilation[i]) - low))
    y = conv(
        x,
        exchanged(ct),
        stride=dilation,
        padding=tuple(pads),
        dilation=stride,
        input_dilation=input_dilation,
        groups=groups,
    )
    return cast(exchanged(y), x_type.dtype)


# -- batching, cost, samples ----------------------------------------------------------------------
def _batch_conv(args: Sequence[Any], axes: Sequence[int | None], params: Any) -> Any:
    """More examples; more filters in each group; or, if both have the axis, more groups."""
    x, w = args
    groups = params["groups"]
    if axes[1] is None:
        x = move_axis(x, axes[0] or 0, 0)
        y = conv(np.reshape(x, (x.shape[0] * x.shape[1], *x.shape[2:])), w, **params)
        return np.reshape(y, (*x.shape[:2], *y.shape[1:])), 0
    w = move_axis(w, axes[1], 0)
    n, n_out, *rest = w.shape
    if axes[0] is None:
        w = np.swapaxes(np.reshape(w, (n, groups, n_out // groups, *rest)), 0, 1)
        y = conv(x, np.reshape(w, (n * n_out, *rest)), **params)
        y = np.reshape(y, (y.shape[0], groups, n, n_out // groups, *y.shape[2:]))
        y = np.swapaxes(y, 1, 2)
        return np.reshape(y, (y.shape[0], n, n_out, *y.shape[4:])), 1
    x = move_axis(x, axes[0], 1)
    x = np.reshape(x, (x.shape[0], n * x.shape[2], *x.shape[3:]))
    y = conv(x, np.reshape(w, (n * n_out, *rest)), **{**params, "groups": n * groups})
    return np.reshape(y, (y.shape[0], n, n_out, *y.shape[2:])), 1


def _flops(types: Sequence[ArrayType], out_types: Sequence[ArrayType], params: Any) -> int:
    return 2 * out_types[0].size * math.prod(types[1].shape[1:])


def _samples(rng: np.random.Generator, dtype: np.dtype[Any]) -> list[Sample]:
    def sample(x: Ints, w: Ints, match: str = "", **changes: Any) -> Sample:
        n = len(x) - 2
        plain: dict[str, Any] = {"stride": (1,) * n, "padding": ((0, 0),) * n}
        plain |= {"dilation": (1,) * n, "input_dilation": (1,) * n, "groups": 1}
        args = tuple(draw(rng, dtype, *shape) for shape in (x, w))
        return Sample(args, plain | changes, error=ValueError if match else None, match=match)

    return [
        sample((2, 2, 5), (3, 2, 2)),
        sample((1, 2, 4, 5), (2, 2, 3, 2)),
        sample((2, 1, 5), (2, 1, 2), stride=(2,), padding=((1, 0),)),
        sample((1, 1, 6, 5), (2, 1, 3, 2), stride=(2, 3), padding=((0, 2), (1, 1))),  # a remainder
        sample((1, 2, 7), (1, 2, 3), dilation=(2,), padding=((3, 1),)),
        sample((1, 1, 3, 2), (2, 1, 2, 2), input_dilation=(2, 3), dilation=(1, 2), stride=(1, 2)),
        sample((1, 1, 6), (1, 1, 2), padding=((-2, -1),)),
        sample((1, 1, 3), (1, 1, 2), padding=((-4, 6),), input_dilation=(2,)),  # all but one left
        sample((2, 4, 3), (6, 2, 2), groups=2, padding=((1, 1),)),
        sample((1, 3, 3, 3), (3, 1, 2, 2), groups=3),  # each channel by itself
        sample((2, 3, 2, 2), (2, 3, 1, 1)),
        sample((1, 1, 3, 2, 2), (1, 1, 2, 1, 2)),
        sample((0, 2, 3), (1, 2, 2)),
        sample((2, 0, 3), (1, 0, 2)),
        sample((1, 1), (1, 1), match="2 axes"),
        sample((1, 3, 4), (1, 2, 2), match="3 channels, w reads 1 x 2"),
        sample((1, 4, 4), (3, 2, 2), groups=2, match="3 out_channels in 2 groups"),
        sample((1, 1, 4), (1, 1, 3), dilation=(2,), match="reaches over 5 values"),
        sample((1, 1, 0), (1, 1, 1), match="empty"),
        sample((1, 1, 4), (1, 1, 1), stride=(0,), match="stride is"),
        sample((1, 1, 4), (1, 1, 1), stride=(1, 1), match="2 entries for 1 axes"),
        sample((1, 1, 4), (1, 1, 1), groups=0, match="groups is 0"),
    ]


conv = contraction(
    "conv",
    _evaluate,
    doc="y[b, o, p] = sum over i, k of x[b, i, p stride + k dilation - low] w[o, i, k], with x of "
    "(batch, channels, *space), w of (out_channels, channels / groups, *kernel)",
    type_rule=_conv_type,
    transposes=(_to_images, _to_filters),
    batch=_batch_conv,
    flops=_flops,
    samples=_samples,
    source="Dumoulin & Visin (2016), A guide to convolution arithmetic for deep learning",
)

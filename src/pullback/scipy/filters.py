"""The linear filters of ``pullback.scipy.ndimage``: the image padded, and weighted copies added."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pullback.core.array import operand
from pullback.core.source import here
from pullback.errors import ArgumentError, DTypeError
from pullback.ops.identity import stop_gradient
from pullback.scipy.opaque import floats, require

__all__ = [
    "convolve",
    "convolve1d",
    "correlate",
    "correlate1d",
    "each_axis",
    "gaussian_filter",
    "gaussian_filter1d",
    "gaussian_gradient_magnitude",
    "gaussian_laplace",
    "image",
    "laplace",
    "prewitt",
    "sobel",
    "uniform_filter",
    "uniform_filter1d",
]

# SciPy's names of how an image goes on beyond its edges, and NumPy's.
PADS = {
    "reflect": "symmetric",
    "grid-mirror": "symmetric",
    "mirror": "reflect",
    "nearest": "edge",
    "wrap": "wrap",
    "grid-wrap": "wrap",
    "constant": "constant",
    "grid-constant": "constant",
}


def image(function: str, image: Any, output: Any) -> Any:
    """The image as an array of floats; refuses whole numbers and ``output``."""
    require(f"ndimage.{function}", output=(output, None))
    x = operand(image)
    if not hasattr(x, "dtype") or x.dtype.kind not in "fc":
        raise DTypeError(
            f"pullback.scipy.ndimage.{function}: the image has dtype {getattr(x, 'dtype', None)}",
            where=str(here()),
            fix="pass image.astype(float)",
        )
    return x


def _axes(x: Any, axes: Any) -> list[int]:
    if axes is None:
        return list(range(x.ndim))
    return [i % x.ndim for i in (axes if np.iterable(axes) else [axes])]


def each_axis(value: Any, n: int) -> list[Any]:
    """A value for each axis, of one for all or one for each."""
    return list(value) if np.ndim(value) or isinstance(value, (list, tuple)) else [value] * n


def _padded(x: Any, widths: Sequence[tuple[int, int]], modes: Sequence[str], cval: float) -> Any:
    for axis, (width, mode) in enumerate(zip(widths, modes, strict=True)):
        if mode not in PADS:
            raise ArgumentError(
                f"mode={mode!r}", where=str(here()), fix="choose one of " + ", ".join(PADS)
            )
        if width == (0, 0):
            continue
        pads = [(0, 0)] * x.ndim
        pads[axis] = width
        if PADS[mode] == "constant":
            x = np.pad(x, pads, constant_values=cval)
        else:
            x = np.pad(x, pads, mode=PADS[mode])  # type: ignore[call-overload]
    return x


# -- filters --------------------------------------------------------------------------------------
def _correlated(
    x: Any, weights: Any, mode: Any, cval: float, origin: Any, axes: Sequence[int]
) -> Any:
    """``y[i] = sum_j w[j] x[i + j - size // 2 - origin]`` along ``axes``, x padded."""
    shape, origins, modes = weights.shape, each_axis(origin, len(axes)), each_axis(mode, len(axes))
    widths, all_modes = [(0, 0)] * x.ndim, ["constant"] * x.ndim
    for axis, size, start, name in zip(axes, shape, origins, modes, strict=True):
        before = size // 2 + start
        if not 0 <= before < size:
            raise ArgumentError(
                f"origin={start} for a filter of size {size}",
                where=str(here()),
                fix="keep the origin inside of the filter",
            )
        widths[axis], all_modes[axis] = (before, size - 1 - before), name
    padded = _padded(x, widths, all_modes, cval)
    total = None
    for place in np.ndindex(shape):
        key = [slice(None)] * x.ndim
        for axis, j in zip(axes, place, strict=True):
            key[axis] = slice(j, j + x.shape[axis])
        term = weights[place] * padded[tuple(key)]
        total = term if total is None else total + term
    return total if total is None else total.astype(x.dtype, copy=False)


def _turned_origins(origin: Any, shape: Sequence[int]) -> list[int]:
    """The origin of the correlation that is a convolution."""
    return [-o - (n % 2 == 0) for o, n in zip(each_axis(origin, len(shape)), shape, strict=True)]


def correlate(
    input: Any,
    weights: Any,
    output: Any = None,
    mode: Any = "reflect",
    cval: float = 0.0,
    origin: Any = 0,
    *,
    axes: Any = None,
) -> Any:
    """The image filtered with ``weights``, one factor for each neighbour.

    Args:
        mode: how the image goes on beyond its edges, as in SciPy; one for each axis or for all.
        origin: by how many pixels the filter is moved.

    >>> import numpy as np
    >>> import pullback as pb
    >>> pb.scipy.ndimage.correlate(np.array([1.0, 2.0, 4.0]), np.array([1.0, 0.0, 1.0])).tolist()
    [3.0, 5.0, 6.0]
    """
    x, w = image("correlate", input, output), floats(weights)
    return _correlated(x, w, mode, cval, origin, _axes(x, axes))


def convolve(
    input: Any,
    weights: Any,
    output: Any = None,
    mode: Any = "reflect",
    cval: float = 0.0,
    origin: Any = 0,
    *,
    axes: Any = None,
) -> Any:
    """:func:`correlate` with the filter turned round."""
    x, w = image("convolve", input, output), floats(weights)
    turned = w[(slice(None, None, -1),) * w.ndim]
    return _correlated(x, turned, mode, cval, _turned_origins(origin, w.shape), _axes(x, axes))


def correlate1d(
    input: Any,
    weights: Any,
    axis: int = -1,
    output: Any = None,
    mode: str = "reflect",
    cval: float = 0.0,
    origin: int = 0,
) -> Any:
    """:func:`correlate` along one axis."""
    x, w = image("correlate1d", input, output), floats(weights)
    return _correlated(x, w, mode, cval, origin, _axes(x, axis))


def convolve1d(
    input: Any,
    weights: Any,
    axis: int = -1,
    output: Any = None,
    mode: str = "reflect",
    cval: float = 0.0,
    origin: int = 0,
) -> Any:
    """:func:`convolve` along one axis."""
    x, w = image("convolve1d", input, output), floats(weights)
    return _correlated(x, w[::-1], mode, cval, _turned_origins(origin, w.shape), _axes(x, axis))


def _gaussian(sigma: Any, order: int, radius: int) -> Any:
    """The kernel of a Gaussian's derivative: ``q(t) p(t)`` with ``(q p)' = (q' - t q / s^2) p``."""
    t = np.arange(-radius, radius + 1.0)
    p = np.exp(-0.5 * t * t / (sigma * sigma))
    p = p / np.sum(p)
    q: list[Any] = [1.0]
    for _ in range(order):
        slope = [(k + 1) * q[k + 1] for k in range(len(q) - 1)] + [0.0, 0.0]
        shifted = [0.0, *[c / (sigma * sigma) for c in q]]
        q = [a - b for a, b in zip(slope, shifted, strict=True)]
    return p * sum(c * t**k for k, c in enumerate(q))


def gaussian_filter1d(
    input: Any,
    sigma: Any,
    axis: int = -1,
    order: int = 0,
    output: Any = None,
    mode: str = "reflect",
    cval: float = 0.0,
    truncate: float = 4.0,
    *,
    radius: int | None = None,
) -> Any:
    """A Gaussian of width ``sigma`` (pixels), or its derivative, along one axis.

    Differentiable in ``sigma`` too, for the number of pixels that it has now.
    """
    x = image("gaussian_filter1d", input, output)
    reach = int(truncate * float(stop_gradient(sigma)) + 0.5) if radius is None else radius
    weights = _gaussian(sigma, order, reach)[::-1]
    return _correlated(x, weights, mode, cval, 0, _axes(x, axis))


def gaussian_filter(
    input: Any,
    sigma: Any,
    order: Any = 0,
    output: Any = None,
    mode: Any = "reflect",
    cval: float = 0.0,
    truncate: float = 4.0,
    *,
    radius: Any = None,
    axes: Any = None,
) -> Any:
    """A Gaussian along each axis.

    >>> import numpy as np
    >>> import pullback as pb
    >>> point = np.eye(9)[4]
    >>> width = pb.grad(lambda s: pb.scipy.ndimage.gaussian_filter(point, s)[4])(1.0)
    >>> float(width.round(4))
    -0.3989
    """
    x = image("gaussian_filter", input, output)
    along = _axes(x, axes)
    parts = (each_axis(value, len(along)) for value in (sigma, order, mode, radius))
    for axis, width, k, name, reach in zip(along, *parts, strict=True):
        if float(stop_gradient(width)) > 1e-15:
            x = gaussian_filter1d(x, width, axis, k, None, name, cval, truncate, radius=reach)
    return x


def uniform_filter1d(
    input: Any,
    size: int,
    axis: int = -1,
    output: Any = None,
    mode: str = "reflect",
    cval: float = 0.0,
    origin: int = 0,
) -> Any:
    """The mean of ``size`` neighbours along one axis."""
    x = image("uniform_filter1d", input, output)
    return _correlated(x, np.full(size, 1 / size), mode, cval, origin, _axes(x, axis))


def uniform_filter(
    input: Any,
    size: Any = 3,
    output: Any = None,
    mode: Any = "reflect",
    cval: float = 0.0,
    origin: Any = 0,
    *,
    axes: Any = None,
) -> Any:
    """The mean of a box."""
    x = image("uniform_filter", input, output)
    along = _axes(x, axes)
    parts = (each_axis(value, len(along)) for value in (size, mode, origin))
    for axis, n, name, start in zip(along, *parts, strict=True):
        x = uniform_filter1d(x, n, axis, None, name, cval, start) if n > 1 else x
    return x


def _edges(x: Any, axis: int, mode: Any, cval: float, smooth: list[float]) -> Any:
    modes = each_axis(mode, x.ndim)
    axis %= x.ndim
    y = _correlated(x, np.array([-1.0, 0.0, 1.0]), modes[axis], cval, 0, [axis])
    for other in range(x.ndim):
        if other != axis:
            y = _correlated(y, np.array(smooth), modes[other], cval, 0, [other])
    return y


def sobel(
    input: Any,
    axis: int = -1,
    output: Any = None,
    mode: Any = "reflect",
    cval: float = 0.0,
) -> Any:
    """Sobel's slope along an axis."""
    return _edges(image("sobel", input, output), axis, mode, cval, [1.0, 2.0, 1.0])


def prewitt(
    input: Any,
    axis: int = -1,
    output: Any = None,
    mode: Any = "reflect",
    cval: float = 0.0,
) -> Any:
    """Prewitt's slope along an axis."""
    return _edges(image("prewitt", input, output), axis, mode, cval, [1.0, 1.0, 1.0])


def laplace(
    input: Any,
    output: Any = None,
    mode: Any = "reflect",
    cval: float = 0.0,
    *,
    axes: Any = None,
) -> Any:
    """The sum of second differences along the axes."""
    x = image("laplace", input, output)
    along = _axes(x, axes)
    weights = np.array([1.0, -2.0, 1.0])
    pairs = zip(along, each_axis(mode, len(along)), strict=True)
    return sum(_correlated(x, weights, name, cval, 0, [axis]) for axis, name in pairs)


def _of_gaussian(x: Any, sigma: Any, order: int, mode: Any, cval: float, options: Any) -> Any:
    """Gaussian derivatives of this order along each axis by itself."""
    for axis in range(x.ndim):
        orders = [0] * x.ndim
        orders[axis] = order
        yield gaussian_filter(x, sigma, orders, None, mode, cval, **options)


def gaussian_laplace(
    input: Any,
    sigma: Any,
    output: Any = None,
    mode: Any = "reflect",
    cval: float = 0.0,
    *,
    axes: Any = None,
    **options: Any,
) -> Any:
    """The sum of the Gaussian's second derivatives."""
    x = image("gaussian_laplace", input, output)
    require("ndimage.gaussian_laplace", axes=(axes, None))
    return sum(_of_gaussian(x, sigma, 2, mode, cval, options))


def gaussian_gradient_magnitude(
    input: Any,
    sigma: Any,
    output: Any = None,
    mode: Any = "reflect",
    cval: float = 0.0,
    *,
    axes: Any = None,
    **options: Any,
) -> Any:
    """The length of the gradient by Gaussian derivatives."""
    x = image("gaussian_gradient_magnitude", input, output)
    require("ndimage.gaussian_gradient_magnitude", axes=(axes, None))
    return np.sqrt(sum(y * y for y in _of_gaussian(x, sigma, 1, mode, cval, options)))

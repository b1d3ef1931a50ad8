"""``scipy.ndimage`` for traced arrays: linear filters and interpolation. Other names are SciPy's.

Filters pad the image as ``mode`` says and add weighted copies of it; so they are differentiable in
their weights and widths too. Interpolation is by B-splines of order 0 to 5, also in the coordinates
(M. Unser, A. Aldroubi, M. Eden (1993), *B-spline signal processing: part I*, equations 2.7 and
2.8). Images are arrays of floats or complex numbers; SciPy rounds those of whole numbers.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import scipy.ndimage

from pullback.core.array import Array
from pullback.core.source import here
from pullback.errors import ArgumentError
from pullback.ops.identity import stop_gradient
from pullback.ops.index import gather
from pullback.scipy.filters import (
    convolve,
    convolve1d,
    correlate,
    correlate1d,
    each_axis,
    gaussian_filter,
    gaussian_filter1d,
    gaussian_gradient_magnitude,
    gaussian_laplace,
    image,
    laplace,
    prewitt,
    sobel,
    uniform_filter,
    uniform_filter1d,
)
from pullback.scipy.names import names_of
from pullback.scipy.opaque import LinearMap, floats, require

__all__ = [
    "affine_transform", "convolve", "convolve1d", "correlate", "correlate1d", "gaussian_filter",
    "gaussian_filter1d", "gaussian_gradient_magnitude", "gaussian_laplace", "laplace",
    "map_coordinates", "prewitt", "rotate", "shift", "sobel", "spline_filter", "spline_filter1d",
    "uniform_filter", "uniform_filter1d", "zoom",
]  # fmt: skip

EDGE = 12  # by how much SciPy extends an image for splines whose edge values go on
SHORT = 64  # pixels up to which the filter's start, which SciPy cuts off, is seen in its digits


__getattr__, __dir__ = names_of(scipy.ndimage)


# -- splines --------------------------------------------------------------------------------------
def _run_filter(x: Any, order: int, mode: str, axis: int, ends: Any) -> Any:
    """The filter of SciPy between multiplications by ``ends`` and by its inverse."""
    kind = np.complex128 if np.iscomplexobj(x) else np.float64
    return ends * scipy.ndimage.spline_filter1d(x / ends, order, axis, kind, mode)


def _times(matrix: Any, axis: int, x: Any) -> Any:
    """The transpose of a matrix times the vectors along an axis."""
    return np.moveaxis(np.tensordot(matrix, x, (0, axis)), 0, axis)


def spline_filter1d(
    input: Any,
    order: int = 3,
    axis: int = -1,
    output: Any = None,
    mode: str = "mirror",
) -> Any:
    """The coefficients of the B-spline through the pixels along one axis.

    The system is symmetric but for mirrored images, whose first and last pixels count half.
    """
    x = image("spline_filter1d", input, None if output is np.float64 else output)
    axis %= x.ndim
    n = x.shape[axis]
    if order in (0, 1) or n == 1:
        return x
    ends = np.ones([n if i == axis else 1 for i in range(x.ndim)])
    if mode in ("mirror", "constant", "wrap", "grid-constant"):
        np.moveaxis(ends, axis, 0)[[0, -1]] = 0.5
    forward = partial(_run_filter, order=order, mode=mode, axis=axis, ends=1.0)
    turned = partial(_run_filter, order=order, mode=mode, axis=axis, ends=ends)
    if n < SHORT:
        kind = np.complex128 if x.dtype.kind == "c" else np.float64
        matrix = scipy.ndimage.spline_filter1d(np.eye(n, dtype=kind), order, 0, kind, mode)
        turned = partial(_times, matrix, axis)
    return LinearMap("spline_filter1d", forward, turned, x.shape, x.shape)(x)


def spline_filter(input: Any, order: int = 3, output: Any = None, mode: str = "mirror") -> Any:
    """:func:`spline_filter1d` along all axes."""
    x = image("spline_filter", input, None if output is np.float64 else output)
    for axis in range(x.ndim):
        x = spline_filter1d(x, order, axis, None, mode)
    return x


def _basis(t: Any, order: int) -> Any:
    """The centred B-spline of this order: Unser et al., equation 2.8."""
    terms = []
    for k in range(order + 2):
        arm = np.maximum(t - k + (order + 1) / 2, 0.0)
        terms.append((-1) ** k * math.comb(order + 1, k) * arm**order)
    return sum(terms) / math.factorial(order)


def _inside(i: Any, n: int, mode: str) -> Any:
    """Indices beyond the edges as ``mode`` folds them back."""
    if mode in ("reflect", "grid-mirror"):
        j = i % (2 * n)
        return np.where(j < n, j, 2 * n - 1 - j)
    if mode == "grid-wrap":
        return i % n
    if mode == "nearest":
        return np.clip(i, 0, n - 1)
    period = max(2 * n - 2, 1)
    j = i % period
    return np.where(j < n, j, period - j)


def _taps(at: Any, n: int, order: int, mode: str) -> list[tuple[Any, Any]]:
    """Along one axis: the indices that coordinates read, and their weights."""
    plain = np.asarray(stop_gradient(at)) if type(at) is not Array else stop_gradient(at)
    first = np.floor(plain if order % 2 else plain + 0.5) - order // 2
    found = []
    for k in range(order + 1):
        place = first + k
        weight = np.ones(np.shape(place)) if order == 0 else _basis(at - place, order)
        found.append((_inside(place.astype(np.int64), n, mode), weight))
    return found


MODES = ("constant", "nearest", "mirror", "reflect", "grid-mirror", "grid-wrap")


def _sampled(
    name: str, x: Any, at: Sequence[Any], order: int, mode: str, cval: float, prefilter: bool
) -> Any:
    """The spline through ``x`` at coordinates ``at``, one array for each axis."""
    if mode not in MODES or not 0 <= order <= 5:
        fix = "orders 0 to 5, modes " + ", ".join(MODES)
        require(f"ndimage.{name}", fix, mode=(mode, "constant"), order=(order, 3))
    outside: Any = False
    if mode == "constant":
        for c, n in zip(at, x.shape, strict=True):
            outside = outside | (c < 0) | (c > n - 1)
    if prefilter and order > 1:
        if mode == "nearest":
            x, at = np.pad(x, EDGE, mode="edge"), [c + EDGE for c in at]
        x = spline_filter(x, order, None, "mirror" if mode == "constant" else mode)
    if mode == "nearest":
        at = [np.clip(c, 0, n - 1) for c, n in zip(at, x.shape, strict=True)]
    taps = [_taps(c, n, order, mode) for c, n in zip(at, x.shape, strict=True)]
    total: Any = 0.0
    for chosen in itertools.product(*taps):
        weight: Any = 1.0
        for _, w in chosen:
            weight = weight * w
        total = total + weight * gather(x, *(i for i, _ in chosen))
    return np.where(outside, cval, total) if mode == "constant" else total


def map_coordinates(
    input: Any,
    coordinates: Any,
    output: Any = None,
    order: int = 3,
    mode: str = "constant",
    cval: float = 0.0,
    prefilter: bool = True,
) -> Any:
    """The image at ``coordinates`` ``(axes, ...)`` in pixels; differentiable in both.

    Modes: constant, nearest, mirror, reflect and grid-wrap.

    >>> import numpy as np
    >>> import pullback as pb
    >>> ramp = np.arange(5.0) ** 2
    >>> at = np.array([[2.5]])
    >>> slope = pb.grad(lambda at: pb.scipy.ndimage.map_coordinates(ramp, at, order=1)[0])(at)
    >>> float(slope[0, 0])
    5.0
    """
    x, at = image("map_coordinates", input, output), floats(coordinates)
    if at.shape[0] != x.ndim:
        raise ArgumentError(
            f"map_coordinates: coordinates of shape {at.shape} for an image of {x.ndim} axes",
            where=str(here()),
            fix=f"pass coordinates of shape ({x.ndim}, ...)",
        )
    parts = [at[i] for i in range(x.ndim)]
    return _sampled("map_coordinates", x, parts, order, mode, cval, prefilter)


def _grid(shape: Sequence[int]) -> list[Any]:
    return list(np.indices(shape, dtype=np.float64))


def affine_transform(
    input: Any,
    matrix: Any,
    offset: Any = 0.0,
    output_shape: Any = None,
    output: Any = None,
    order: int = 3,
    mode: str = "constant",
    cval: float = 0.0,
    prefilter: bool = True,
) -> Any:
    """The image at ``matrix @ pixel + offset``; ``matrix`` may be its diagonal, or homogeneous."""
    x, m = image("affine_transform", input, output), floats(matrix)
    n = x.ndim
    if m.ndim == 2 and m.shape[1] == n + 1:
        offset, m = m[:n, n], m[:n, :n]
    grid = _grid(x.shape if output_shape is None else output_shape)
    starts = [offset] * n if np.ndim(offset) == 0 else [offset[i] for i in range(n)]
    if m.ndim == 1:
        at = [m[i] * grid[i] + starts[i] for i in range(n)]
    else:
        at = [sum(m[i, j] * grid[j] for j in range(n)) + starts[i] for i in range(n)]
    return _sampled("affine_transform", x, at, order, mode, cval, prefilter)


def shift(
    input: Any,
    shift: Any,
    output: Any = None,
    order: int = 3,
    mode: str = "constant",
    cval: float = 0.0,
    prefilter: bool = True,
) -> Any:
    """The image moved by ``shift`` pixels along each axis; differentiable in the shift."""
    x = image("shift", input, output)
    steps = [shift] * x.ndim if np.ndim(shift) == 0 else [shift[i] for i in range(x.ndim)]
    at = [c - s for c, s in zip(_grid(x.shape), steps, strict=True)]
    return _sampled("shift", x, at, order, mode, cval, prefilter)


def rotate(
    input: Any,
    angle: Any,
    axes: tuple[int, int] = (1, 0),
    reshape: bool = True,
    output: Any = None,
    order: int = 3,
    mode: str = "constant",
    cval: float = 0.0,
    prefilter: bool = True,
) -> Any:
    """The image turned by ``angle`` degrees in the plane of two axes."""
    x = image("rotate", input, output)
    i, j = sorted(a % x.ndim for a in axes)
    c, s = np.cos(angle * (np.pi / 180)), np.sin(angle * (np.pi / 180))
    old = np.array([x.shape[i], x.shape[j]])
    new = old
    if reshape:
        now_c, now_s = abs(float(stop_gradient(c))), abs(float(stop_gradient(s)))
        new = (np.array([[now_c, now_s], [now_s, now_c]]) @ old + 0.5).astype(int)
    shape = list(x.shape)
    shape[i], shape[j] = (int(n) for n in new)
    at = _grid(shape)
    u, v = at[i] - (new[0] - 1) / 2, at[j] - (new[1] - 1) / 2
    at[i], at[j] = c * u + s * v + (old[0] - 1) / 2, -s * u + c * v + (old[1] - 1) / 2
    return _sampled("rotate", x, at, order, mode, cval, prefilter)


def zoom(
    input: Any,
    zoom: Any,
    output: Any = None,
    order: int = 3,
    mode: str = "constant",
    cval: float = 0.0,
    prefilter: bool = True,
    *,
    grid_mode: bool = False,
) -> Any:
    """The image with ``zoom`` times as many pixels along each axis, corners on corners."""
    x = image("zoom", input, output)
    require("ndimage.zoom", grid_mode=(grid_mode, False))
    shape = [round(n * z) for n, z in zip(x.shape, each_axis(zoom, x.ndim), strict=True)]
    at = [
        c * ((n - 1) / (m - 1) if m > 1 else 1.0)
        for c, n, m in zip(_grid(shape), x.shape, shape, strict=True)
    ]
    at = [np.minimum(c, n - 1.0) for c, n in zip(at, x.shape, strict=True)]
    return _sampled("zoom", x, at, order, mode, cval, prefilter)

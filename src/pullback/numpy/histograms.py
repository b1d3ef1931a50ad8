"""Histograms: counts have no derivative; weights, edges and densities have."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pullback.core.array import Array, operand
from pullback.numpy.arguments import concrete
from pullback.numpy.creation import asarray
from pullback.numpy.registry import implements
from pullback.ops.index import scatter_add

__all__: list[str] = []


@implements(np.histogram_bin_edges)
def histogram_bin_edges(a: Any, bins: Any = 10, range: Any = None, weights: Any = None) -> Any:
    """Edges: ``bins`` itself, or equal steps from the least to the greatest of ``a``."""
    a = np.ravel(operand(a))
    if isinstance(bins, str):
        if weights is not None:
            raise TypeError(
                "Automated estimation of the number of bins is not supported for weighted data"
            )
        bins = np.histogram_bin_edges(concrete(a, "the number of bins"), bins, range).size - 1
    if np.ndim(bins) == 1:
        edges = operand(bins)
        if concrete(np.any(edges[1:] < edges[:-1]), "the order of the bins"):
            raise ValueError("`bins` must increase monotonically, when an array")
        return edges
    if np.ndim(bins):
        raise ValueError("`bins` must be 1d, when an array")
    if bins < 1:
        raise ValueError("`bins` must be positive, when an integer")
    first, last = _outer(a, range)
    kind = np.result_type(*[getattr(v, "dtype", v) for v in (first, last, a)])
    return np.linspace(first, last, bins + 1, dtype=kind if kind.kind == "f" else np.float64)


def _outer(a: Any, range: Any) -> tuple[Any, Any]:
    """The outermost edges, with NumPy's room around equal ones."""
    if range is not None:
        first, last = range
        if concrete(first, "the range") > concrete(last, "the range"):
            raise ValueError("max must be larger than min in range parameter.")
    elif not a.size:
        first, last = 0.0, 1.0
    else:
        first, last = np.min(a), np.max(a)
    room = np.where(np.equal(first, last), 0.5, 0.0)
    if getattr(first, "dtype", room.dtype).kind == "f":
        room = room.astype(first.dtype if hasattr(first, "dtype") else room.dtype)
    return first - room, last + room


def _bins(x: Any, edges: Any) -> tuple[Any, Any]:
    """Number of the bin of each element, and whether it is within the edges.

    A bin holds its left edge; the last one holds its right edge, too.
    """
    n = edges.size - 1
    inside = np.logical_and(np.greater_equal(x, edges[0]), np.less_equal(x, edges[-1]))
    return np.clip(np.searchsorted(edges, x, "right") - 1, 0, n - 1), inside


@implements(np.histogram)
def histogram(
    a: Any, bins: Any = 10, range: Any = None, density: Any = None, weights: Any = None
) -> tuple[Any, Any]:
    a = operand(a)
    if weights is not None:
        weights = operand(weights)
        if np.shape(weights) != np.shape(a):
            raise ValueError("weights should have the same shape as a.")
        weights = np.ravel(weights)
    a = np.ravel(a)
    edges = histogram_bin_edges(a, bins, range, weights)
    counts, _ = _counted([a], [edges], weights)
    if density:
        counts = counts / np.diff(edges) / np.sum(counts)
    return counts, edges


def _counted(columns: list[Any], edges: list[Any], weights: Any) -> tuple[Any, tuple[int, ...]]:
    """Sum of the weights (or the number) of the points in each cell."""
    shape = tuple(e.size - 1 for e in edges)
    numbers, inside = zip(*map(_bins, columns, edges), strict=True)
    place, within = numbers[0], inside[0]
    for n, number, here in zip(shape[1:], numbers[1:], inside[1:], strict=True):
        place, within = place * n + number, np.logical_and(within, here)
    ones = np.ones(np.shape(columns[0]), np.int64)
    values = np.where(within, ones if weights is None else weights, 0)
    return np.reshape(scatter_add(values, place, shape=(math.prod(shape),)), shape), shape


@implements(np.histogramdd)
def histogramdd(
    sample: Any, bins: Any = 10, range: Any = None, density: Any = None, weights: Any = None
) -> tuple[Any, tuple[Any, ...]]:
    if isinstance(sample, (list, tuple)):  # one sequence of coordinates per axis
        sample = np.transpose(asarray(sample))
    sample = operand(sample)
    sample = sample[:, None] if sample.ndim == 1 else sample
    ndim = sample.shape[1]
    if not isinstance(bins, (list, tuple, np.ndarray, Array)):
        bins = ndim * [bins]
    if len(bins) != ndim:
        raise ValueError("The dimension of bins must be equal to the dimension of the sample x.")
    ranges = (None,) * ndim if range is None else range
    if len(ranges) != ndim:
        raise ValueError("range argument must have one entry per dimension")
    columns = [sample[:, i] for i in np.arange(ndim)]
    edges = [
        histogram_bin_edges(x, int(n) if np.ndim(n) == 0 else n, r)
        for x, n, r in zip(columns, bins, ranges, strict=True)
    ]
    weights = None if weights is None else operand(weights)
    counts, shape = _counted(columns, edges, weights)
    counts = counts.astype(np.float64)
    if density:
        total = np.sum(counts)
        for i, edge in enumerate(edges):
            widths = np.reshape(np.diff(edge), [-1 if i == k else 1 for k, _ in enumerate(shape)])
            counts = counts / widths
        counts = counts / total
    return counts, tuple(edges)


@implements(np.histogram2d)
def histogram2d(
    x: Any, y: Any, bins: Any = 10, range: Any = None, density: Any = None, weights: Any = None
) -> tuple[Any, Any, Any]:
    if len(x) != len(y):
        raise ValueError("x and y must have the same length.")
    if hasattr(bins, "__len__") and len(bins) not in (1, 2):
        bins = [bins, bins]
    counts, edges = histogramdd([x, y], bins, range, density, weights)
    return counts, *edges

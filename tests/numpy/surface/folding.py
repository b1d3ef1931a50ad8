"""Calls of the functions that fold, count, sort and search."""

from __future__ import annotations

import numpy as np
from tests.numpy.surface.judge import OUT, A

X = np.array([[0.35, 1.62, -0.81, 0.5], [2.44, 0.27, -0.71, 1.1], [-1.3, 0.9, 0.15, 3.2]])
Y = np.array([1.3, 0.6, 2.2, 0.4])
N = np.where(X == 0.27, np.nan, X)
MASK = np.array([True, False, True, True])
INITIAL, WHERE = {"initial": 0.3}, {"where": MASK}
INTEGERS = np.array([[6, 3, 5, 1], [2, 7, 4, 9]])
SORTED = np.array([-1.0, 0.2, 0.7, 1.5])
WEIGHTS = np.abs(X)

FOLD = [A(X), A(X, axis=1), A(X, axis=(0, 1)), A(X, keepdims=True), A(X, axis=0, out=OUT)]
DTYPE = [A(X, dtype=np.float32), A(INTEGERS, axis=1)]
RUN = [A(X), A(X, axis=1), A(X, axis=0, out=OUT), A(X, dtype=np.float64)]
NANS = [A(N), A(N, axis=1), A(N, keepdims=True), A(N, axis=0, out=OUT)]
SPREAD = [A(X, ddof=1), A(X, axis=0, mean=X.mean(0, keepdims=True)), A(X, correction=1)]
POSITION = [A(X), A(X, axis=1), A(X, axis=0, out=OUT), A(X, keepdims=True)]
METHODS = (
    "linear",
    "lower",
    "higher",
    "nearest",
    "midpoint",
    "inverted_cdf",
    "averaged_inverted_cdf",
    "closest_observation",
    "interpolated_inverted_cdf",
    "hazen",
    "weibull",
    "median_unbiased",
    "normal_unbiased",
)


def quantiles(x: np.ndarray, q: object) -> list[A]:
    return [
        A(x, q),
        A(x, q, axis=1),
        A(x, [q, q], axis=(0, 1)),
        A(x, q, keepdims=True),
        A(x, q, axis=0, out=OUT),
        A(x, q, overwrite_input=True),
        A(x, q, weights=WEIGHTS, method="inverted_cdf"),
        A(x, q, axis=1, weights=np.abs(x), method="inverted_cdf"),
        *(A(x, q, method=m) for m in METHODS),
    ]


# No point is near an edge, where counts jump.
POINTS = np.array([1.91, 0.63, -0.07, -2.68, 1.19, 2.94, 2.98])
BINS = [
    A(POINTS),
    A(POINTS, 3),
    A(POINTS, bins=SORTED),
    A(POINTS, range=(-2, 4.1)),
    A(POINTS, 3, weights=np.abs(POINTS)),
]
PLANE = [
    A(X[0], Y, bins=[2, 3]),
    A(X[0], Y, range=[(-1, 2.1), (0, 3.05)]),
    A(X[0], Y, 3, density=True),
    A(X[0], Y, 3, weights=WEIGHTS[0]),
]

CALLS: dict[str, list[A]] = {
    "all": [*FOLD, A(X, where=MASK)],
    "any": [*FOLD, A(X, where=MASK)],
    "sum": [*FOLD, *DTYPE, A(X, **INITIAL), A(X, **WHERE)],
    "prod": [*FOLD, *DTYPE, A(X, **INITIAL), A(X, **WHERE)],
    "mean": [*FOLD, *DTYPE, A(X, **WHERE)],
    "std": [*FOLD, *DTYPE, *SPREAD, A(X, **WHERE)],
    "var": [*FOLD, *DTYPE, *SPREAD, A(X, **WHERE)],
    "max": [*FOLD, A(X, **INITIAL), A(X, **INITIAL, **WHERE)],
    "min": [*FOLD, A(X, **INITIAL), A(X, **INITIAL, **WHERE)],
    "ptp": FOLD,
    "median": [*FOLD, A(X, overwrite_input=True)],
    "average": [
        A(X),
        A(X, axis=1, keepdims=True),
        A(X, axis=1, weights=Y),
        A(X, weights=WEIGHTS, returned=True),
    ],
    "count_nonzero": [A(X), A(X, axis=0), A(X, axis=1, keepdims=True)],
    "argmax": POSITION,
    "argmin": POSITION,
    "cumsum": [*RUN, A(INTEGERS)],
    "cumprod": RUN,
    "cumulative_sum": [
        A(Y),
        A(X, axis=1, include_initial=True),
        A(X, axis=0, out=OUT),
        A(Y, dtype=np.float64),
    ],
    "cumulative_prod": [
        A(Y),
        A(X, axis=1, include_initial=True),
        A(X, axis=0, out=OUT),
        A(Y, dtype=np.float64),
    ],
    "nansum": [*NANS, A(N, dtype=np.float64), A(N, **INITIAL), A(N, **WHERE)],
    "nanprod": [*NANS, A(N, dtype=np.float64), A(N, **INITIAL), A(N, **WHERE)],
    "nanmean": [*NANS, A(N, dtype=np.float64), A(N, **WHERE)],
    "nanstd": [
        *NANS,
        A(N, dtype=np.float64),
        A(N, ddof=1),
        A(N, correction=1),
        A(N, **WHERE),
        A(N, axis=0, mean=np.nanmean(N, 0, keepdims=True)),
    ],
    "nanvar": [
        *NANS,
        A(N, dtype=np.float64),
        A(N, ddof=1),
        A(N, correction=1),
        A(N, **WHERE),
        A(N, axis=0, mean=np.nanmean(N, 0, keepdims=True)),
    ],
    "nanmax": [*NANS, A(N, **INITIAL), A(N, **INITIAL, **WHERE)],
    "nanmin": [*NANS, A(N, **INITIAL), A(N, **INITIAL, **WHERE)],
    "nanmedian": [*NANS, A(N, overwrite_input=True)],
    "nanargmax": [A(N), A(N, axis=1), A(N, axis=0, out=OUT), A(N, keepdims=True)],
    "nanargmin": [A(N), A(N, axis=1), A(N, axis=0, out=OUT), A(N, keepdims=True)],
    "nancumsum": [A(N), A(N, axis=1), A(N, axis=0, out=OUT), A(N, dtype=np.float64)],
    "nancumprod": [A(N), A(N, axis=1), A(N, axis=0, out=OUT), A(N, dtype=np.float64)],
    "quantile": quantiles(X, 0.37),
    "percentile": quantiles(X, 37.0),
    "nanquantile": quantiles(N, 0.37),
    "nanpercentile": quantiles(N, 37.0),
    # -- sorting and searching
    "sort": [
        A(X),
        A(X, axis=0),
        A(X, axis=None),
        A(X, kind="stable"),
        A(X, order=None),
        A(X, stable=True),
    ],
    "argsort": [
        A(X),
        A(X, axis=0),
        A(X, axis=None),
        A(X, kind="stable"),
        A(X, order=None),
        A(X, stable=True),
    ],
    "partition": [
        A(Y, 2),
        A(X, (0, 1, 2, 3)),
        A(X[:, :2], 1, axis=-1, kind="introselect", order=None),
    ],
    "argpartition": [A(X[:, :2], 1), A(X[:, :2], 1, axis=-1, kind="introselect", order=None)],
    "lexsort": [A((Y, X[0])), A(X, axis=0)],
    "searchsorted": [A(SORTED, X), A(SORTED, X, side="right"), A(Y, X, sorter=np.argsort(Y))],
    "digitize": [A(X, SORTED), A(X, bins=SORTED[::-1], right=True)],
    "nonzero": [A(X)],
    "flatnonzero": [A(X)],
    "argwhere": [A(X)],
    "unique": [
        A(X),
        A(X, return_index=True),
        A(X, return_inverse=True),
        A(X, return_counts=True),
        A(X, axis=0),
        A(X, equal_nan=False),
        A(X, sorted=True),
    ],
    "unique_all": [A(X)],
    "unique_counts": [A(X)],
    "unique_inverse": [A(X)],
    "unique_values": [A(X)],
    "union1d": [A(X[0], Y)],
    "intersect1d": [
        A(INTEGERS[0], INTEGERS[1]),
        A(INTEGERS[0], INTEGERS[1], assume_unique=True, return_indices=True),
    ],
    "setdiff1d": [A(X[0], Y), A(X[0], Y, assume_unique=True)],
    "setxor1d": [A(X[0], Y), A(X[0], Y, assume_unique=True)],
    "isin": [A(X, Y), A(X, Y, assume_unique=True, invert=True), A(INTEGERS, [3, 4], kind="sort")],
    # -- histograms
    "bincount": [
        A(np.array([0, 2, 2, 1]), Y),
        A(np.array([0, 2, 2, 1])),
        A(np.array([0, 2, 2, 1]), weights=Y, minlength=6),
    ],
    "histogram": [*BINS, A(POINTS, 3, density=True)],
    "histogram_bin_edges": BINS,
    "histogram2d": PLANE,
    "histogramdd": [
        A(X.T),
        A(X[:2].T, bins=[2, 3]),
        A(X[:2].T, range=[(-1, 2.1), (-0.83, 3.07)]),
        A(X[:2].T, 3, density=True),
        A(X[:2].T, 3, weights=Y),
    ],
}

"""``scipy.spatial.distance`` for traced arrays. All other names are SciPy's.

Distances have no derivative where they are 0: there the gradient is taken as 0, as that of the
distance of a point to itself, which does not change.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.spatial import distance

from pullback.core.source import here
from pullback.errors import ArgumentError
from pullback.scipy.names import names_of
from pullback.scipy.opaque import floats, require

__all__ = ["cdist", "pdist", "squareform"]


__getattr__, __dir__ = names_of(distance)


def _root(squares: Any, power: float = 0.5) -> Any:
    """``squares^power`` with a slope of 0 at 0."""
    is_zero = squares == 0
    return np.where(is_zero, 0.0, np.where(is_zero, 1.0, squares) ** power)


def _sum(x: Any) -> Any:
    return np.sum(x, axis=-1)


def _minkowski(x: Any, y: Any, p: float = 2.0, w: Any = None) -> Any:
    terms = _root(np.abs(x - y), p)
    return _root(_sum(terms if w is None else w * terms), 1 / p)


def _cosine(x: Any, y: Any) -> Any:
    return 1 - _sum(x * y) / np.sqrt(_sum(x * x) * _sum(y * y))


def _correlation(x: Any, y: Any) -> Any:
    centred = [v - np.mean(v, axis=-1, keepdims=True) for v in (x, y)]
    return _cosine(*centred)


def _mahalanobis(x: Any, y: Any, VI: Any) -> Any:  # noqa: N803 - SciPy's name
    change = x - y
    return _root(_sum(np.matmul(change, floats(VI)) * change))


def _canberra(x: Any, y: Any) -> Any:
    size = np.abs(x) + np.abs(y)
    return _sum(np.abs(x - y) / np.where(size == 0, 1.0, size))


METRICS: dict[str, Callable[..., Any]] = {
    "euclidean": lambda x, y: _root(_sum((x - y) ** 2)),
    "sqeuclidean": lambda x, y: _sum((x - y) ** 2),
    "seuclidean": lambda x, y, V: _root(_sum((x - y) ** 2 / floats(V))),  # noqa: N803
    "cityblock": lambda x, y: _sum(np.abs(x - y)),
    "chebyshev": lambda x, y: np.max(np.abs(x - y), axis=-1),
    "minkowski": _minkowski,
    "cosine": _cosine,
    "correlation": _correlation,
    "mahalanobis": _mahalanobis,
    "canberra": _canberra,
    "braycurtis": lambda x, y: _sum(np.abs(x - y)) / _sum(np.abs(x + y)),
}
NEEDED = {"seuclidean": ("V",), "mahalanobis": ("VI",)}
ALLOWED = {"minkowski": ("p", "w"), **NEEDED}


def _metric(function: str, metric: Any, options: dict[str, Any]) -> Callable[..., Any]:
    if callable(metric):
        return lambda x, y: _each(metric, x, y, options)
    if metric not in METRICS:
        fix = "choose one of " + ", ".join(METRICS)
        require(f"spatial.distance.{function}", fix, metric=(metric, "euclidean"))
    wrong = set(options) - set(ALLOWED.get(metric, ()))
    missing = set(NEEDED.get(metric, ())) - set(options)
    if wrong or missing:
        raise ArgumentError(
            f"{function}: the metric {metric!r} and its options {sorted(options)} do not fit",
            where=str(here()),
            details=[f"missing: {', '.join(sorted(missing)) or '-'}"],
            fix=f"options of it: {', '.join(ALLOWED.get(metric, ())) or 'none'}",
        )
    return lambda x, y: METRICS[metric](x, y, **options)


def _each(metric: Callable[..., Any], x: Any, y: Any, options: dict[str, Any]) -> Any:
    """A function of two vectors, for stacks of them."""
    x, y = np.broadcast_arrays(x, y)
    shape = x.shape[:-1]
    places = list(np.ndindex(shape))
    return np.reshape(np.stack([metric(x[i], y[i], **options) for i in places]), shape)


def _points(function: str, *sets: Any) -> Any:
    arrays = [floats(x) for x in sets]
    if any(x.ndim != 2 for x in arrays) or len({x.shape[-1] for x in arrays}) > 1:
        raise ArgumentError(
            f"{function}: points of shapes {', '.join(str(x.shape) for x in arrays)}",
            where=str(here()),
            fix="pass arrays (points, coordinates) with as many coordinates",
        )
    return arrays


def cdist(XA: Any, XB: Any, metric: Any = "euclidean", *, out: Any = None, **options: Any) -> Any:  # noqa: N803
    """The distance of each point of ``XA`` to each of ``XB``: ``(n, d), (m, d) -> (n, m)``.

    Metrics: those of SciPy for real vectors, and functions of two vectors.

    >>> import numpy as np
    >>> import pullback as pb
    >>> x = np.array([[0.0, 0.0], [3.0, 4.0]])
    >>> pb.scipy.spatial.distance.cdist(x, x).tolist()
    [[0.0, 5.0], [5.0, 0.0]]
    """
    require("spatial.distance.cdist", out=(out, None))
    a, b = _points("cdist", XA, XB)
    return _metric("cdist", metric, options)(a[:, None, :], b[None, :, :])


def pdist(X: Any, metric: Any = "euclidean", *, out: Any = None, **options: Any) -> Any:  # noqa: N803
    """The distances of all pairs of points ``(n, d)``, as a vector; :func:`squareform` spreads it.

    >>> import numpy as np
    >>> import pullback as pb
    >>> pb.scipy.spatial.distance.pdist(np.array([[0.0], [1.0], [3.0]])).tolist()
    [1.0, 3.0, 2.0]
    """
    require("spatial.distance.pdist", out=(out, None))
    (x,) = _points("pdist", X)
    first, second = np.triu_indices(x.shape[0], 1)
    return _metric("pdist", metric, options)(x[first], x[second])


def squareform(X: Any, force: str = "no", checks: bool = True) -> Any:  # noqa: N803
    """A vector of distances as a symmetric matrix, or back."""
    require("spatial.distance.squareform", force=(force, "no"))
    x = floats(X)
    if x.ndim == 2:
        first, second = np.triu_indices(x.shape[0], 1)
        return x[first, second]
    n = int(np.ceil(np.sqrt(2 * x.shape[0])))
    if n * (n - 1) // 2 != x.shape[0]:
        raise ArgumentError(
            f"squareform: {x.shape[0]} distances are not those of all pairs",
            where=str(here()),
            fix="pass n (n - 1) / 2 of them",
        )
    first, second = np.triu_indices(n, 1)
    places = np.zeros((n, n), int)
    places[first, second] = places[second, first] = np.arange(x.shape[0]) + 1
    return np.concatenate([np.zeros(1, x.dtype), x])[places]

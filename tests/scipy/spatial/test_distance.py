"""Distances against SciPy and differences."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.spatial import distance

import pullback as pb
from pullback.errors import ArgumentError, UnsupportedError

own = pb.scipy.spatial.distance
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(4, 3)), RNG.normal(size=(2, 3))
OPTIONS = {"seuclidean": {"V": np.arange(1.0, 4)}, "mahalanobis": {"VI": 2 * np.eye(3)}}


@pytest.mark.parametrize("metric", own.METRICS)
def test_metrics(metric: str) -> None:
    options = OPTIONS.get(metric, {})
    expected = distance.cdist(X, Y, metric, **options)
    assert_allclose(own.cdist(X, Y, metric, **options), expected)
    assert_allclose(own.pdist(X, metric, **options), distance.pdist(X, metric, **options))
    pb.check_grads(lambda x, y: own.cdist(x, y, metric, **options), (X, Y))


def test_points_at_no_distance_and_own_metrics() -> None:
    assert np.all(np.isfinite(pb.grad(lambda x: np.sum(own.cdist(x, x)))(X)))
    own_metric = own.cdist(X, Y, lambda a, b: np.sum(np.abs(a - b)))
    assert_allclose(own_metric, distance.cdist(X, Y, "cityblock"))
    pairs = distance.pdist(X)
    assert_allclose(own.squareform(pairs), distance.squareform(pairs))
    assert_allclose(own.squareform(own.squareform(pairs)), pairs)
    pb.check_grads(own.squareform, (pairs,))


def test_refusals() -> None:
    with pytest.raises(UnsupportedError, match="metric='jaccard'"):
        own.cdist(X, Y, "jaccard")
    with pytest.raises(ArgumentError, match="missing: V"):
        own.pdist(X, "seuclidean")
    with pytest.raises(ArgumentError, match="as many coordinates"):
        own.cdist(X, Y[:, :2])

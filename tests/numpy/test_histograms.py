"""Histograms against NumPy's: the same counts, and derivatives of what moves smoothly."""

import numpy as np
import pytest
from tests.numpy.oracle import check, check_values

import pullback as pb

# No point is near an edge, where counts jump and have no derivative.
X = np.array([1.91, 0.63, -0.07, -2.68, 1.19, 2.94, 2.98])
Y = np.array([-1.25, -1.44, -1.6, 0.55, -2.28, -1.74, -0.11])
W = np.array([0.5, 1.5, 1.0, 0.7, 1.2, 0.9, 1.1])
EDGES = np.array([-1.0, -0.2, 0.5, 2.0])


@pytest.mark.parametrize("bins", [1, 7, EDGES], ids=str)
@pytest.mark.parametrize("range_", [None, (-1.0, 1.5)], ids=str)
def test_counts_are_numpys(bins: object, range_: object) -> None:
    check(lambda x: np.histogram(x, bins, range_), X, staged=bins is not EDGES)
    check(lambda x: np.histogram(x, bins, range_, density=True), X, staged=bins is not EDGES)
    check(lambda w: np.histogram(X, bins, range_, weights=w), W)
    check(lambda w: np.histogram(X, bins, range_, weights=w, density=True), W)
    check(lambda x: np.histogram_bin_edges(x, bins, range_), X, staged=bins is not EDGES)


@pytest.mark.parametrize("rule", ["auto", "fd", "sturges", "scott"])
def test_rules_for_the_number_of_bins(rule: str) -> None:
    check(lambda x: np.histogram(x, rule), X, staged=False)
    check(lambda x: np.histogram_bin_edges(x, rule), X, staged=False)


def test_points_on_edges_and_outside() -> None:
    x = np.array([-2.0, -1.0, -0.2, 0.5, 2.0, 2.5, np.nan])
    check_values(lambda x: np.histogram(x, EDGES), x, staged=False)
    check_values(lambda x: np.histogram(x, 4, (-1, 2)), np.repeat([0.5, -1, 2], 3))
    check_values(lambda x: np.histogram(x), np.full(3, 2.0))
    check_values(lambda x: np.histogram(x, 3), np.arange(7))


def test_edges_may_be_traced() -> None:
    check(lambda e: np.histogram(X, e, density=True), EDGES, staged=False)


def test_two_and_more_dimensions() -> None:
    check(lambda x, y: np.histogram2d(x, y, 4), X, Y)
    check(lambda x, y: np.histogram2d(x, y, [4, 3], density=True), X, Y)
    check(lambda w: np.histogram2d(X, Y, [EDGES, 3], weights=w), W)
    check(lambda w: np.histogram2d(X, Y, EDGES, [[-1, 1], [-1, 1]], weights=w), W)
    sample = np.stack([X, Y, W], 1)
    check(lambda s: np.histogramdd(s, 3), sample)
    check(lambda s: np.histogramdd(s, (2, 3, 1), density=True), sample)
    check(lambda w: np.histogramdd(sample, 2, [(-1, 1)] * 3, weights=w), W)
    check(lambda x, y: np.histogramdd([x, y], 3), X, Y)


def test_compiled_with_traced_weights() -> None:
    def loss(w: np.ndarray) -> np.ndarray:
        return np.sum(np.histogram(X, 5, weights=w)[0] ** 2)

    np.testing.assert_allclose(pb.compile(pb.grad(loss))(W), pb.grad(loss)(W))


@pytest.mark.parametrize(
    "call",
    [
        lambda x: np.histogram(x, 0),
        lambda x: np.histogram(x, EDGES[::-1]),
        lambda x: np.histogram(x, np.ones((2, 2))),
        lambda x: np.histogram(x, 3, (2, 1)),
        lambda x: np.histogram(x, weights=W[1:]),
        lambda x: np.histogram(x, "auto", weights=W),
        lambda x: np.histogramdd(np.stack([x, x], 1), (1, 2, 3)),
        lambda x: np.histogramdd(np.stack([x, x], 1), range=[(0, 1)]),
        lambda x: np.histogram2d(x, x[1:]),
    ],
)
def test_what_numpy_refuses_is_refused_in_the_same_words(call: object) -> None:
    with pytest.raises((ValueError, TypeError)) as theirs:
        call(X)
    with pytest.raises(theirs.type) as ours:
        pb.vjp(call, X)
    assert str(theirs.value)[:30] in str(ours.value)

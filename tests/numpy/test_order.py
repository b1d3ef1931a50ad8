"""Choosing, sorting, searching and interpolating against NumPy."""

import itertools

import numpy as np
import pytest
from tests.numpy.oracle import check, check_slopes, check_values

import pullback as pb
import pullback.numpy as pnp
from pullback.core.types import type_of
from pullback.errors import StagingError
from pullback.transforms.stage import stage

RNG = np.random.default_rng(5)
X = RNG.normal(size=(3, 5))
Y = RNG.normal(size=(5,))
GRID = np.array([-2.0, -0.9, 0.1, 0.8, 2.2])
INTEGERS = np.array([[0, 2, 1, 4, 2], [1, 1, 0, 0, 3], [4, 3, 2, 1, 0]])

CASES = {
    "where": lambda x, y: np.where(x > 0, x, y),
    "where scalar": lambda x, y: np.where(x > y, x, 0),
    "select": lambda x, y: np.select([x > 1, x > 0], [x**2, x * y], default=-1.0),
    "select no default": lambda x, y: np.select([x > y], [y]),
    "choose": lambda x, y: np.choose(INTEGERS % 3, [x, y, 2 * x]),
    "choose clip": lambda x, y: np.choose(INTEGERS, [x, y], mode="clip"),
    "choose wrap": lambda x, y: np.choose(INTEGERS, [x, y], mode="wrap"),
    "take": lambda x, y: np.take(x, [0, -1, 7]),
    "take axis": lambda x, y: np.take(x, INTEGERS[:2, :2], axis=1),
    "take scalar": lambda x, y: x.take(2, axis=0),
    "take clip": lambda x, y: np.take(y, [9, -9, 1], mode="clip"),
    "take wrap": lambda x, y: np.take(x, [9, -9, 1], axis=1, mode="wrap"),
    "take_along_axis": lambda x, y: np.take_along_axis(x, INTEGERS, axis=1),
    "take_along_axis flat": lambda x, y: np.take_along_axis(y, np.array([1, 1]), axis=None),
    "compress": lambda x, y: np.compress([True, False, True], x, axis=0),
    "compress method": lambda x, y: x.compress([False, True], 1),
    "extract": lambda x, y: np.extract(INTEGERS > 1, x),
    "sort": lambda x, y: np.sort(x),
    "sort axis": lambda x, y: np.sort(x, axis=0),
    "sort flat": lambda x, y: np.sort(x, axis=None),
    "partition": lambda x, y: np.partition(y, 2)[2],
    "argsort then take": lambda x, y: np.take_along_axis(x, np.argsort(x, axis=1), axis=1),
    "argpartition": lambda x, y: y[np.argpartition(y, 2)[2]],
    "interp": lambda x, y: np.interp(x, GRID, y),
    "interp in xp": lambda x, y: np.interp([0.3, -0.4], np.sort(y), x[0]),
    "interp ends": lambda x, y: np.interp(3 * x, GRID, y, left=-1.0, right=5.0),
    "interp period": lambda x, y: np.interp(2.7 * x, GRID, y, period=4.5),
    "bincount": lambda x, y: np.bincount([0, 3, 3, 1, 0], weights=y, minlength=6),
    "quantile": lambda x, y: np.quantile(x, 0.3),
    "quantiles": lambda x, y: np.quantile(x, [0.1, 0.5, 1.0], axis=1),
    "quantile keepdims": lambda x, y: np.quantile(x, [0.1, 0.5], axis=0, keepdims=True),
    "percentile": lambda x, y: np.percentile(x, 70, axis=0),
    "median": lambda x, y: np.median(x, axis=1),
    "median even": lambda x, y: np.median(x[:, :4]),
    "nanquantile": lambda x, y: np.nanquantile(
        np.where(INTEGERS == 1, np.nan, x), [0.2, 0.9], axis=1
    ),
    "nanpercentile": lambda x, y: np.nanpercentile(np.where(INTEGERS == 1, np.nan, x), 40),
}


@pytest.mark.parametrize("name", CASES)
def test_choosing_and_sorting(name: str) -> None:
    check(CASES[name], X, Y)


@pytest.mark.parametrize(
    "method",
    [
        "lower",
        "higher",
        "nearest",
        "midpoint",
        "linear",
        "weibull",
        "hazen",
        "median_unbiased",
        "normal_unbiased",
        "interpolated_inverted_cdf",
    ],
)
@pytest.mark.parametrize("n", [4, 5])
def test_definitions_of_a_quantile(method: str, n: int) -> None:
    check(lambda x: np.quantile(x, [0.0, 0.11, 0.37, 0.63, 0.99], axis=1, method=method), X[:, :n])


EAGER = {
    "unique": lambda x: np.unique(np.round(x)),
    "unique axis": lambda x: np.unique(np.concatenate([x, x]), axis=0),
    "unique_values": lambda x: np.unique_values(np.concatenate([x, x])),
    "extract": lambda x: np.extract(x > 0, x),
    "compress": lambda x: np.compress(x[0] > 0, x, axis=1),
    "piecewise": lambda x: np.piecewise(x, [x < 0, x > 1], [lambda v: v**2, 3.0, np.exp]),
    "piecewise scalar": lambda x: np.piecewise(x[0, 0], [x[0, 0] < 0], [np.exp, np.sin]),
    "nonzero": lambda x: x[np.nonzero(x > 0)],
    "where": lambda x: x[np.where(x > 0)],
    "flatnonzero": lambda x: np.ravel(x)[np.flatnonzero(x > 0)],
}


@pytest.mark.parametrize("name", EAGER)
def test_what_depends_on_values_works_on_values(name: str) -> None:
    check(EAGER[name], X, staged=False)


@pytest.mark.parametrize("name", EAGER)
def test_what_depends_on_values_is_refused_by_shapes_alone(name: str) -> None:
    with pytest.raises(StagingError):
        stage(lambda x: [EAGER[name](x)], [type_of(X)])


ANSWERS = {
    "argsort": lambda x: np.argsort(x, axis=0),
    "argsort method": lambda x: x.argsort(),
    "searchsorted": lambda x: np.searchsorted(GRID, x),
    "searchsorted right": lambda x: np.searchsorted(np.sort(x[0]), x, side="right"),
    "searchsorted method": lambda x: np.sort(x[0]).searchsorted(0.5),
    "sorter": lambda x: np.searchsorted(x[0], 0.1, sorter=np.argsort(x[0])),
    "digitize": lambda x: np.digitize(x, GRID),
    "digitize right": lambda x: np.digitize(x, GRID, right=True),
    "digitize down": lambda x: np.digitize(x, GRID[::-1]),
    "digitize down right": lambda x: np.digitize(np.concatenate([x[0], GRID]), GRID[::-1], True),
    "isclose": lambda x: np.isclose(x, np.round(x, 1), atol=0.03),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_positions(name: str) -> None:
    check_values(ANSWERS[name], X)


def test_questions_about_values() -> None:
    def ask(x: object) -> object:
        answers.append(
            (
                np.allclose(x, X),
                np.array_equal(x, X),
                np.array_equiv(x, X[:1]),
                np.argwhere(x > 1).tolist(),
                np.isin(np.round(x), [1, 0]).tolist(),
                np.lexsort((x[0], x[1])).tolist(),
                [i.tolist() for i in x.nonzero()],
            )
        )
        return np.sum(x)

    answers: list = []
    pb.grad(ask)(X)
    ask(X)
    assert answers[0] == answers[1]


def test_sorting_in_place() -> None:
    def program(x: np.ndarray) -> np.ndarray:
        y = x * 1.0
        y[0].sort()
        y.T[1:].sort()
        y[1].partition(1)
        return np.concatenate([y[:1], np.sort(y[1:])])

    check(program, X)


def test_a_median_of_no_rows():
    check_values(lambda x: np.median(x, axis=1), np.zeros((0, 3)))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("median", [np.median, np.nanmedian])
def test_a_median_of_no_elements(median):
    check_values(lambda x: median(x, axis=1), np.zeros((3, 0)))


def test_nan_wins_a_median() -> None:
    x = np.where(INTEGERS == 4, np.nan, X)
    check_values(lambda x: np.median(x, axis=1), x)
    check_values(lambda x: np.sort(x, axis=1), x)


@pytest.mark.parametrize("n", [1, 2, 3, 4])
@pytest.mark.parametrize(
    "f",
    [
        lambda x: np.median(x, axis=0),
        lambda x: np.nanmedian(x, axis=0),
        lambda x: np.nanquantile(x, 0.3, axis=0),
        lambda x: np.percentile(x, [0, 25, 50, 75, 100], axis=0),
        *(
            lambda x, method=method: np.quantile(x, [0.0, 0.4, 0.5, 1.0], axis=0, method=method)
            for method in ("lower", "nearest", "midpoint", "hazen")
        ),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_infinities_and_nan_in_the_middle(f, n: int) -> None:
    """All columns of ``n`` numbers, of which NumPy makes numbers, infinities and NaN."""
    columns = itertools.product([-np.inf, 1.0, 2.0, np.inf, np.nan], repeat=n)
    x = np.array(list(columns)).T
    expected = f(x)
    for result in (pb.vjp(f, x)[0], pb.compile(f)(x)):
        np.testing.assert_array_equal(result, expected)


def test_quantiles_that_jump_and_quantiles_with_weights() -> None:
    x = np.array([0.3, 2.1, -0.7, 1.4, 0.9, 3.3])
    weights = np.array([1.0, 0.0, 2.0, 0.5, 1.5, 1.0])
    for q in (0.0, 0.25, 0.5, 2 / 3, 1.0):
        for method in ("inverted_cdf", "averaged_inverted_cdf", "closest_observation"):
            check_values(lambda x, q=q, m=method: np.quantile(x, q, method=m), x)
        check_values(lambda x, q=q: np.quantile(x, q, weights=weights, method="inverted_cdf"), x)
    grid = np.stack([x, x[::-1]])
    check_values(
        lambda x: np.quantile(x, [0.2, 0.6], axis=1, weights=weights, method="inverted_cdf"), grid
    )


def test_what_numpy_refuses_is_refused() -> None:
    with pytest.raises(ValueError, match="supports weights"):
        pb.grad(lambda x: np.quantile(x, 0.5, weights=np.ones(5)))(Y)
    with pytest.raises(TypeError, match="Axis must be specified"):
        pb.vjp(
            lambda x: np.quantile(x, 0.5, weights=np.ones(3), method="inverted_cdf"),
            np.ones((2, 3)),
        )
    with pytest.raises(ValueError, match="consistent with shape"):
        pb.vjp(
            lambda x: np.quantile(x, 0.5, axis=1, weights=np.ones(2), method="inverted_cdf"),
            np.ones((2, 3)),
        )
    with pytest.raises(ValueError, match="side must be"):
        pb.grad(lambda x: np.sum(x[np.searchsorted(x, 0.0, side="top")]))(Y)


SINGLE = np.float32([1, 2, 5])
DTYPES = {
    "quantile of a number": lambda x: np.quantile(x, 0.3),
    "quantile of a list": lambda x: np.quantile(x, [0.1, 0.5]),
    "nanquantile": lambda x: np.nanquantile(x, 0.3),
    "interp": lambda x: np.interp(x, SINGLE, SINGLE),
    "interp of single": lambda x: np.interp(np.float32(1.5), SINGLE, x),
    "bincount": lambda x: np.bincount([0, 1, 1], weights=x),
    "median": np.median,
    "histogram_bin_edges": np.histogram_bin_edges,
}


@pytest.mark.parametrize("name", DTYPES)
def test_dtypes_are_those_of_numpy(name: str) -> None:
    f = DTYPES[name]
    assert pb.vjp(f, SINGLE)[0].dtype == f(SINGLE).dtype
    np.testing.assert_allclose(pb.vjp(f, SINGLE)[0], f(SINGLE), rtol=1e-6)
    if "bin" not in name:
        assert pb.compile(f)(SINGLE).dtype == f(SINGLE).dtype


@pytest.mark.parametrize(
    ("f", "words"),
    [
        (lambda x: np.quantile(x, 2.0), r"range \[0, 1\]"),
        (lambda x: np.quantile(x, [0.5, np.nan]), r"range \[0, 1\]"),
        (lambda x: np.percentile(x, 150), r"range \[0, 100\]"),
        (lambda x: np.nanpercentile(x, -1), r"range \[0, 100\]"),
        (lambda x: np.interp(0.5, x, [1.0, 2.0, 3.0, 4.0]), "same length"),
        (lambda x: np.interp(0.5, x[:0], x[:0]), "empty"),
        (lambda x: np.interp(0.5, x[None], x[None]), "1-D"),
        (lambda x: np.bincount([0, 1], weights=x), "length"),
        (lambda x: np.bincount([0, -1, 1], weights=x), "negative"),
        (lambda x: np.histogram_bin_edges(x, 0), "positive"),
        (lambda x: np.histogram_bin_edges(x, 3, (2, 1)), "larger"),
        (lambda x: np.histogram_bin_edges(x, x[::-1]), "monotonically"),
    ],
)
def test_what_numpy_refuses(f, words: str) -> None:
    x = np.array([1.0, 2.0, 3.0])
    with pytest.raises(ValueError):  # noqa: PT011 (NumPy's own words)
        f(x)
    with pytest.raises(ValueError, match=words):
        pb.vjp(f, x)


REPEATED = np.array([2.0, 1.0, 2.0, 5.0, 1.0])
VALUES_OF = {
    "unique": np.unique,
    "unique_values": np.unique_values,
    "unique_counts": lambda x: np.unique_counts(x).values,
    "unique_inverse": lambda x: np.unique_inverse(x).values,
    "unique_all": lambda x: np.unique_all(x).values,
}


@pytest.mark.parametrize("name", VALUES_OF)
def test_unique_values_have_derivatives(name: str) -> None:
    f = VALUES_OF[name]
    value, pull = pb.vjp(f, REPEATED)
    np.testing.assert_array_equal(value, f(REPEATED))
    weights = np.array([1.0, 10.0, 100.0])[np.argsort(np.argsort(value))]
    np.testing.assert_array_equal(pull(weights)[0], [10, 1, 0, 100, 0])
    x = np.array([3.0, 1.0, 2.0])
    check_slopes(lambda x: f(x) * np.arange(1.0, 4), x)
    if name in ("unique_counts", "unique_inverse", "unique_all"):
        rest, expected = (getattr(np, name)(v) for v in (pnp.array(REPEATED), REPEATED))
        for part, right in zip(rest, expected, strict=True):
            np.testing.assert_array_equal(part, right)


@pytest.mark.parametrize("bins", [3, 1, "auto", "sturges", [1.0, 2.0, 4.0]], ids=str)
@pytest.mark.parametrize("range", [None, (0.5, 6.0)], ids=str)
def test_edges_of_bins_follow_the_extremes(bins, range) -> None:
    x = np.array([1.0, 2.0, 5.0, 3.0])
    f = lambda x: np.histogram_bin_edges(x, bins, range)
    np.testing.assert_allclose(pb.vjp(f, x)[0], f(x), rtol=1e-15)
    check_slopes(f, x)
    assert (
        pb.grad(lambda x: f(x).sum())(x)[2]
        == (range is None and isinstance(bins, (int, str))) * len(f(x)) / 2
    )


def test_edges_of_bins_follow_their_range_and_themselves() -> None:
    x = np.array([1.0, 2.0, 5.0])
    check_slopes(lambda low, high: np.histogram_bin_edges(x, 4, (low, high)), 0.5, 7.0)
    check_slopes(lambda bins: np.histogram_bin_edges(x, bins), np.array([1.0, 2.0, 4.0]))
    equal = lambda x: np.histogram_bin_edges(x, 2)
    np.testing.assert_array_equal(pb.vjp(equal, np.ones(2))[0], equal(np.ones(2)))
    np.testing.assert_array_equal(pb.vjp(equal, np.ones(0))[0], equal(np.ones(0)))


@pytest.mark.parametrize("run", [lambda f: f, pb.compile], ids=["eager", "compiled"])
def test_ties_share_equally(run) -> None:
    """The mean over all orders of the tied elements, found by trying them: sorts break ties."""
    x = np.array([1.0, 1.0, 2.0, 1.0, 2.0, 0.0])
    weights = np.array([3.0, 10.0, -4.0, 7.0, 0.5, 2.0])
    n = len(x)
    for f in (
        lambda x: np.sum(weights * np.sort(x)),
        np.median,
        lambda x: np.quantile(x, 0.3),
        lambda x: np.partition(x, 3)[3],
        np.max,
        np.min,
    ):
        total = np.zeros(n)
        orders = list(itertools.permutations(np.arange(n)))
        for order in orders[::7]:  # ties are broken by tiny steps of all sizes
            nudged = x + 1e-6 * np.array(order)
            total += pb.grad(f)(nudged)
        np.testing.assert_allclose(run(pb.grad(f))(x), total / len(orders[::7]), atol=0.35)
        shares = run(pb.grad(f))(x)
        assert shares[0] == shares[1] == shares[3]
        assert shares[2] == shares[4]
        assert shares.sum() == pytest.approx(pb.jvp(f, (x,), (np.ones(n),))[1])
        assert shares.sum() == pytest.approx((f(x + 1) - f(x)) if f is not None else 0)
    np.testing.assert_allclose(
        pb.grad(np.median)(np.array([1.0, 1.0, 1.0, 2.0])), [1 / 3] * 3 + [0]
    )
    np.testing.assert_array_equal(
        pb.grad(np.median)(np.array([1.0, 2.0, 2.0, 3.0])), [0, 0.5, 0.5, 0]
    )


def test_ties_share_along_an_axis_and_twice() -> None:
    x = np.array([[1.0, 1.0, 0.0], [2.0, 2.0, 2.0]])
    weights = np.arange(6.0).reshape(2, 3)
    gradient = pb.grad(lambda x: np.sum(weights * np.sort(x, axis=1)))(x)
    np.testing.assert_allclose(gradient, [[1.5, 1.5, 0], [4, 4, 4]])
    columns = pb.grad(lambda x: np.sum(weights.T * np.sort(x, axis=0)))(x.T)
    np.testing.assert_allclose(columns, gradient.T)
    twice = pb.hessian(lambda x: np.sum(np.sort(x) ** 2))(np.array([1.0, 1.0, 3.0]))
    np.testing.assert_allclose(twice[2], [0, 0, 2])


REFUSED = {
    "partition": (ValueError, lambda x: np.partition(x, 9)),
    "partition of all": (ValueError, lambda x: np.partition(x, 15, axis=None)),
    "partition at two places": (ValueError, lambda x: np.partition(x, (1, -6), axis=1)),
    "partition in place": (ValueError, lambda x: x.copy().partition(7)),
    "argpartition": (ValueError, lambda x: np.argpartition(x, 3, axis=0)),
    "select": (TypeError, lambda x: np.select([x], [x])),
    "select a second": (TypeError, lambda x: np.select([x > 0, x.astype(int)], [x, x])),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("wrap", [pb.vjp, lambda f, x: pb.compile(f)(x)])
def test_what_numpy_refuses_is_refused_as_it_does(wrap, name: str) -> None:
    kind, function = REFUSED[name]
    with pytest.raises(kind) as numpys:
        function(X)
    with pytest.raises(kind) as ours:
        wrap(function, X)
    assert str(numpys.value)[:12] in str(ours.value)
    assert "test_order.py" in str(ours.value)


@pytest.mark.parametrize("wrap", [lambda f: lambda x: pb.vjp(f, x)[0], pb.compile])
def test_choose_lies_in_memory_as_numpys(wrap) -> None:
    def write_first_two(x):
        y = np.choose((x.T > 0).astype(int), [x.T * 1.0, x.T * 2.0])
        y.ravel()[:2] = 100.0
        return y

    np.testing.assert_array_equal(wrap(write_first_two)(X), write_first_two(X))

"""Folds against NumPy: values in every mode, slopes against differences."""

import fractions
import functools
import itertools
import math
import warnings

import numpy as np
import pytest
from tests.numpy.oracle import check, check_slopes, check_values

import pullback as pb
import pullback.numpy as pnp

RNG = np.random.default_rng(1)
X = RNG.normal(size=(3, 4))
CUBE = RNG.normal(size=(2, 3, 4))
MASK = np.array([[True, False, True, True], [False, True, True, False], [True, True, True, True]])
HOLES = np.where(MASK, X, np.nan)
WHOLE = RNG.integers(-4, 5, (3, 4))

FOLDS = {
    "sum": np.sum,
    "prod": np.prod,
    "max": np.max,
    "min": np.min,
    "mean": np.mean,
    "var": np.var,
    "std": np.std,
    "ptp": np.ptp,
    "median": np.median,
}


@pytest.mark.parametrize("name", FOLDS)
@pytest.mark.parametrize(
    "options",
    [{}, {"axis": 0}, {"axis": -1}, {"axis": 1, "keepdims": True}, {"keepdims": True}],
    ids=str,
)
def test_folds(name: str, options: dict) -> None:
    check(lambda x: FOLDS[name](x, **options), X)


@pytest.mark.parametrize("name", FOLDS)
def test_folds_over_several_axes(name: str) -> None:
    check(lambda x: FOLDS[name](x, axis=(0, 2)), CUBE)


@pytest.mark.parametrize("name", FOLDS)
def test_folds_of_integers(name: str) -> None:
    check_values(lambda x: FOLDS[name](x, axis=1), WHOLE)


@pytest.mark.parametrize("name", ["sum", "prod", "mean", "var", "std", "max", "min"])
def test_folds_of_single_precision_stay_there(name: str) -> None:
    check_values(lambda x: FOLDS[name](x, axis=1), np.float32([[1, 2, 3], [4, 8, 6]]))


CASES = {
    "sum where": lambda x: np.sum(x, axis=1, where=MASK),
    "sum initial": lambda x: np.sum(x, axis=0, initial=2.5),
    "sum method": lambda x: x.sum(1, keepdims=True),
    "prod where": lambda x: np.prod(x, axis=1, where=MASK),
    "prod initial": lambda x: np.prod(x, axis=0, initial=2.5),
    "mean where": lambda x: np.mean(x, axis=0, where=MASK),
    "mean where keepdims": lambda x: np.mean(x, axis=1, where=MASK, keepdims=True),
    "var ddof": lambda x: np.var(x, axis=0, ddof=1),
    "var where": lambda x: np.var(x, axis=1, where=MASK, ddof=1),
    "var correction": lambda x: np.var(x, axis=0, correction=1),
    "var mean": lambda x: np.var(x, axis=0, mean=np.mean(x, axis=0, keepdims=True)),
    "std ddof": lambda x: np.std(x, axis=1, ddof=1, keepdims=True),
    "max initial": lambda x: np.max(x, axis=0, initial=0.1),
    "min where": lambda x: np.min(x, axis=0, initial=9.0, where=MASK),
    "max of nothing": lambda x: np.max(x[:0], axis=0, initial=0.5) + x[0],
    "average": lambda x: np.average(x, axis=0),
    "average weights": lambda x: np.average(x, axis=1, weights=np.exp(x[0])),
    "cumsum": lambda x: np.cumsum(x),
    "cumsum axis": lambda x: np.cumsum(x, axis=1),
    "cumsum method": lambda x: x.cumsum(0),
    "cumprod": lambda x: np.cumprod(x),
    "cumprod axis": lambda x: np.cumprod(x, axis=0),
    "cumulative_sum": lambda x: np.cumulative_sum(x, axis=1, include_initial=True),
    "cumulative_prod": lambda x: np.cumulative_prod(x, axis=0),
    "maximum.accumulate": lambda x: np.maximum.accumulate(x, axis=1),
    "minimum.accumulate": lambda x: np.minimum.accumulate(x),
    "add.reduce": lambda x: np.add.reduce(x),
    "multiply.reduce": lambda x: np.multiply.reduce(x, axis=1, keepdims=True),
    "maximum.reduce": lambda x: np.maximum.reduce(x, axis=None),
    "logaddexp.reduce": lambda x: np.logaddexp.reduce(x, axis=1),
    "multiply.outer": lambda x: np.multiply.outer(x[0], x),
    "subtract.outer": lambda x: np.subtract.outer(x[0], [1.0, 2.0]),
    "trapezoid": lambda x: np.trapezoid(x, dx=0.5, axis=0),
    "trapezoid x": lambda x: np.trapezoid(x, np.cumsum(np.exp(x[0]))),
    "diff": lambda x: np.diff(x, n=2, axis=0),
    "gradient": lambda x: np.gradient(x),
    "gradient spacing": lambda x: np.gradient(x, 0.5, axis=1, edge_order=2),
    "cov": lambda x: np.cov(x),
    "cov weights": lambda x: np.cov(x, rowvar=False, aweights=[1.0, 2.0, 3.0], ddof=0),
    "corrcoef": lambda x: np.corrcoef(x),
    "unwrap": lambda x: np.unwrap(3 * x),
}


@pytest.mark.parametrize("name", CASES)
def test_options(name: str) -> None:
    check(CASES[name], X, staged=name not in ("unwrap", "average weights"))


@pytest.mark.parametrize(
    "fold",
    [
        np.nansum,
        np.nanprod,
        np.nanmean,
        np.nanvar,
        np.nanstd,
        np.nanmax,
        np.nanmin,
        np.nanmedian,
        np.nancumsum,
        np.nancumprod,
    ],
    ids=lambda f: f.__name__,
)
@pytest.mark.parametrize("axis", [None, 0, 1])
def test_folds_that_skip_nan(fold: object, axis: int | None) -> None:
    check(lambda x: fold(np.where(MASK, x, np.nan), axis=axis), X)


def test_a_fold_of_nothing_but_nan_is_nan() -> None:
    found = pb.vjp(
        lambda x: np.nanmax(x * np.array([[np.nan, np.nan], [1.0, 2.0]]), axis=1), np.ones((2, 2))
    )[0]
    np.testing.assert_array_equal(found, [np.nan, 2.0])


INTEGERS = {
    "argmax": lambda x: np.argmax(x),
    "argmax axis": lambda x: np.argmax(x, axis=0),
    "argmax keepdims": lambda x: np.argmax(x, axis=1, keepdims=True),
    "argmax method": lambda x: x.argmax(1),
    "argmin": lambda x: np.argmin(x),
    "argmin keepdims": lambda x: np.argmin(x, keepdims=True),
    "any": lambda x: np.any(x > 1),
    "any axis": lambda x: np.any(x > 1, axis=1),
    "all": lambda x: np.all(x < 1, axis=0, keepdims=True),
    "all method": lambda x: (x < 9).all(),
    "count_nonzero": lambda x: np.count_nonzero(x > 0, axis=0),
    "logical_or.reduce": lambda x: np.logical_or.reduce(x > 1),
    "logical_and.reduce": lambda x: np.logical_and.reduce(x < 1, axis=1),
    "any of nothing": lambda x: np.any(x[:0] > 1, axis=0),
    "all of nothing": lambda x: np.all(x[:0] > 1, axis=0),
}


@pytest.mark.parametrize("name", INTEGERS)
def test_folds_without_derivative(name: str) -> None:
    check_values(INTEGERS[name], X)


def test_a_sum_in_another_type() -> None:
    check_values(lambda x: np.sum(x, axis=0, dtype=np.float32), X)
    assert pb.grad(lambda x: np.sum(x, dtype=np.float32))(X).dtype == np.float64


def test_nan_positions() -> None:
    check_values(lambda x: np.nanargmax(x, axis=1), HOLES)
    check_values(lambda x: np.argmax(x, axis=1), HOLES)
    check_values(lambda x: np.max(x, axis=1), HOLES)


@pytest.mark.parametrize("zeros", [1, 2, 3])
def test_products_of_zeros_have_the_right_derivatives(zeros: int) -> None:
    x = np.array([2.0, 3.0, 5.0, 7.0])
    x[:zeros] = 0
    check_slopes(np.prod, x)
    check_slopes(np.cumprod, x)
    check_slopes(pb.grad(np.prod), x)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("fold", [np.cumprod, np.cumsum])
@pytest.mark.parametrize("axis", [0, 1])
def test_running_folds_go_in_order(fold: object, axis: int) -> None:
    """Overflow, underflow, NaN and the signs of zeros come where NumPy has them."""
    numbers = [0.0, -0.0, -2.0, 1e200, 1e-200, np.inf, -np.inf, np.nan]
    rows = np.array(list(itertools.product(numbers, repeat=4)))
    x = rows if axis else rows.T
    expected = fold(x, axis=axis)
    f = functools.partial(fold, axis=axis)
    for y in (pb.vjp(f, x)[0], pb.compile(f)(x)):
        np.testing.assert_array_equal(y, expected)
        number = ~np.isnan(y)
        np.testing.assert_array_equal(np.signbit(y)[number], np.signbit(expected)[number])


def test_logsumexp_does_not_overflow() -> None:
    value, weights = pb.value_and_grad(lambda x: pnp.logsumexp(x))(np.array([1000.0, 1000.0]))
    assert value == pytest.approx(1000 + np.log(2), rel=1e-15)
    np.testing.assert_allclose(weights, [0.5, 0.5])


def test_ties_share_the_derivative() -> None:
    x = np.array([1.0, 3.0, 3.0, 3.0])
    np.testing.assert_allclose(pb.grad(np.max)(x), [0, 1 / 3, 1 / 3, 1 / 3])


def test_axis_errors_are_those_of_numpy() -> None:
    with pytest.raises(np.exceptions.AxisError, match="axis 2 is out of bounds"):
        pb.grad(lambda x: np.sum(np.max(x, axis=2)))(X)
    with pytest.raises(ValueError, match="duplicate"):
        pb.grad(lambda x: np.sum(np.max(x, axis=(0, 0))))(X)
    with pytest.raises(ValueError, match="initial"):
        pb.grad(lambda x: np.max(x, where=MASK))(X)


OF_A_NUMBER = [
    *(np.sum, np.prod, np.max, np.min, np.ptp, np.any, np.all, np.count_nonzero),
    *(np.argmax, np.argmin, np.cumsum, np.cumprod, np.cumulative_sum, np.cumulative_prod),
    *(np.nansum, np.nanprod, np.nanmax, np.nanmin, np.nanmean, np.nanvar, np.nanstd),
    *(np.nanargmax, np.nanargmin, np.nancumsum, np.nancumprod),
    *(np.add.reduce, np.maximum.reduce, np.logaddexp.reduce, np.argsort, np.squeeze),
    lambda x, axis: np.take(x, 0, axis=axis),
    lambda x, axis: np.compress([True], x, axis=axis),
    lambda x, axis: np.sum(x, axis=axis, keepdims=True),
    lambda x, axis: np.argmax(x, axis=axis, keepdims=True),
    lambda x, axis: np.max(x, axis=axis, initial=3.0),
    lambda x, axis: np.mean(x, axis=axis, where=x > 0),
]


@pytest.mark.parametrize("axis", [0, -1])
@pytest.mark.parametrize("fold", OF_A_NUMBER)
def test_folds_of_a_number_have_its_axis(fold: object, axis: int) -> None:
    """NumPy takes a number for a row of one."""
    x = np.array(2.5)
    check_values(lambda x: fold(x, axis=axis), x)
    result = pb.compile(lambda x: fold(x, axis=axis))(x)
    assert np.shape(result) == np.shape(fold(x, axis=axis))
    assert result == fold(x, axis=axis)
    if result.dtype.kind == "f" and fold is not np.nanstd:  # which has a kink there
        check_slopes(lambda x: fold(x, axis=axis), x)


@pytest.mark.parametrize(
    ("fold", "axis"),
    [
        *itertools.product([np.mean, np.var, np.std, np.median, np.sort], [0, -1, 1]),
        *itertools.product([np.sum, np.cumsum, np.argmax], [1, -2]),
        *itertools.product([np.add.accumulate], [0, -1]),
    ],
)
def test_what_numpy_refuses_of_a_number(fold: object, axis: int) -> None:
    with pytest.raises((np.exceptions.AxisError, TypeError)) as expected:
        fold(np.array(2.5), axis=axis)
    with pytest.raises(type(expected.value)):
        pb.vjp(lambda x: fold(x, axis=axis), np.array(2.5))


@pytest.mark.parametrize("run", [lambda f: f, pb.compile], ids=["eager", "compiled"])
def test_deviations_of_what_does_not_deviate(run: object) -> None:
    for fold in (np.std, np.nanstd, lambda x: np.std(x, where=np.ones(x.shape, bool))):
        gradient = run(pb.grad(fold))
        for x in (np.array([3.0]), np.array([2.0, 2.0, 2.0])):
            np.testing.assert_array_equal(gradient(x), 0 * x)
            assert pb.jvp(fold, (x,), (np.ones_like(x),))[1] == 0
    assert run(pb.hessian(np.std))(np.array([3.0])) == 0
    assert run(pb.hessian(np.var))(np.array([3.0])) == 0
    np.testing.assert_allclose(
        run(pb.hessian(np.var))(np.full(3, 2.0)), 2 / 3 * (np.eye(3) - 1 / 3), atol=1e-15
    )


@pytest.mark.parametrize("fold", [np.var, np.std, np.mean])
def test_statistics_of_nothing(fold: object) -> None:
    x = np.ones(3)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        value, pull = pb.vjp(lambda x: fold(x[:0]), x)
        assert np.isnan(value)
        np.testing.assert_array_equal(pull(1.0)[0], 0 * x)
        if fold is not np.mean:
            assert np.isnan(pb.vjp(lambda x: fold(x[:1], ddof=1), x)[0])
        assert np.isinf(pb.vjp(lambda x: np.var(x * [1, 2, 3], ddof=5), x)[0])
        assert np.isinf(np.var(x * [1, 2, 3], ddof=5))


@pytest.mark.parametrize("offset", [0.0, 1e4, 1e8])
@pytest.mark.parametrize("run", [lambda f: f, pb.compile], ids=["eager", "compiled"])
def test_the_variance_of_numbers_far_from_zero(run: object, offset: float) -> None:
    small = RNG.normal(size=1000)
    x = offset + small
    exact = [fractions.Fraction(v) for v in x.tolist()]
    mean = sum(exact) / len(exact)
    deviations = np.array([float(v - mean) for v in exact])
    expected = float(sum((v - mean) ** 2 for v in exact) / len(exact))
    rtol = 1e-13 + 4e-16 * offset  # the mean is rounded once, in every deviation
    np.testing.assert_allclose(run(np.var)(x), expected, rtol=rtol)
    gradient = run(pb.grad(np.var))(x)
    np.testing.assert_allclose(
        gradient, 2 * deviations / 1000, rtol=rtol, atol=1e-17 + 1e-18 * offset
    )
    np.testing.assert_allclose(run(np.std)(x), math.sqrt(expected), rtol=rtol)


SINGLE = np.float32([1, 2, 5])
STAY = {
    "nanmean": np.nanmean,
    "nanvar": np.nanvar,
    "nanstd": np.nanstd,
    "mean of some": lambda x: np.mean(x, where=x > 1),
    "var of some": lambda x: np.var(x, where=x > 1),
    "std of some": lambda x: np.std(x, where=x > 1),
}


@pytest.mark.parametrize("name", STAY)
def test_counts_do_not_widen(name: str) -> None:
    f = STAY[name]
    assert f(SINGLE).dtype == np.float32
    assert pb.vjp(f, SINGLE)[0].dtype == np.float32
    assert pb.compile(f)(SINGLE).dtype == np.float32

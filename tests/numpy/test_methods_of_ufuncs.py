"""The methods of every binary ufunc, against NumPy's and against differences."""

from typing import Any

import numpy as np
import pytest
from tests.numpy.oracle import check, check_values

import pullback as pb
import pullback.numpy as pnp
from pullback.errors import TracedValueError

X = np.array([[1.5, 2.0, 0.7], [0.3, 1.1, 2.2]])
WITH_DERIVATIVE = (
    np.add,
    np.arctan2,
    np.divide,
    np.float_power,
    np.fmax,
    np.fmin,
    np.hypot,
    np.logaddexp,
    np.logaddexp2,
    np.maximum,
    np.minimum,
    np.multiply,
    np.power,
    np.subtract,
)
named = pytest.mark.parametrize("ufunc", WITH_DERIVATIVE, ids=lambda u: u.__name__)


@named
def test_reduce(ufunc: np.ufunc) -> None:
    check(ufunc.reduce, X)
    check(lambda x: ufunc.reduce(x, axis=-1, keepdims=True), X)
    check(lambda x: ufunc.reduce(x, initial=1.2), X)
    where = np.array([True, False, True])
    check(lambda x: ufunc.reduce(x, axis=1, initial=1.2, where=where), X)


@named
def test_accumulate_and_reduceat(ufunc: np.ufunc) -> None:
    check(lambda x: ufunc.accumulate(x, axis=1), X)
    check(lambda x: ufunc.reduceat(x, [0, 2, 1], axis=1), X)


@named
def test_outer_and_at(ufunc: np.ufunc) -> None:
    check(ufunc.outer, X, X[0])

    def at(x: Any, values: Any) -> Any:
        buffer = np.copy(x)
        ufunc.at(buffer, ([0, 1, 0, 0], [2, 1, 2, 1]), values)
        return buffer

    check(at, X, np.array([1.3, 0.4, 2.1, 0.9]))


def test_a_unary_ufunc_at_places_that_repeat() -> None:
    def twice(x: Any) -> Any:
        buffer = np.copy(x)
        np.exp.at(buffer, [0, 1, 0])
        return buffer

    check(twice, X[0])


def test_at_a_view_writes_its_base() -> None:
    def through(x: Any) -> Any:
        buffer = np.copy(x)
        np.multiply.at(buffer[1], [0, 0, 2], x[0])
        return buffer

    check(through, X)


@pytest.mark.parametrize(
    "ufunc", [np.bitwise_and, np.bitwise_or, np.bitwise_xor, np.left_shift, np.fmod], ids=str
)
def test_integers(ufunc: np.ufunc) -> None:
    x = np.array([[7, 2, 5], [3, 1, 4]])
    check_values(ufunc.reduce, x)
    check_values(lambda x: ufunc.accumulate(x, axis=1), x)
    check_values(lambda x: ufunc.reduceat(x, [1, 0]), x)


def test_logical_folds_with_a_mask() -> None:
    where = np.array([[True, False, True], [False, False, True]])
    for ufunc in (np.logical_and, np.logical_or, np.logical_xor):
        check_values(lambda x, ufunc=ufunc: ufunc.reduce(x > 1, axis=1, where=where), X)


@pytest.mark.parametrize(
    "call",
    [
        lambda x: np.subtract.reduce(x, axis=(0, 1)),
        lambda x: np.subtract.reduce(x[:0]),
        lambda x: np.divide.reduce(x, where=x > 1),
        lambda x: np.add.reduceat(x, [0, 5]),
        lambda x: np.add.accumulate(x[0, 0]),
        lambda x: np.exp.reduce(x),
        lambda x: np.divmod.accumulate(x),
        lambda x: np.exp.outer(x, x),
        lambda x: np.matmul.reduce(x),
        lambda x: np.add.reduce(x, axis=2),
    ],
)
def test_what_numpy_refuses_is_refused_in_the_same_words(call: Any) -> None:
    with pytest.raises((ValueError, IndexError, TypeError, RuntimeError)) as theirs:
        call(X)
    with pytest.raises((ValueError, IndexError, TypeError, RuntimeError)) as ours:
        pb.vjp(call, X)
    assert isinstance(ours.value, theirs.type)
    assert str(theirs.value).split(",")[0] in str(ours.value)


def test_at_a_plain_array_is_refused_with_a_remedy_that_works() -> None:
    def count(x: Any, numpy: Any) -> Any:
        total = numpy.zeros(3)
        np.add.at(total, [0, 0, 2], x)
        return np.sum(total**2)

    with pytest.raises(TracedValueError, match=r"pullback\.numpy"):
        pb.grad(count)(X[0], np)
    expected = [2 * 3.5, 2 * 3.5, 2 * 0.7]
    np.testing.assert_allclose(pb.grad(lambda x: count(x, pnp))(X[0]), expected)

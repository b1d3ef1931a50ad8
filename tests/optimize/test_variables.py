"""Containers as vectors, and bounds that follow their shapes."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from pullback.errors import ArgumentError, NotDifferentiableError
from pullback.optimize.variables import Variables


@pytest.mark.parametrize("x0", [3, 3.0, [3], (3.0,), np.array(3), np.array([3], np.int32)])
def test_numbers_are_vectors_as_in_scipy(x0: object) -> None:
    variables = Variables(x0)
    assert_array_equal(variables.start, [3.0])
    assert variables.unravel(np.array([4.0])).shape == (1,)


def test_matrices_keep_their_shape() -> None:
    variables = Variables(np.zeros((2, 3), np.float32))
    assert variables.unravel(np.arange(6.0)).shape == (2, 3)
    assert variables.unravel(np.arange(6.0)).dtype == np.float32


def test_a_tuple_of_arrays_is_a_container() -> None:
    variables = Variables((np.zeros(2), np.ones((2, 2))))
    assert variables.n == 6
    first, second = variables.unravel(np.arange(6.0))
    assert_array_equal(first, [0, 1])
    assert_array_equal(second, [[2, 3], [4, 5]])


def test_leaves_of_bounds_are_spread_over_their_arrays() -> None:
    variables = Variables({"a": np.zeros(2), "b": 0.0})
    lower, upper = variables.bounds(({"a": [0.0, -1.0], "b": None}, 5))
    assert_array_equal(lower, [0, -1, -np.inf])
    assert_array_equal(upper, [5, 5, 5])


def test_integers_in_containers_are_refused() -> None:
    with pytest.raises(NotDifferentiableError, match="x0"):
        Variables({"n": np.arange(3)})


@pytest.mark.parametrize("bounds", [3, (1, 2, 3), ({"b": 0}, 1)])
def test_bounds_of_another_form_are_refused(bounds: object) -> None:
    with pytest.raises(ArgumentError, match="lower, upper"):
        Variables({"a": 0.0}).bounds(bounds)

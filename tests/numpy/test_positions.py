"""Flat positions and the parts of a number, against NumPy's."""

import numpy as np
import pytest
from tests.numpy.oracle import check, check_values

import pullback as pb

PLACES = np.array([5, 2, 7])


def test_flat_positions_and_back() -> None:
    check_values(lambda i: np.unravel_index(i, (3, 4)), PLACES)
    check_values(lambda i: np.unravel_index(i, (3, 4), order="F"), PLACES)
    check_values(lambda i, j: np.ravel_multi_index((i, j), (8, 9)), PLACES, PLACES)
    check_values(
        lambda i, j: np.ravel_multi_index((i, j), (3, 4), mode=("wrap", "clip"), order="F"),
        PLACES,
        PLACES,
    )


def test_the_place_of_the_greatest_compiles() -> None:
    def greatest(x: np.ndarray) -> np.ndarray:
        return x[np.unravel_index(np.argmax(x), x.shape)] ** 2

    x = np.array([[1.0, 5.0], [3.0, 2.0]])
    for transform in (pb.grad, lambda f: pb.compile(pb.grad(f))):
        np.testing.assert_array_equal(transform(greatest)(x), [[0.0, 10.0], [0.0, 0.0]])


def test_places_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="out of bounds"):
        pb.vmap(lambda x: x + np.unravel_index(np.array([9]), (2, 2))[0])(np.ones(2))


def test_parts_of_a_number() -> None:
    check_values(np.frexp, np.array([1.5, -2.5, 0.3, 0.0, 1e-310, 1e300]), staged=False)
    check(np.frexp, np.array([1.5, -2.6, 0.3]), staged=False)
    check(lambda x: np.nextafter(x, 3.0), np.array([1.5, -2.6, 0.3]), staged=False)

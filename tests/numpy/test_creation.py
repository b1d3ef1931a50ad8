"""Arrays made inside a traced function: NumPy's values and types, and buffers that record."""

from typing import Any

import numpy as np
import pytest
from tests.numpy.oracle import check

import pullback as pb
import pullback.numpy as pnp
from pullback.core.array import Array

MAKERS = {
    "zeros": lambda m: m.zeros((2, 3)),
    "zeros float32": lambda m: m.zeros(3, np.float32),
    "ones": lambda m: m.ones((2, 1), int),
    "full": lambda m: m.full((2, 2), 7),
    "full dtype": lambda m: m.full(3, 1.5, dtype=np.float32),
    "eye": lambda m: m.eye(2, 3, 1),
    "identity": lambda m: m.identity(3),
    "tri": lambda m: m.tri(3, k=-1),
    "zeros_like": lambda m: m.zeros_like([[1, 2]]),
    "ones_like": lambda m: m.ones_like(np.float32([1, 2])),
    "full_like": lambda m: m.full_like([1.0, 2.0], 3),
    "full_like shape": lambda m: m.full_like([1.0, 2.0], 3, shape=(2, 2)),
    "array": lambda m: m.array([[1, 2], [3, 4]]),
    "array dtype": lambda m: m.array([1, 2], dtype=np.float32),
    "array ndmin": lambda m: m.array([1.0], ndmin=3),
    "asarray": lambda m: m.asarray((1.0, 2.0)),
    "asanyarray": lambda m: m.asanyarray([True]),
    "ascontiguousarray": lambda m: m.ascontiguousarray(np.ones((2, 3)).T),
}


@pytest.mark.parametrize("name", MAKERS)
def test_values_and_types_are_numpys(name: str) -> None:
    expected = MAKERS[name](np)
    outside = MAKERS[name](pnp)
    assert type(outside) is np.ndarray
    inside: list[Any] = []
    pb.grad(lambda x: inside.append(MAKERS[name](pnp)) or x)(1.0)
    for made in (outside, np.asarray(inside[0])):
        assert made.dtype == expected.dtype
        np.testing.assert_array_equal(made, expected)


def test_empty_has_the_shape_and_type_asked_for() -> None:
    assert pnp.empty((2, 3), np.float32).shape == (2, 3)
    assert pnp.empty_like(np.float32([1])).dtype == np.float32


def test_sequences_of_traced_values_become_arrays() -> None:
    check(lambda x, y: pnp.array([[x[0], 2.0], [y[1], x[1] * y[0]]]), np.ones(2), np.full(2, 3.0))
    check(lambda x, y: np.stack([x, y]) @ [x[0], 1.0], np.ones(2), np.full(2, 3.0))
    check(lambda x, y: pnp.array([x, y], dtype=np.float64, ndmin=3), np.ones(2), np.full(2, 3.0))
    check(lambda x, y: pnp.full((2, 2), x[0] * y[1]), np.ones(2), np.full(2, 3.0))
    check(lambda x, y: np.full_like(x, y[0]), np.ones(2), np.full(2, 3.0))


def test_like_a_traced_array() -> None:
    check(lambda x: np.ones_like(x) * x + np.zeros_like(x, shape=(2,)), np.ones(2))


def test_array_copies_and_asarray_does_not() -> None:
    def program(x: Any) -> Any:
        y = x * 1.0
        copied, same = pnp.array(y), pnp.asarray(y)
        y[0] = 5.0
        return copied[0] + 10 * same[0]

    assert pb.vjp(program, np.ones(2))[0] == 51.0
    plain = np.ones(2)
    assert pnp.asarray(plain) is plain


def test_every_name_of_numpy_is_there() -> None:
    missing = [name for name in dir(np) if not name.startswith("_") and not hasattr(pnp, name)]
    assert missing == []
    assert set(dir(np)) <= set(dir(pnp))
    with pytest.raises(AttributeError):
        _ = pnp.no_such_function


def test_outside_of_transforms_everything_is_plain() -> None:
    assert type(pnp.zeros(2)) is np.ndarray
    assert type(np.sum(pnp.ones(2))) is np.float64
    assert not isinstance(pnp.array([1.0]), Array)

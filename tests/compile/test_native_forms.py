"""Native forms of operations that are more than loops over arithmetic, against NumPy's."""

from __future__ import annotations

import numpy as np
import pytest

import pullback as pb
from pullback.core.primitive import registry


def native(name, *args, **params):
    """The result of the operation as native code, without NumPy."""
    return pb.compile(lambda *xs: registry[name](*xs, **params), callbacks=False)(*args)


def test_random_bits_are_numpys():
    rng = np.random.default_rng(0)
    for n in (0, 1, 3, 4, 5, 8, 1003):
        key0, key1, counter = (int(k) for k in rng.integers(0, 2**64, 3, np.uint64))
        for start in (counter, 0, 2**64 - 2):  # the last one carries into the second word
            philox = np.random.Philox(key=np.array([key0, key1], np.uint64), counter=start)
            state = np.array([key0, key1, start], np.uint64)
            np.testing.assert_array_equal(
                native("random_bits", state, shape=(n,)), philox.random_raw(n)
            )


def test_random_bits_of_a_stack_of_states():
    states = np.arange(18, dtype=np.uint64).reshape(2, 3, 3)
    bits = native("random_bits", states, shape=(5, 3))
    assert bits.shape == (2, 3, 5, 3)
    for i, j in np.ndindex(2, 3):
        key0, key1, counter = states[i, j]
        philox = np.random.Philox(key=np.array([key0, key1]), counter=int(counter))
        np.testing.assert_array_equal(bits[i, j].ravel(), philox.random_raw(15))


SHAPES = [
    ((3, 4), (4, 5)),
    ((4,), (4, 5)),
    ((3, 4), (4,)),
    ((4,), (4,)),
    ((1, 1), (1, 1)),
    ((2, 3, 4), (4, 5)),
    ((3, 4), (2, 4, 5)),
    ((2, 1, 3, 4), (5, 4, 2)),
    ((4,), (2, 4, 5)),
    ((2, 3, 4), (4,)),
    ((3, 0), (0, 2)),
    ((0, 4), (4, 2)),
    ((0, 3, 4), (4, 2)),
]
INTEGERS = (np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64)


@pytest.mark.parametrize("dtype", [*INTEGERS, np.bool_])
def test_integer_products_are_numpys(dtype):
    rng = np.random.default_rng(1)
    for left, right in SHAPES:
        a, b = (rng.integers(0, 2**63, s).astype(dtype) for s in (left, right))
        if dtype == np.bool_:
            a, b = (rng.uniform(size=s) < 0.3 for s in (left, right))
        found = native("matmul", a, b)
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, np.matmul(a, b))


def test_integer_products_of_mixed_and_transposed_operands():
    rng = np.random.default_rng(2)
    a, b = rng.integers(-99, 99, (3, 4)).astype(np.int8), rng.integers(0, 255, (5, 4), np.uint8)
    np.testing.assert_array_equal(native("matmul", a, b.T.astype(np.int64)), a @ b.T.astype(int))
    for f in (
        lambda a, b: a @ b.T,
        lambda a, b: (b @ a.T).T,
        lambda a, b: (a > 0) @ (b > 99).T,
        lambda a, b: a.T @ a + 1,
    ):
        found = pb.compile(f, callbacks=False)(a, b)
        np.testing.assert_array_equal(found, f(a, b), strict=True)


@pytest.mark.parametrize("dtypes", [("f4", "f8"), ("f8", "f4"), ("i8", "f8"), ("f2", "f2")])
def test_products_that_numpy_computes_take_transposed_operands(dtypes):
    a, b = (np.arange(n).reshape(-1, 4).astype(d) for n, d in zip((12, 20), dtypes, strict=True))
    found = pb.compile(lambda a, b: a @ b.T)(a, b)
    np.testing.assert_array_equal(found, a @ b.T, strict=True)

"""Native forms of operations that are more than loops over arithmetic, against NumPy's."""

from __future__ import annotations

import numpy as np

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

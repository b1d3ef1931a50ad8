"""Strides of plain arrays, and stand-ins that lie in memory like them."""

import numpy as np
import pytest

from pullback.core.strides import contiguous, stand_in
from pullback.core.types import type_of

X = np.arange(24.0).reshape(2, 3, 4)
ARRAYS = {
    "rows": X,
    "turned": X.transpose(2, 0, 1),
    "backwards": X[::-1, :, ::-2],
    "slice": X[:, 1:, 1:3],
    "repeated": np.broadcast_to(X[0, 0], (3, 4)),
    "empty": X[:, :0],
    "number": np.array(3.0),
    "float32": X.astype(np.float32)[:, ::2],
}


@pytest.mark.parametrize("name", ARRAYS)
def test_a_stand_in_lies_as_the_array(name: str) -> None:
    x = ARRAYS[name]
    plain = stand_in(type_of(x), x.strides)
    assert (plain.shape, plain.dtype) == (x.shape, x.dtype)
    assert [s for s, n in zip(plain.strides, x.shape, strict=True) if n > 1] == [
        s for s, n in zip(x.strides, x.shape, strict=True) if n > 1
    ]
    assert plain.flags.c_contiguous == x.flags.c_contiguous
    assert not np.any(plain)
    plain[...] = 1.0  # all of it is its own memory


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (2, 0, 3), (1, 4, 1)])
def test_contiguous_is_what_numpy_allocates(shape: tuple[int, ...]) -> None:
    x = np.zeros(shape, np.float32)
    if x.size:
        assert contiguous(type_of(x)) == x.strides


def test_large_stand_ins_cost_nothing() -> None:
    plain = stand_in(type_of(np.broadcast_to(0.0, (1 << 14, 1 << 14))), (8, 8 << 14))
    assert plain.nbytes == 1 << 31

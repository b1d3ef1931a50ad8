"""Python's operators on traced arrays are NumPy's."""

import operator
from typing import Any

import numpy as np
import pytest

import pullback as pb

BINARY = [
    operator.add,
    operator.sub,
    operator.mul,
    operator.truediv,
    operator.pow,
    operator.mod,
    operator.floordiv,
]
COMPARE = [operator.lt, operator.le, operator.gt, operator.ge, operator.eq, operator.ne]


def through(function: Any, *args: Any) -> Any:
    """What ``function`` gives on traced arguments."""
    seen = []

    def wrapped(*traced: Any) -> Any:
        result = function(*traced)
        seen.append(result)
        return np.sum(traced[0])

    _, aux = pb.grad(lambda *a: (wrapped(*a), seen[-1]), has_aux=True)(*args)
    return aux


@pytest.mark.parametrize("op", BINARY + COMPARE, ids=lambda op: op.__name__)
@pytest.mark.parametrize("other", [2, 2.5, np.float32(1.5), np.array([0.5, 2.0, 3.0])], ids=repr)
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_operators_are_numpys(op: Any, other: Any, dtype: str) -> None:
    x = np.array([1.5, 2.0, 4.0], dtype)
    for forward in (lambda a: op(a, other), lambda a: op(other, a)):
        expected, got = forward(x), through(forward, x)
        np.testing.assert_array_equal(got, expected)
        assert got.dtype == expected.dtype

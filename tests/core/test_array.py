"""Traced arrays: NumPy's behavior, views that alias, and doors that refuse to cut a gradient."""

import math
from typing import Any

import numpy as np
import pytest

import pullback as pb
from pullback.errors import (
    DTypeError,
    TracedValueError,
    UnsupportedError,
)


def test_attributes_are_numpys() -> None:
    x = np.zeros((2, 3), "f4")

    def look(a: Any) -> Any:
        assert (a.shape, a.dtype, a.ndim, a.size) == (x.shape, x.dtype, x.ndim, x.size)
        assert (a.itemsize, a.nbytes, len(a), a.T.shape) == (4, 24, 2, (3, 2))
        assert [row.shape for row in a] == [(3,), (3,)]
        assert len(list(a.flat)) == 6
        return np.sum(a)

    pb.grad(look)(x)


@pytest.mark.parametrize(
    "cut",
    [
        float,
        int,
        complex,
        math.sin,
        np.array,
        np.asarray,
        lambda x: x.item(),
        lambda x: x.tolist(),
        lambda x: [0, 1, 2][x],
        lambda x: np.zeros(2).__setitem__(0, x),
    ],
)
def test_what_would_cut_a_gradient_is_refused(cut: Any) -> None:
    with pytest.raises(TracedValueError, match="would cut its gradient") as caught:
        pb.grad(lambda x: cut(x) * x)(1.0)
    assert "Fix: " in str(caught.value)
    assert "test_array.py" in str(caught.value)


def test_the_remedy_fits_the_line() -> None:
    def assign(x: Any) -> Any:
        buffer = np.zeros(2)
        buffer[0] = x
        return buffer.sum()

    with pytest.raises(TracedValueError, match=r"Fix: .*import pullback\.numpy as np"):
        pb.grad(assign)(1.0)
    with pytest.raises(TracedValueError, match=r"Fix: use the NumPy function of the same name"):
        pb.grad(lambda x: math.cos(x))(1.0)


def test_unknown_functions_are_refused_by_name() -> None:
    with pytest.raises(UnsupportedError, match=r"numpy\.is_busday has no traced form"):
        pb.grad(lambda x: np.is_busday(x).sum())(np.ones(3))
    with pytest.raises(AttributeError, match="byteswap"):
        pb.grad(lambda x: x.byteswap())(np.ones(3))


def test_foreign_dtypes_are_refused() -> None:
    with pytest.raises(DTypeError):
        pb.grad(lambda x: np.sum(x * np.array([None])))(np.ones(1))


def test_a_traced_array_has_no_hash() -> None:
    with pytest.raises(TypeError, match="unhashable"):
        pb.grad(lambda x: {x: 1} and x)(1.0)

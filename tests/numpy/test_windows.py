"""Sliding windows, against NumPy's."""

import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided, sliding_window_view
from tests.numpy.oracle import check

import pullback as pb
import pullback.numpy as pnp
from pullback.errors import TracedValueError, UnsupportedError

X = np.arange(20.0).reshape(4, 5) ** 1.5


def test_windows_of_one_and_two_axes() -> None:
    check(lambda x: sliding_window_view(x, 3, axis=0), X)
    check(lambda x: sliding_window_view(x, (2, 3)), X)
    check(lambda x: sliding_window_view(x, (2, 2), axis=(1, 1)), X)
    check(lambda x: np.max(sliding_window_view(x, (2, 2)), axis=(-1, -2)), X)


def test_windows_see_later_writes_and_cannot_be_written() -> None:
    def later(x: np.ndarray) -> np.ndarray:
        y = x.copy()
        windows = sliding_window_view(y, 2, axis=1)
        y[0, 1] = 3.0 * y[1, 1]
        return windows.copy()

    check(later, X)
    with pytest.raises(ValueError, match="read-only"):
        pb.grad(lambda x: sliding_window_view(x, 2, axis=0).__setitem__(0, 1.0))(X)


@pytest.mark.parametrize(
    ("args", "kwargs"), [((-1,), {"axis": 0}), ((2,), {}), ((9,), {"axis": 0}), (((2, 2), 0), {})]
)
def test_what_numpy_refuses_is_refused(args: tuple, kwargs: dict) -> None:
    with pytest.raises(ValueError, match=r"window|axis") as theirs:
        sliding_window_view(X, *args, **kwargs)
    with pytest.raises(ValueError, match=r"window|axis") as ours:
        pb.vjp(lambda x: sliding_window_view(x, *args, **kwargs), X)
    assert str(theirs.value).split(";")[0] in str(ours.value)


def test_memory_is_not_handed_out() -> None:
    with pytest.raises(UnsupportedError, match="sliding_window_view"):
        pb.grad(lambda x: pnp.lib.stride_tricks.as_strided(x, (2, 2)).sum())(X)
    with pytest.raises(UnsupportedError, match="assign to the array"):
        pb.grad(lambda x: sliding_window_view(x, 2, axis=0, writeable=True).sum())(X)
    with pytest.raises(TracedValueError):
        pb.grad(lambda x: as_strided(x, (2, 2)).sum())(X)
    np.testing.assert_array_equal(
        pnp.lib.stride_tricks.as_strided(X, (2, 2)), as_strided(X, (2, 2))
    )

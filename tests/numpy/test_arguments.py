"""Axes, out= and plain values."""

import numpy as np
import pytest

import pullback as pb
from pullback.core.types import ArrayType
from pullback.errors import StagingError, TracedValueError
from pullback.numpy.arguments import concrete, given, into, normalize_axes, normalize_axis
from pullback.transforms.stage import stage


def test_axes_are_sorted_and_counted_from_the_front() -> None:
    assert normalize_axes(None, 3) == (0, 1, 2)
    assert normalize_axes((-1, 0), 3) == (0, 2)
    assert normalize_axes(-2, 3) == (1,)
    assert normalize_axis(np.int64(-1), 2) == 1


def test_bad_axes_raise_as_in_numpy() -> None:
    with pytest.raises(np.exceptions.AxisError):
        normalize_axis(3, 3)
    with pytest.raises(ValueError, match="duplicate"):
        normalize_axes((0, -2), 2)


def test_absent_arguments() -> None:
    assert not given(None)
    assert not given(np._NoValue)
    assert given(0)


def test_into_a_plain_array_goes_what_is_plain() -> None:
    out = np.zeros(2)
    assert into(out, np.ones(2)) is out
    assert out.tolist() == [1, 1]
    with pytest.raises(TracedValueError, match=r"import pullback\.numpy as np"):
        pb.grad(lambda x: np.sum(into(out, x)))(np.ones(2))
    assert out.tolist() == [1, 1]


def test_plain_values_of_nested_traces() -> None:
    seen: list = []

    def f(x: object) -> object:
        seen.append(concrete([x, (x * 2, 3)], "a value for the test"))
        return x**2

    pb.grad(pb.grad(f))(2.0)
    assert seen == [[2.0, (4.0, 3)]]
    with pytest.raises(TracedValueError, match="a value for the test"):
        pb.vmap(f)(np.ones(2))
    with pytest.raises(StagingError, match="a value for the test"):
        stage(lambda x: [f(x)], [ArrayType((), np.float64)])

"""NumPy's own Python code on traced arrays: what each function does is tested with its subject."""

import inspect

import numpy as np
import pytest
from tests.numpy.oracle import check

from pullback.core.array import functions
from pullback.numpy.composed import COMPOSED


@pytest.mark.parametrize("function", COMPOSED, ids=lambda f: f.__name__)
def test_the_code_is_numpys(function: object) -> None:
    twin = functions[function]
    assert twin.__code__ is function.__wrapped__.__code__
    assert inspect.signature(twin) == inspect.signature(function.__wrapped__)


def test_numpy_itself_is_left_alone() -> None:
    assert np.gradient.__wrapped__.__globals__["asanyarray"] is np.asanyarray
    assert type(np.gradient(np.arange(3.0))) is np.ndarray


def test_apply_over_axes() -> None:
    check(lambda x: np.apply_over_axes(np.sum, x, [0, 2]), np.arange(24.0).reshape(2, 3, 4))

"""Array types: what they say about NumPy values, and which values are refused."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as st_numpy

from pullback.core.types import ArrayType, is_differentiable, type_of
from pullback.errors import DTypeError

REAL = st_numpy.floating_dtypes(endianness="=", sizes=(32, 64)) | st_numpy.integer_dtypes(
    endianness="="
)


@given(st_numpy.arrays(REAL, st_numpy.array_shapes(min_dims=0, max_dims=3, min_side=0)))
def test_the_type_of_an_array_is_its_shape_and_dtype(array: np.ndarray[Any, Any]) -> None:
    type = type_of(array)
    assert (type.shape, type.dtype, type.ndim) == (array.shape, array.dtype, array.ndim)
    assert (type.size, type.nbytes, type.weak) == (array.size, array.nbytes, False)


@pytest.mark.parametrize(("value", "dtype"), [(True, "bool"), (3, "int64"), (2.5, "float64")])
def test_python_scalars_are_weak(value: Any, dtype: str) -> None:
    assert type_of(value) == ArrayType((), dtype, weak=True)
    assert type_of(value) != ArrayType((), dtype)


def test_numpy_scalars_are_not_weak() -> None:
    assert type_of(np.float32(1)) == ArrayType((), np.float32)
    assert not type_of(np.float64(1)).weak


def test_equal_types_have_equal_hashes() -> None:
    assert len({ArrayType((2,), "f8"), ArrayType((2,), np.float64), ArrayType((2,), "f4")}) == 2


def test_types_print_as_dtype_and_shape() -> None:
    assert str(ArrayType((3, 4), "f4")) == "float32[3,4]"
    assert str(ArrayType((), "f8")) == "float64[]"


@pytest.mark.parametrize(
    "value",
    ["text", np.array(["a"]), np.array([1, None]), np.array(["2000"], "M8[D]"), None, int],
    ids=lambda value: type(value).__name__,
)
def test_values_without_derivatives_are_refused(value: Any) -> None:
    with pytest.raises(DTypeError, match="takes part in a traced operation"):
        type_of(value)


def test_floats_and_complex_numbers_are_differentiable() -> None:
    assert all(is_differentiable(np.dtype(d)) for d in ("f4", "f8", "c8", "c16"))
    assert not any(is_differentiable(np.dtype(d)) for d in ("i8", "u1", "?"))
    assert type_of(1j) == ArrayType((), "c16", weak=True)

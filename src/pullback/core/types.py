"""What a value is without its numbers: shape and dtype."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from pullback.core.foreign import refuse_foreign
from pullback.errors import DTypeError

__all__ = [
    "NUMBERS",
    "PYTHONS",
    "ArrayType",
    "Operation",
    "Shape",
    "as_number",
    "is_differentiable",
    "type_of",
]

Shape = tuple[int, ...]


class ArrayType:
    """Shape and dtype of a value; ``weak`` marks a Python scalar, which NumPy promotes weakly."""

    __slots__ = ("dtype", "shape", "weak")

    def __init__(self, shape: Shape, dtype: Any, weak: bool = False) -> None:
        self.shape = shape
        self.dtype: np.dtype[Any] = dtype if isinstance(dtype, np.dtype) else np.dtype(dtype)
        self.weak = weak

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        n = 1
        for length in self.shape:
            n *= length
        return n

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    def with_shape(self, shape: Shape) -> ArrayType:
        return ArrayType(shape, self.dtype)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, ArrayType)
            and self.shape == other.shape
            and self.dtype == other.dtype
            and self.weak == other.weak
        )

    def __hash__(self) -> int:
        return hash((self.shape, self.dtype, self.weak))

    def __repr__(self) -> str:
        return f"{self.dtype}[{','.join(map(str, self.shape))}]"


class Number(np.float64):
    """A Python float under a trace: computes as NumPy's scalars do, promotes as Python's."""

    __slots__ = ()


class ComplexNumber(np.complex128):
    """A Python complex number under a trace."""

    __slots__ = ()


NUMBERS = {Number, ComplexNumber}  # evaluation hands them to NumPy as ``item()``
PYTHONS = {np.dtype(float): Number, np.dtype(complex): ComplexNumber, np.dtype(int): int}


def as_number(value: Any) -> Any:
    """A scalar that Python has, too, as a number that promotes so; all else as it is."""
    return value if np.ndim(value) else PYTHONS.get(np.asarray(value).dtype, np.asarray)(value)


def type_of(value: Any) -> ArrayType:
    """Type of an array, a traced array, a NumPy scalar or a Python scalar.

    Raises:
        DTypeError: for objects, strings and dates, which have no derivative.
    """
    if type(value) is np.ndarray and value.dtype.kind in "fiubc":
        return ArrayType(value.shape, value.dtype)
    if isinstance(value, (bool, int, float, complex)) and not isinstance(value, np.generic):
        return ArrayType((), np.asarray(value).dtype, weak=True)
    if type(value) in NUMBERS:
        return ArrayType((), value.dtype, weak=True)
    if hasattr(value, "traced_by"):
        traced: ArrayType = value.traced_by.type_of(value)
        return traced
    refuse_foreign(type(value))
    dtype = getattr(value, "dtype", None)
    if not isinstance(dtype, np.dtype) or dtype.kind not in "biufc":
        raise DTypeError(
            f"a value of type {type(value).__name__}"
            + (f" with dtype {dtype}" if dtype is not None else "")
            + " takes part in a traced operation",
            details=["expected: an array or scalar of float, complex, integer or bool dtype"],
            fix="convert it to an array of numbers first, e.g. np.asarray(value, dtype=float)",
        )
    return ArrayType(value.shape, dtype)


def is_differentiable(dtype: np.dtype[Any]) -> bool:
    """Whether values of this dtype carry derivatives: floating-point numbers, real or complex."""
    return dtype.kind in "fc"


class Operation(Protocol):
    """What a trace must know of an operation: the whole is in ``core/primitive.py``."""

    @property
    def name(self) -> str: ...
    @property
    def numpy(self) -> Callable[..., Any]: ...
    @property
    def multiple(self) -> bool: ...
    @property
    def family(self) -> str: ...

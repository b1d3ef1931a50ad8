"""The scalar builder: the few operations in which elementwise primitives and folds are expressed.

``compiler/llvm/scalars.py`` implements it with LLVM instructions and
``testing/scalar_reference.py`` with Python numbers, so one expression per primitive serves the
compiler and is checked without it.
"""

from __future__ import annotations

from typing import Any, Protocol

__all__ = ["ScalarBuilder"]


class ScalarBuilder(Protocol):
    """Operations on scalar values. Both operands of a binary operation have the same dtype."""

    def const(self, value: float | int | bool, like: Any) -> Any:
        """A constant with the dtype of ``like``."""

    def add(self, a: Any, b: Any) -> Any: ...
    def sub(self, a: Any, b: Any) -> Any: ...
    def mul(self, a: Any, b: Any) -> Any: ...
    def div(self, a: Any, b: Any) -> Any:
        """True division of floats; division of integers that rounds toward minus infinity."""

    def neg(self, a: Any) -> Any: ...
    def compare(self, relation: str, a: Any, b: Any) -> Any:
        """``relation`` is one of ``< <= > >= == !=``; false on NaN, except ``!=``."""

    def select(self, condition: Any, a: Any, b: Any) -> Any:
        """``a`` where ``condition`` (a truth value), else ``b``; the other is not looked at."""

    def extreme(self, relation: str, a: Any, b: Any) -> Any:
        """The larger (``>``) or smaller (``<``) of two; NaN if either is."""

    def truth(self, a: Any) -> Any:
        """Whether ``a`` is not zero (NaN is not zero)."""

    def bits(self, operation: str, a: Any, b: Any) -> Any:
        """Integers or truth values: ``and or xor shl shr`` (``shr`` keeps the sign)."""

    def call(self, function: str, *args: Any) -> Any:
        """A function of C's ``math.h`` by name: ``exp log tanh pow floor fmod copysign ...``."""

    def cast(self, a: Any, dtype: Any) -> Any:
        """Convert to a NumPy dtype."""

    def is_float(self, a: Any) -> bool:
        """Whether ``a`` has a floating dtype (known while building)."""

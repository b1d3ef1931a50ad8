"""The scalar builder on Python and NumPy scalars: lowerings are checked without a compiler."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

__all__ = ["ScalarReference"]


class ScalarReference:
    """``core/scalar.py`` evaluated at once; values are NumPy scalars."""

    def const(self, value: Any, like: Any) -> Any:
        if like.dtype.kind in "iu" and isinstance(value, float) and math.isinf(value):
            bounds = np.iinfo(like.dtype)
            value = bounds.max if value > 0 else bounds.min
        if like.dtype.kind == "b":
            value = value > 0 if isinstance(value, float) else bool(value)
        return like.dtype.type(value)

    def add(self, a: Any, b: Any) -> Any:
        return np.add(a, b)

    def sub(self, a: Any, b: Any) -> Any:
        return np.bitwise_xor(a, b) if a.dtype.kind == "b" else np.subtract(a, b)

    def mul(self, a: Any, b: Any) -> Any:
        return np.multiply(a, b)

    def div(self, a: Any, b: Any) -> Any:
        return np.divide(a, b) if a.dtype.kind == "f" else np.floor_divide(a, b)

    def neg(self, a: Any) -> Any:
        return np.negative(a)

    def compare(self, relation: str, a: Any, b: Any) -> Any:
        ufunc = {
            "<": np.less,
            "<=": np.less_equal,
            ">": np.greater,
            ">=": np.greater_equal,
            "==": np.equal,
            "!=": np.not_equal,
        }[relation]
        return ufunc(a, b)

    def select(self, condition: Any, a: Any, b: Any) -> Any:
        return a if condition else b

    def extreme(self, relation: str, a: Any, b: Any) -> Any:
        return np.maximum(a, b) if relation == ">" else np.minimum(a, b)

    def truth(self, a: Any) -> Any:
        return np.not_equal(a, 0) if a.dtype.kind != "b" else a

    def bits(self, operation: str, a: Any, b: Any) -> Any:
        ufunc = {
            "and": np.bitwise_and,
            "or": np.bitwise_or,
            "xor": np.bitwise_xor,
            "shl": np.left_shift,
            "shr": np.right_shift,
        }[operation]
        return ufunc(a, b)

    def call(self, function: str, *args: Any) -> Any:
        """C's function of that name, by Python's ``math``; NaN or infinity where that raises."""
        dtype = args[0].dtype
        special = {
            "rint": np.rint,
            "exp2": np.exp2,
            "cbrt": np.cbrt,
            "trunc": np.trunc,
            "floor": np.floor,
            "ceil": np.ceil,
            "pow": np.power,
            "fmod": np.fmod,
        }
        if function in special:
            return dtype.type(special[function](*args))
        names = {"tgamma": "gamma"}
        python = getattr(math, names.get(function, function))
        try:
            return dtype.type(python(*map(float, args)))
        except (ValueError, OverflowError):
            numpy = {"acos": "arccos", "asin": "arcsin", "atanh": "arctanh", "acosh": "arccosh"}
            return dtype.type(getattr(np, numpy.get(function, function))(*args))

    def cast(self, a: Any, dtype: Any) -> Any:
        return a.astype(dtype)

    def is_float(self, a: Any) -> bool:
        return bool(a.dtype.kind == "f")

"""The dtypes of scalar expressions: what an operation computes in, and whether there is code.

:class:`TypedScalars` is the scalar builder whose values are dtypes. It refuses what has no native
form, so that plans are made without LLVM.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from pullback.core.graph import Equation
from pullback.core.primitive import Primitive
from pullback.core.types import ArrayType
from pullback.errors import CompileError

__all__ = [
    "TypedScalars",
    "check_native",
    "has_scalar_form",
    "is_native",
    "operand_dtypes",
    "operand_types",
]

DType = np.dtype[Any]


def is_native(dtype: DType) -> bool:
    """Whether there is code for numbers of a dtype."""
    return dtype.kind in "iub" or dtype.char in "fd"


def check_native(dtype: DType) -> None:
    """Refuse a dtype that there is no code for.

    Raises:
        CompileError: with the remedy to use another one.
    """
    if not is_native(dtype):
        raise CompileError(
            f"values of dtype {dtype} have no native form",
            fix="use float64, float32, integers or booleans",
        )


class TypedScalars:
    """The scalar builder of ``core/scalar.py`` on dtypes: what each operation gives."""

    def const(self, value: Any, like: DType) -> DType:
        check_native(like)
        return like

    def add(self, a: DType, b: DType) -> DType:
        return a

    sub = mul = div = add

    def neg(self, a: DType) -> DType:
        return a

    def compare(self, relation: str, a: DType, b: DType) -> DType:
        return np.dtype(bool)

    def select(self, condition: DType, a: DType, b: DType) -> DType:
        return a

    def extreme(self, relation: str, a: DType, b: DType) -> DType:
        return a

    def truth(self, a: DType) -> DType:
        return np.dtype(bool)

    def bits(self, operation: str, a: DType, b: DType) -> DType:
        return a

    def call(self, function: str, *args: DType) -> DType:
        check_native(args[0])
        return args[0]

    def cast(self, a: DType, dtype: Any) -> DType:
        check_native(np.dtype(dtype))
        result: DType = np.dtype(dtype)
        return result

    def is_float(self, a: DType) -> bool:
        return a.kind == "f"


@lru_cache(maxsize=4096)
def operand_dtypes(
    primitive: Primitive, types: tuple[ArrayType, ...], out: np.dtype[Any]
) -> list[np.dtype[Any]]:
    """The dtypes in which NumPy's inner loop takes the operands."""
    function = primitive.numpy
    if primitive.name == "where":
        return [np.dtype(bool), out, out]
    if isinstance(function, np.ufunc):
        weak = {"i": int, "f": float}
        asked = [weak.get(t.dtype.kind, t.dtype) if t.weak else t.dtype for t in types]
        if all(t.weak for t in types):
            asked = [t.dtype for t in types]
        found = list(function.resolve_dtypes((*asked, None))[:-1])
        if out.kind == "b":  # the sign of a small integer, say, is the same in more digits
            found = [np.dtype(np.float32) if d == np.float16 else d for d in found]
        if len(set(found)) > 1:
            raise CompileError(f"{primitive.name} of mixed dtypes {found}")
        return found
    if out.kind == "b":
        return [np.result_type(*[t.dtype for t in types])] * len(types)
    return [out] * len(types)


def operand_types(equation: Equation) -> tuple[ArrayType, ...]:
    """Those of the numbers that an equation computes with."""
    return tuple([ArrayType((), v.type.dtype, v.type.weak) for v in equation.inputs])


def has_scalar_form(equation: Equation) -> bool:
    """Whether the equation is an expression of scalars in these dtypes."""
    numbers = tuple([(v.type.dtype, v.type.weak) for v in equation.inputs])
    return _has_scalar_form(equation.primitive, numbers, equation.outputs[0].type.dtype)


@lru_cache(maxsize=4096)
def _has_scalar_form(
    primitive: Primitive, operands: tuple[tuple[DType, bool], ...], out: DType
) -> bool:
    if primitive.scalar is None:
        return False
    types = tuple([ArrayType((), *operand) for operand in operands])
    try:
        for dtype in (*[t.dtype for t in types], out):
            check_native(dtype)
        primitive.scalar(TypedScalars(), *operand_dtypes(primitive, types, out))
    except CompileError:
        return False
    return True

"""Elementwise equations as arithmetic on numbers, in the dtypes of NumPy's inner loops."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from pullback.compiler.llvm.builder import ir, scalar_type
from pullback.compiler.llvm.scalars import Scalar, ScalarEmitter
from pullback.core.graph import Equation, Literal
from pullback.core.primitive import Primitive
from pullback.core.types import ArrayType
from pullback.errors import CompileError

__all__ = ["has_scalar_form", "scalar_form"]


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
    return tuple([ArrayType((), v.type.dtype, v.type.weak) for v in equation.inputs])


def scalar_form(
    emit: ScalarEmitter, equation: Equation, operands: Sequence[Scalar | Literal]
) -> Scalar:
    """The result for one element, from elements of the operands.

    Raises:
        CompileError: if the operation has no native form for these dtypes.
    """
    out = equation.outputs[0].type.dtype
    dtypes = operand_dtypes(equation.primitive, operand_types(equation), out)
    converted = [
        emit.constant(x.value, dtype) if isinstance(x, Literal) else emit.cast(x, dtype)
        for x, dtype in zip(operands, dtypes, strict=True)
    ]
    return emit.cast(equation.primitive.scalar(emit, *converted), out)


def has_scalar_form(equation: Equation) -> bool:
    """Whether :func:`scalar_form` works for these dtypes."""
    numbers = tuple([(v.type.dtype, v.type.weak) for v in equation.inputs])
    return _has_scalar_form(equation.primitive, numbers, equation.outputs[0].type.dtype)


@lru_cache(maxsize=4096)
def _has_scalar_form(
    primitive: Primitive, operands: tuple[tuple[np.dtype[Any], bool], ...], out: np.dtype[Any]
) -> bool:
    """Try it in a function that nobody calls."""
    types = tuple([ArrayType((), *operand) for operand in operands])
    try:
        kinds = [ir.IntType(1) if t.dtype.kind == "b" else scalar_type(t.dtype) for t in types]
        scalar_type(out)
        function = ir.Function(ir.Module(), ir.FunctionType(ir.VoidType(), kinds), "trial")
        emit = ScalarEmitter(ir.IRBuilder(function.append_basic_block()))
        numbers = [Scalar(a, t.dtype) for a, t in zip(function.args, types, strict=True)]
        dtypes = operand_dtypes(primitive, types, out)
        primitive.scalar(emit, *map(emit.cast, numbers, dtypes))
    except CompileError:
        return False
    return True

"""LLVM instructions for scalar expressions, and equations as such expressions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from pullback.compiler.llvm.builder import I1, I8, I32, I64, ir, scalar_type
from pullback.compiler.llvm.math.functions import BEYOND, LIMIT, inlined
from pullback.compiler.schedule.scalar_types import operand_dtypes, operand_types
from pullback.core.graph import Equation, Literal

__all__ = ["Scalar", "ScalarEmitter", "scalar_form"]

ORDERED = {"<", "<=", ">", ">=", "=="}
INSTRUCTIONS = {"sqrt", "fabs", "floor", "ceil", "trunc", "rint", "copysign"}
REASSOCIATE = ("reassoc", "contract")


class Scalar:
    """An LLVM value with its NumPy dtype; a boolean is one bit."""

    __slots__ = ("dtype", "value")

    def __init__(self, value: Any, dtype: Any) -> None:
        self.value = value
        self.dtype = np.dtype(dtype)


class ScalarEmitter:
    """The scalar builder of ``core/scalar.py`` on an ``ir.IRBuilder``."""

    def __init__(self, builder: ir.IRBuilder, fold: bool = False) -> None:
        self.builder = builder
        self.flags = REASSOCIATE if fold else ("contract",)
        self.doubt: Any = None  # where to note that a result may be wrong: see `Kernel.checked`
        self.is_doubted = False
        self.hides_infinities = False  # from LLVM

    # -- constants and memory -----------------------------------------------------------------
    def constant(self, value: Any, dtype: Any) -> Scalar:
        dtype = np.dtype(dtype)
        if dtype.kind == "b":
            flag = value > 0 if isinstance(value, float) else bool(value)
            return Scalar(ir.Constant(I1, flag), dtype)
        if dtype.kind in "iu":
            if isinstance(value, float) and math.isinf(value):
                bounds = np.iinfo(dtype)
                value = bounds.max if value > 0 else bounds.min
            return Scalar(ir.Constant(scalar_type(dtype), int(value)), dtype)
        with np.errstate(over="ignore"):
            number = dtype.type(value)
        if self.hides_infinities and np.isinf(number):
            return Scalar(self.hidden(number), dtype)
        return Scalar(ir.Constant(scalar_type(dtype), float(number)), dtype)

    def hidden(self, number: Any) -> Any:
        """A constant that LLVM does not know: code that is empty gives it."""
        kind = ir.IntType(8 * number.dtype.itemsize)
        bits = kind(int(number.view(f"u{number.dtype.itemsize}")))
        with self.builder.goto_entry_block():
            bits = self.builder.asm(ir.FunctionType(kind, [kind]), "", "=r,0", [bits], False)
            return self.builder.bitcast(bits, scalar_type(number.dtype))

    def const(self, value: Any, like: Scalar) -> Scalar:
        return self.constant(value, like.dtype)

    def load(self, pointer: Any, position: Any, dtype: np.dtype[Any]) -> Scalar:
        kind = scalar_type(dtype)
        address = self.builder.gep(pointer, [position], source_etype=kind)
        value = self.builder.load(address, typ=kind)
        if dtype.kind == "b":
            value = self.builder.icmp_unsigned("!=", value, ir.Constant(I8, 0))
        return Scalar(value, dtype)

    def store(self, a: Scalar, pointer: Any, position: Any) -> None:
        kind = scalar_type(a.dtype)
        address = self.builder.gep(pointer, [position], source_etype=kind)
        value = self.builder.zext(a.value, I8) if a.dtype.kind == "b" else a.value
        self.builder.store(value, address)

    # -- arithmetic ---------------------------------------------------------------------------
    def is_float(self, a: Scalar) -> bool:
        return bool(a.dtype.kind == "f")

    def _binary(self, a: Scalar, b: Scalar, floating: str, integer: str, boolean: str) -> Scalar:
        if a.dtype.kind == "f":
            value = getattr(self.builder, floating)(a.value, b.value, flags=self.flags)
        else:
            name = boolean if a.dtype.kind == "b" else integer
            value = getattr(self.builder, name)(a.value, b.value)
        return Scalar(value, a.dtype)

    def add(self, a: Scalar, b: Scalar) -> Scalar:
        return self._binary(a, b, "fadd", "add", "or_")

    def sub(self, a: Scalar, b: Scalar) -> Scalar:
        return self._binary(a, b, "fsub", "sub", "xor")

    def mul(self, a: Scalar, b: Scalar) -> Scalar:
        return self._binary(a, b, "fmul", "mul", "and_")

    def div(self, a: Scalar, b: Scalar) -> Scalar:
        """Floats divide; integers round toward minus infinity and give 0 on division by 0."""
        build = self.builder
        if a.dtype.kind == "f":
            return Scalar(build.fdiv(a.value, b.value), a.dtype)
        kind = a.value.type
        zero, one = ir.Constant(kind, 0), ir.Constant(kind, 1)
        by_zero = build.icmp_signed("==", b.value, zero)
        if a.dtype.kind == "u":
            safe = build.select(by_zero, one, b.value)
            return Scalar(build.select(by_zero, zero, build.udiv(a.value, safe)), a.dtype)
        by_minus_one = build.icmp_signed("==", b.value, ir.Constant(kind, -1))
        safe = build.select(build.or_(by_zero, by_minus_one), one, b.value)
        quotient, rest = build.sdiv(a.value, safe), build.srem(a.value, safe)
        opposite = build.icmp_signed("<", build.xor(rest, safe), zero)
        down = build.and_(opposite, build.icmp_signed("!=", rest, zero))
        quotient = build.select(down, build.sub(quotient, one), quotient)
        quotient = build.select(by_minus_one, build.neg(a.value), quotient)
        return Scalar(build.select(by_zero, zero, quotient), a.dtype)

    def neg(self, a: Scalar) -> Scalar:
        value = self.builder.fneg(a.value) if a.dtype.kind == "f" else self.builder.neg(a.value)
        return Scalar(value, a.dtype)

    def compare(self, relation: str, a: Scalar, b: Scalar) -> Scalar:
        if a.dtype.kind == "f":
            test = self.builder.fcmp_ordered if relation in ORDERED else self.builder.fcmp_unordered
        else:
            test = self.builder.icmp_signed if a.dtype.kind == "i" else self.builder.icmp_unsigned
        return Scalar(test(relation, a.value, b.value), np.bool_)

    def select(self, condition: Scalar, a: Scalar, b: Scalar) -> Scalar:
        return Scalar(self.builder.select(condition.value, a.value, b.value), a.dtype)

    def extreme(self, relation: str, a: Scalar, b: Scalar) -> Scalar:
        if a.dtype.kind != "f":
            return self.select(self.compare(relation, a, b), a, b)
        return self.intrinsic("maximum" if relation == ">" else "minimum", a, b)

    def truth(self, a: Scalar) -> Scalar:
        return a if a.dtype.kind == "b" else self.compare("!=", a, self.const(0, a))

    def bits(self, operation: str, a: Scalar, b: Scalar) -> Scalar:
        build = self.builder
        if operation in ("and", "or", "xor"):
            method = {"and": build.and_, "or": build.or_, "xor": build.xor}[operation]
            return Scalar(method(a.value, b.value), a.dtype)
        width = a.dtype.itemsize * 8
        last = ir.Constant(a.value.type, width - 1)
        beyond = build.icmp_unsigned(">", b.value, last)
        amount = build.select(beyond, last, b.value)
        signed = a.dtype.kind == "i" and operation == "shr"
        shift = build.shl if operation == "shl" else build.ashr if signed else build.lshr
        value = shift(a.value, amount)
        if not signed:
            value = build.select(beyond, ir.Constant(a.value.type, 0), value)
        return Scalar(value, a.dtype)

    def call(self, function: str, *args: Scalar) -> Scalar:
        """A function of ``math.h`` (``expf`` etc. for float32); square roots are instructions."""
        dtype = args[0].dtype
        kind = scalar_type(dtype)
        is_limited = function in BEYOND and self.doubt is not None
        inline = inlined(self.builder.module, function, kind, dtype.itemsize, is_limited)
        if inline is not None:
            if is_limited:
                self.raise_doubt(args[0])
            return Scalar(self.builder.call(inline, [a.value for a in args]), dtype)
        if function in INSTRUCTIONS:
            return self.intrinsic(function, *args)
        return self.declared(function + ("f" if dtype.itemsize == 4 else ""), *args)

    def raise_doubt(self, x: Scalar) -> None:
        """Note that the inline function is not right for an ``x`` that is so large."""
        size = self.intrinsic("fabs", x).value
        is_far = self.builder.fcmp_unordered(">", size, ir.Constant(size.type, LIMIT))
        found = self.builder.or_(
            self.builder.load(self.doubt, typ=I32), self.builder.zext(is_far, I32)
        )
        self.builder.store(found, self.doubt)
        self.is_doubted = True

    def intrinsic(self, name: str, *args: Scalar) -> Scalar:
        return self.declared(f"llvm.{name}.f{8 * args[0].dtype.itemsize}", *args)

    def declared(self, name: str, *args: Scalar) -> Scalar:
        kind, module = scalar_type(args[0].dtype), self.builder.module
        target = module.globals.get(name)
        if target is None:
            target = ir.Function(module, ir.FunctionType(kind, [kind] * len(args)), name)
        return Scalar(self.builder.call(target, [a.value for a in args]), args[0].dtype)

    def cast(self, a: Scalar, dtype: Any) -> Scalar:
        dtype = np.dtype(dtype)
        if a.dtype == dtype:
            return a
        if dtype.kind == "b":
            return self.truth(a)
        build, kind = self.builder, scalar_type(dtype)
        if a.dtype.kind == "f":
            if dtype.kind == "f":
                method = build.fpext if dtype.itemsize > a.dtype.itemsize else build.fptrunc
            else:
                return self._to_integer(a, dtype)
        elif dtype.kind == "f":
            method = build.sitofp if a.dtype.kind == "i" else build.uitofp
        else:
            width = a.value.type.width
            if width == kind.width:
                return Scalar(a.value, dtype)
            widen = build.sext if a.dtype.kind == "i" else build.zext
            method = widen if width < kind.width else build.trunc
        return Scalar(method(a.value, kind), dtype)

    def _to_integer(self, a: Scalar, dtype: np.dtype[Any]) -> Scalar:
        """Toward zero, through 64 bits; a value out of range gives the smallest, as on x86."""
        wide = np.dtype(np.uint64 if dtype == np.uint64 else np.int64)
        convert = "fptoui" if wide.kind == "u" else "fptosi"
        kind = scalar_type(a.dtype)
        low, high = (0.0, 2.0**64) if wide.kind == "u" else (-(2.0**63), 2.0**63)
        inside = self.builder.and_(
            self.builder.fcmp_ordered(">=", a.value, ir.Constant(kind, low)),
            self.builder.fcmp_ordered("<", a.value, ir.Constant(kind, high)),
        )
        safe = self.builder.select(inside, a.value, ir.Constant(kind, 0.0))
        value = getattr(self.builder, convert)(safe, I64)
        value = self.builder.select(inside, value, ir.Constant(I64, -(2**63)))
        return self.cast(Scalar(value, wide), dtype)


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

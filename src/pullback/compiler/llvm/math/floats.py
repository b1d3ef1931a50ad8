"""Floating-point numbers under construction, with Python's operators, and sums of two of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

from pullback.compiler.llvm.builder import ir

__all__ = ["Pair", "Real", "fma", "ordered_sum", "polynomial", "product", "total"]


class Real:
    """A number under construction; arithmetic on it appends instructions.

    Products may fuse with sums, nothing else may change: the algorithms rely on the rounding.
    """

    __slots__ = ("build", "value")

    def __init__(self, build: ir.IRBuilder, value: Any) -> None:
        self.build = build
        self.value = value

    def of(self, number: Real | float) -> Any:
        return number.value if isinstance(number, Real) else ir.Constant(self.value.type, number)

    def const(self, number: float) -> Real:
        return Real(self.build, self.of(number))

    def apply(self, instruction: str, *operands: Real | float) -> Real:
        method = getattr(self.build, instruction)
        return Real(self.build, method(*map(self.of, operands), flags=("contract",)))

    def alone(self, instruction: str, other: Real) -> Real:
        """Not fused with another instruction."""
        return Real(self.build, getattr(self.build, instruction)(self.value, other.value))

    def __add__(self, other: Real | float) -> Real:
        return self.apply("fadd", self, other)

    def __radd__(self, other: float) -> Real:
        return self.apply("fadd", other, self)

    def __sub__(self, other: Real | float) -> Real:
        return self.apply("fsub", self, other)

    def __rsub__(self, other: float) -> Real:
        return self.apply("fsub", other, self)

    def __mul__(self, other: Real | float) -> Real:
        return self.apply("fmul", self, other)

    def __rmul__(self, other: float) -> Real:
        return self.apply("fmul", other, self)

    def __truediv__(self, other: Real | float) -> Real:
        return self.apply("fdiv", self, other)

    def __rtruediv__(self, other: float) -> Real:
        return self.apply("fdiv", other, self)

    def __neg__(self) -> Real:
        return self.apply("fneg", self)

    def __lt__(self, other: Real | float) -> Any:
        return self.build.fcmp_ordered("<", self.value, self.of(other))

    def __gt__(self, other: Real | float) -> Any:
        return self.build.fcmp_ordered(">", self.value, self.of(other))

    def equals(self, other: Real | float) -> Any:
        return self.build.fcmp_ordered("==", self.value, self.of(other))

    def is_nan(self) -> Any:
        return self.build.fcmp_unordered("uno", self.value, self.value)

    def where(self, condition: Any, other: Real | float) -> Real:
        """``other`` where ``condition`` holds, else this."""
        return Real(self.build, self.build.select(condition, self.of(other), self.value))

    def intrinsic(self, name: str, *others: Real | float) -> Real:
        kind = self.value.type
        values = [self.value, *map(self.of, others)]
        signature = ir.FunctionType(kind, [kind] * len(values))
        function = self.build.module.declare_intrinsic(f"llvm.{name}", [kind], signature)
        return Real(self.build, self.build.call(function, values))

    def __abs__(self) -> Real:
        return self.intrinsic("fabs")

    def with_sign_of(self, other: Real) -> Real:
        return self.intrinsic("copysign", other)

    def rint(self) -> Real:
        """The nearest integer, the even one of two."""
        return self.intrinsic("rint")

    def sqrt(self) -> Real:
        return self.intrinsic("sqrt")


Pair = tuple[Real, Real]  # a number, and what its rounding lost


def polynomial(x: Real, coefficients: Sequence[float]) -> Real:
    """With these coefficients, the constant one first (Horner)."""
    first, *rest = reversed(coefficients)
    return reduce(lambda total, c: total * x + c, rest, x.const(first))


def fma(a: Real, b: Real | float, c: Real | float) -> Real:
    """``a * b + c``, rounded once."""
    return a.intrinsic("fma", b, c)


def product(a: Real, b: Real | float) -> Pair:
    """``a * b`` exactly."""
    high = a.alone("fmul", b if isinstance(b, Real) else a.const(b))
    return high, fma(a, b, -high)


def ordered_sum(a: Real, b: Real) -> Pair:
    """``a + b`` exactly, if ``a`` is zero or not the smaller one (Dekker, 1971)."""
    high = a.alone("fadd", b)
    return high, b.alone("fsub", high.alone("fsub", a))


def total(a: Real, b: Real) -> Pair:
    """``a + b`` exactly (Knuth, *The Art of Computer Programming*, volume 2, 4.2.2)."""
    high = a.alone("fadd", b)
    shadow = high.alone("fsub", a)
    rest_a = a.alone("fsub", high.alone("fsub", shadow))
    return high, rest_a.alone("fadd", b.alone("fsub", shadow))

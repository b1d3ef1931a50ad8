"""Arithmetic, rounding and selection, element by element."""

from __future__ import annotations

from typing import Any

import numpy as np

from pullback.core.primitive import NO_DERIVATIVE, ZERO
from pullback.errors import CompileError
from pullback.ops.families import conjugate, elementwise
from pullback.ops.special import xlogy

__all__: list[str] = []

ANY = (-2.0, 2.0)
POSITIVE = (0.3, 3.0)
STEPS = "integers: derivative 0, as elsewhere"

add = elementwise(
    "add",
    np.add,
    doc="y = x1 + x2",
    kinds="fciub",
    partials=(1, 1),
    scalar=lambda b, x1, x2: b.add(x1, x2),
)

subtract = elementwise(
    "subtract",
    np.subtract,
    doc="y = x1 - x2",
    kinds="fciu",
    partials=(1, -1),
    scalar=lambda b, x1, x2: b.sub(x1, x2),
)

multiply = elementwise(
    "multiply",
    np.multiply,
    doc="y = x1 x2",
    kinds="fciub",
    partials=(lambda x2: x2, lambda x1: x1),
    scalar=lambda b, x1, x2: b.mul(x1, x2),
)

divide = elementwise(
    "divide",
    np.divide,
    doc="y = x1 / x2",
    kinds="fciu",
    domain=(ANY, POSITIVE),
    partials=(lambda x2: 1 / x2, lambda x2, y: -y / x2),
    scalar=lambda b, x1, x2: b.div(x1, x2),
)


def _floor_divide(b: Any, x1: Any, x2: Any) -> Any:
    if not b.is_float(x1):
        return b.div(x1, x2)
    rest = b.call("fmod", x1, x2)
    zero, one = b.const(0, x1), b.const(1, x1)
    opposite = b.compare("<", b.mul(rest, b.call("copysign", one, x2)), zero)
    whole = b.div(b.sub(x1, rest), x2)
    nearest = b.call("floor", b.add(b.sub(whole, b.select(opposite, one, zero)), b.const(0.5, x1)))
    quotient = b.div(x1, x2)
    signed = b.select(b.compare("==", nearest, zero), b.call("copysign", zero, quotient), nearest)
    return b.select(b.compare("==", x2, zero), quotient, signed)


def _remainder(b: Any, x1: Any, x2: Any) -> Any:
    zero = b.const(0, x1)
    if not b.is_float(x1):
        rest = b.sub(x1, b.mul(x2, b.div(x1, x2)))
        return b.select(b.compare("==", x2, zero), zero, rest)
    rest = b.call("fmod", x1, x2)
    opposite = b.compare("<", b.mul(rest, b.call("copysign", b.const(1, x1), x2)), zero)
    signed = b.select(b.compare("==", rest, zero), b.call("copysign", zero, x2), rest)
    return b.select(opposite, b.add(rest, x2), signed)


floor_divide = elementwise(
    "floor_divide",
    np.floor_divide,
    doc="y = the largest integer <= x1 / x2",
    traits=("jumps",),
    kinds="fiu",
    domain=((0.7, 0.9), (0.31, 0.34)),
    flops=10,
    partials=(ZERO, ZERO),
    scalar=_floor_divide,
    kinks="whole quotients: derivative 0, as elsewhere",
)

remainder = elementwise(
    "remainder",
    np.remainder,
    doc="y = x1 - x2 floor(x1 / x2), with the sign of x2",
    traits=("jumps",),
    kinds="fiu",
    domain=((-0.9, -0.7), (0.31, 0.34)),
    flops=10,
    partials=(1, lambda x1, x2: -np.floor_divide(x1, x2)),
    scalar=_remainder,
    kinks="whole quotients: the derivative from above",
)


def _fmod(b: Any, x1: Any, x2: Any) -> Any:
    if b.is_float(x1):
        return b.call("fmod", x1, x2)
    zero, rest = b.const(0, x1), _remainder(b, x1, x2)
    is_other = b.bits("xor", b.compare("<", rest, zero), b.compare("<", x1, zero))
    changes = b.bits("and", is_other, b.compare("!=", rest, zero))
    return b.select(changes, b.sub(rest, x2), rest)


fmod = elementwise(
    "fmod",
    np.fmod,
    doc="y = x1 - x2 trunc(x1 / x2), with the sign of x1",
    traits=("jumps",),
    kinds="fiu",
    domain=((-0.9, -0.7), (0.31, 0.34)),
    flops=10,
    partials=(1, lambda x1, x2: -np.trunc(x1 / x2)),
    scalar=_fmod,
    kinks="whole quotients: the derivative from the side away from 0",
)

negative = elementwise(
    "negative",
    np.negative,
    doc="y = -x",
    traits=("exact",),
    kinds="fci",
    partials=(-1,),
    scalar=lambda b, x: b.neg(x),
)

square = elementwise(
    "square",
    np.square,
    doc="y = x^2",
    kinds="fciu",
    partials=(lambda x: 2 * x,),
    scalar=lambda b, x: b.mul(x, x),
)


def _power(b: Any, x1: Any, x2: Any) -> Any:
    if b.is_float(x1):
        return b.call("pow", x1, x2)
    raise CompileError(
        "power of integers by an array of integers has no native form",
        fix="convert one of them to float, or use a literal exponent",
    )


def _logarithm(x: Any, dtype: np.dtype[Any]) -> Any:
    """``log x``, 0 where x is; complex if the power is, whose base may be real and negative."""
    x = np.where(x == 0, 1, x)
    return np.log(x.astype(dtype) if dtype.kind == "c" else x)


power = elementwise(
    "power",
    np.power,
    doc="y = x1 ** x2",
    domain=(POSITIVE, ANY),
    flops=20,
    partials=(
        lambda x1, x2: x2 * x1 ** np.where(x2 == 0, 1, x2 - 1),
        lambda x1, y: xlogy(y, x1) if y.dtype.kind != "c" else y * _logarithm(x1, y.dtype),
    ),
    kinds="fc",
    scalar=_power,
)


def _sign(b: Any, x: Any) -> Any:
    zero, one = b.const(0, x), b.const(1, x)
    down = b.select(b.compare("<", x, zero), b.sub(zero, one), zero)
    nan = b.select(b.compare("==", x, x), down, x)
    return b.select(b.compare(">", x, zero), one, nan)


# The derivative of |x| at 0 is chosen to be 0. Where ct varies with x, as in |x|^2, the choice says
# nothing of the second derivative, which is NaN; a ct that does not vary has no part in it.
slope = elementwise(
    "slope",
    lambda ct, x: ct * np.sign(x),
    doc="y = x1 times the derivative of |x2|",
    partials=(lambda x2: np.where(x2 == 0, np.nan, np.sign(x2)), ZERO),
    scalar=lambda b, ct, x: b.mul(ct, _sign(b, x)),
    kinks="x2 = 0: derivative NaN for x1, 0 for x2",
)


def _along_absolute(v: Any, x: Any) -> Any:
    """A tangent of complex numbers is multiplied by the conjugate of what a cotangent is."""
    if x.dtype.kind != "c":
        return slope(v, x)
    if v.dtype.kind == "c":
        return v * conjugate(np.sign(x))
    return slope(v, np.abs(x)) * np.sign(x)


absolute = elementwise(
    "absolute",
    np.absolute,
    doc="y = |x|",
    traits=("exact",),
    kinds="fciu",
    is_real=True,
    partials=(lambda ct, x: _along_absolute(ct, x),),
    scalar=lambda b, x: (
        b.call("fabs", x)
        if b.is_float(x)
        else b.select(b.compare("<", x, b.const(0, x)), b.neg(x), x)
    ),
    kinks="0: derivative 0 (the mean of those in all directions), second derivative 0 or NaN",
    kink_samples=((0.0,),),
)


sign = elementwise(
    "sign",
    np.sign,
    doc="y = -1, 0 or 1 with the sign of x",
    traits=("exact", "jumps"),
    kinds="fiu",
    partials=(ZERO,),
    scalar=_sign,
    kinks="0: derivative 0, as elsewhere",
)

copysign = elementwise(
    "copysign",
    np.copysign,
    doc="y = |x1| with the sign of x2",
    traits=("jumps",),
    partials=(lambda x1, x2: np.sign(x1) * np.copysign(1, x2), ZERO),
    scalar=lambda b, x1, x2: b.call("copysign", x1, x2),
    kinks="x1 = 0: derivative 0; x2 = 0: derivative 0, as elsewhere",
    kink_samples=((0.0, 1.0),),
)


# -- choices --------------------------------------------------------------------------------------
def _of_larger(ct: Any, x: Any, other: Any) -> Any:
    """``ct`` where ``x`` is larger (or else smaller), half of it where the two are equal.

    Chosen, not multiplied: an infinite ``ct`` does not reach what was not taken.
    """
    return np.where(x > other, ct, np.where(x == other, 0.5 * ct, 0))


maximum = elementwise(
    "maximum",
    np.maximum,
    doc="y = max(x1, x2); NaN if either is",
    traits=("exact",),
    kinds="fciub",
    partials=(
        lambda ct, x1, x2: _of_larger(ct, x1, x2),
        lambda ct, x1, x2: _of_larger(ct, x2, x1),
    ),
    scalar=lambda b, x1, x2: b.extreme(">", x1, x2),
    kinks="x1 == x2: half to each (the mean of the one-sided derivatives)",
    kink_samples=((1.0, 1.0),),
)

minimum = elementwise(
    "minimum",
    np.minimum,
    doc="y = min(x1, x2); NaN if either is",
    traits=("exact",),
    kinds="fciub",
    partials=(
        lambda ct, x1, x2: _of_larger(ct, x2, x1),
        lambda ct, x1, x2: _of_larger(ct, x1, x2),
    ),
    scalar=lambda b, x1, x2: b.extreme("<", x1, x2),
    kinks="x1 == x2: half to each (the mean of the one-sided derivatives)",
    kink_samples=((1.0, 1.0),),
)

select = elementwise(
    "where",
    np.where,
    doc="y = x2 where x1 else x3",
    traits=("exact",),
    kinds="fciub",
    partials=(
        NO_DERIVATIVE,
        lambda ct, x1: np.where(x1, ct, 0),
        lambda ct, x1: np.where(x1, 0, ct),
    ),
    scalar=lambda b, x1, x2, x3: b.select(b.truth(x1), x2, x3),
)


def _heaviside(b: Any, x1: Any, x2: Any) -> Any:
    zero = b.const(0, x1)
    at_zero = b.select(b.compare("==", x1, zero), x2, x1)
    positive = b.select(b.compare(">", x1, zero), b.const(1, x1), at_zero)
    return b.select(b.compare("<", x1, zero), zero, positive)


heaviside = elementwise(
    "heaviside",
    np.heaviside,
    doc="y = 0 for x1 < 0, x2 for x1 = 0, 1 for x1 > 0",
    traits=("jumps",),
    partials=(ZERO, lambda x1: x1 == 0),
    scalar=_heaviside,
    kinks="x1 = 0: derivative 0 for x1, as elsewhere",
    kink_samples=((0.0, 0.5),),
)


# -- rounding -------------------------------------------------------------------------------------
def _rounded(function: str) -> Any:
    return lambda b, x: b.call(function, x) if b.is_float(x) else x


trunc = elementwise(
    "trunc",
    np.trunc,
    doc="y = x without its fraction",
    traits=("jumps",),
    kinds="fi",
    domain=((-1.7, 1.7),),
    partials=(ZERO,),
    scalar=_rounded("trunc"),
    kinks=STEPS,
)

floor = elementwise(
    "floor",
    np.floor,
    doc="y = the largest integer <= x",
    traits=("jumps",),
    kinds="fi",
    domain=((-1.7, 1.7),),
    partials=(ZERO,),
    scalar=_rounded("floor"),
    kinks=STEPS,
)

ceil = elementwise(
    "ceil",
    np.ceil,
    doc="y = the smallest integer >= x",
    traits=("jumps",),
    kinds="fi",
    domain=((-1.7, 1.7),),
    partials=(ZERO,),
    scalar=_rounded("ceil"),
    kinks=STEPS,
)

rint = elementwise(
    "rint",
    np.rint,
    doc="y = the integer nearest to x; halves go to the even one",
    traits=("jumps",),
    kinds="fi",
    domain=((-1.7, 1.7),),
    partials=(ZERO,),
    scalar=lambda b, x: b.call("rint", x),
    kinks="halves: derivative 0, as elsewhere",
)

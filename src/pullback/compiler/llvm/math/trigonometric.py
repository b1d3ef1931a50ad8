"""Trigonometric functions and their inverses; see ``elementary.py``."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache
from typing import Any

from pullback.compiler.llvm.builder import I64, ir
from pullback.compiler.llvm.math.exponential import Elementary
from pullback.compiler.llvm.math.floats import Real, fma, ordered_sum, polynomial, product, total

__all__ = ["acos", "any_quadrant", "asin", "atan", "atan2", "cos", "sin", "tan"]

SIN = (  # (sin(r) / r - 1) / r^2 in r^2, |r| <= pi / 4
    -0.16666666666666666,
    0.008333333333330943,
    -0.0001984126983674956,
    2.755731609787775e-06,
    -2.5051130870968297e-08,
    1.591805913698281e-10,
)
COS = (  # (cos(r) - 1 + r^2 / 2) / r^4 in r^2
    0.041666666666666664,
    -0.0013888888888887393,
    2.4801587298760048e-05,
    -2.755731726880539e-07,
    2.0876145659059344e-09,
    -1.1382588535352522e-11,
)
ATAN = {  # (atan(t) / t - 1) / t^2 in t^2, |t| <= 1 / 2
    64: (
        -0.3333333333333333,
        0.19999999999998888,
        -0.14285714285526643,
        0.11111111096839207,
        -0.09090908491696649,
        0.07692292200644109,
        -0.06666403587653362,
        0.05879302582288451,
        -0.052384920105044044,
        0.046217612320058665,
        -0.037910269421928544,
        0.02478081711627479,
        -0.009072294488344913,
    ),
    32: (-0.33333334, 0.19999991, -0.14282437, 0.110312164, -0.08333589, 0.043692097),
}
ASIN = {  # (asin(x) / x - 1) / x^2 in x^2, |x| <= 1 / 2
    64: (
        0.16666666666666669,
        0.07499999999998086,
        0.04464285714684728,
        0.030381944107183312,
        0.022372174037335067,
        0.017352369430104073,
        0.013971532836223497,
        0.01147625113992563,
        0.01034081793747115,
        0.005383925392422023,
        0.017592396510730218,
        -0.015139158759755704,
        0.02894683817378194,
    ),
    32: (0.16666666, 0.0750015, 0.04458656, 0.031220933, 0.016659, 0.034414746),
}
HALF_PI = (1.5707963267948966, 6.123233995736766e-17)
HALF_PI_PARTS = tuple(  # in parts of 33 bits and a rest (fdlibm)
    float.fromhex(part)
    for part in (
        "0x1.921fb544p+0",
        "0x1.0b4611a6p-34",
        "0x1.3198a2ep-69",
        "0x1.b839a252049c1p-104",
    )
)


Quadrant = tuple[Real, Real, Any]
Reduction = Callable[[Elementary, Real], Quadrant]


def quadrant(e: Elementary, x: Real) -> Quadrant:
    """``r``, its rounding error and n mod 4 with x = n pi / 2 + r, |r| <= pi / 4."""
    n, n_bits = e.rounded(x * (2 / math.pi))
    r, error = x - n * HALF_PI_PARTS[0], 0.0 * x
    for part in HALF_PI_PARTS[1:3]:  # n times a part is exact; what the difference loses is kept
        step = n * part
        new = r - step
        back = r - new
        error = error + ((r - (new + back)) + (back - step))
        r = new
    error = error - n * HALF_PI_PARTS[3]
    total = r + error
    return total, (r - total) + error, n_bits


def two_over_pi(bits: int) -> Fraction:
    """2 / pi from Machin's formula."""
    one = 1 << (bits + 16)

    def arccot(n: int) -> int:
        term, sum, k = one // n, 0, 1
        while term:
            sum += term // k if k % 4 == 1 else -(term // k)
            term, k = term // (n * n), k + 2
        return sum

    return Fraction(one, 2 * (4 * arccot(5) - arccot(239)))


@lru_cache(maxsize=1)
def turns() -> list[list[float]]:
    """Row ``i`` holds 2^(8 i) 2 / pi modulo 4 in four float64."""
    rows, exact = [], two_over_pi(1024 + 8 * 53)
    for i in range((1024 - 52) // 8 + 1):
        rest = 2 ** (8 * i) * exact
        rest -= 4 * round(rest / 4)
        row = []
        for _ in range(4):
            row.append(float(rest))
            rest -= Fraction(row[-1])
        rows.append(row)
    return rows


def row_of_turns(row: Any, like: Real) -> list[Real]:
    """The numbers in a row of :func:`turns`."""
    build, rows = like.build, turns()
    of_row = ir.ArrayType(like.value.type, len(rows[0]))
    of_table = ir.ArrayType(of_row, len(rows))
    table = build.module.globals.get("turns")
    if table is None:
        table = ir.GlobalVariable(build.module, of_table, "turns")
        table.initializer = of_table([of_row(r) for r in rows])
        table.global_constant, table.linkage = True, "internal"
    addresses = [
        build.gep(table, [I64(0), row, I64(i)], source_etype=of_table) for i in range(len(rows[0]))
    ]
    return [Real(build, build.load(a, typ=like.value.type)) for a in addresses]


def any_quadrant(e: Elementary, x: Real) -> Quadrant:
    """:func:`quadrant` of any float64, for a few times its price.

    |x| is ``m`` 2^(8 i) with an integer m < 2^61, or i = 0. So |x| 2 / pi is ``m`` times row ``i``
    of :func:`turns` up to a multiple of 4 (Payne and Hanek, 1983, here with sums of floats).
    """
    build, form = x.build, e.format
    exponent = build.lshr(e.bits(abs(x)), e.integer(form.mantissa))
    beyond = build.sub(exponent, e.integer(form.bias + form.mantissa))
    is_inside = build.icmp_signed("<", beyond, e.integer(0))
    eights = build.and_(build.select(is_inside, e.integer(0), beyond), e.integer(-8))
    a, b, c, d = row_of_turns(build.lshr(eights, e.integer(3)), x)
    m = x * e.power_of_two(build.sub(e.integer(0), eights), x)
    (a, a_low), (b, b_low), (c, c_low) = product(m, a), product(m, b), product(m, c)
    middle, middle_low = total(a_low, b)
    first, rest = total(fma((0.25 * a).rint(), -4.0, a), middle)
    n, n_bits = e.rounded(first)
    low, lower = total(rest, middle_low)
    small, smaller = total(b_low, c)
    tail, tail_low = total(low, small)
    r, r_low = total(first - n, tail)
    r_low = r_low + ((lower + smaller) + (tail_low + fma(m, d, c_low)))
    r, r_low = ordered_sum(r, r_low)
    high, high_low = e.constant(HALF_PI)
    angle, angle_low = product(r, high)
    angle, error = ordered_sum(angle, angle_low + (r * high_low + r_low * high))
    is_small = abs(x) < math.pi / 4
    return angle.where(is_small, x), error.where(is_small, 0.0), n_bits


def wave(e: Elementary, x: Real, shift: int, reduced: Reduction) -> Real:
    """sin(x + shift pi / 2)."""
    build = x.build
    r, error, n = reduced(e, x)
    z = r * r
    sine = r + (error + r * z * polynomial(z, SIN))
    near_one = 1 - 0.5 * z
    lost = (1 - near_one) - 0.5 * z
    cosine = near_one + (lost + (z * z * polynomial(z, COS) - r * error))
    n = build.add(n, e.integer(shift))
    is_odd = build.trunc(n, ir.IntType(1))
    is_negative = build.trunc(build.lshr(n, e.integer(1)), ir.IntType(1))
    value = sine.where(is_odd, cosine)
    return value.where(is_negative, -value)


def sin(e: Elementary, x: Real, reduced: Reduction = quadrant) -> Real:
    """sin x."""
    return wave(e, x, 0, reduced).where(abs(x) < e.format.smallest_normal, x)


def cos(e: Elementary, x: Real, reduced: Reduction = quadrant) -> Real:
    """cos x."""
    return wave(e, x, 1, reduced)


def tan(e: Elementary, x: Real, reduced: Reduction = quadrant) -> Real:
    """sin x / cos x."""
    return sin(e, x, reduced) / cos(e, x, reduced)


def atan(e: Elementary, x: Real) -> Real:
    """The angle whose tangent is ``x``."""
    return atan2(e, x, x.const(1.0))


def atan2(e: Elementary, y: Real, x: Real) -> Real:
    """The angle of the point (x, y): a multiple of pi / 4, and the arc tangent of a ratio <= 1/2.

    The ratio is b / a or (b - a) / (b + a) of the coordinates' sizes a >= b.
    """
    build, a, b = x.build, abs(x), abs(y)
    is_steep = b > a
    a, b = a.where(is_steep, b), b.where(is_steep, a)
    is_large = a > 2.0 ** (e.format.bias - 1)  # the sum must not overflow
    a, b = a.where(is_large, 0.25 * a), b.where(is_large, 0.25 * b)
    is_wide = build.and_(b > 0, build.not_(b < 0.5 * a))
    difference = (b - a).where(b.equals(a), 0.0)
    below = a.where(is_wide, a + b)
    t = b.where(is_wide, difference) / below.where(below.equals(0.0), 1.0)
    z = t * t
    angle = t + t * z * polynomial(z, ATAN[e.format.bits])
    is_left = x.const(1.0).with_sign_of(x) < 0
    turns = x.const(0.0).where(is_wide, 1.0)
    turns = turns.where(is_steep, 2 - turns)
    turns = turns.where(is_left, 4 - turns)
    angle = angle.where(build.xor(is_steep, is_left), -angle)
    high, low = e.constant(HALF_PI)
    angle = turns * (0.5 * high) + (turns * (0.5 * low) + angle)
    return angle.with_sign_of(y)


def arc(e: Elementary, x: Real) -> tuple[Any, Real, Real]:
    """Whether |x| > 1/2; and, as s + rest, asin |x| or, if so, acos(|x|) / 2."""
    size = abs(x)
    is_large = size > 0.5
    z = (size * size).where(is_large, 0.5 - 0.5 * size)
    s = size.where(is_large, z.sqrt())
    return is_large, s, s * z * polynomial(z, ASIN[e.format.bits])


def asin(e: Elementary, x: Real) -> Real:
    """The angle whose sine is ``x``."""
    is_large, s, rest = arc(e, x)
    high, low = e.constant(HALF_PI)
    first, first_low = ordered_sum(x.const(high), -2 * s)
    large = first + (first_low - (2 * rest - low))
    return (s + rest).where(is_large, large).with_sign_of(x)


def acos(e: Elementary, x: Real) -> Real:
    """The angle whose cosine is ``x``."""
    is_large, s, rest = arc(e, x)
    high, low = e.constant(HALF_PI)
    right = 2 * (s + rest)
    left = (2 * high - 2 * s) - (2 * rest - 2 * low)
    middle = high - (s.with_sign_of(x) - (low - rest.with_sign_of(x)))
    return middle.where(is_large, right.where(x < 0, left))

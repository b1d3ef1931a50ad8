"""Powers and roots, from logarithms and squares with twice the digits; see ``elementary.py``."""

from __future__ import annotations

import math
from typing import Any

from pullback.compiler.llvm.math.exponential import LN2, Elementary
from pullback.compiler.llvm.math.floats import Pair, Real, fma, ordered_sum, polynomial, product

__all__ = ["cbrt", "hypot", "power"]

TWO_THIRDS = (0.6666666666666666, 3.700743415417188e-17)
THIRD = (0.3333333333333333, 1.850371707708594e-17)
LOG = {  # (2 atanh(s) / s - 2 - 2 s^2 / 3) / s^4 in s^2, |s| <= 3 - 2 sqrt(2)
    64: (
        0.40000000000000624,
        0.28571428570895235,
        0.22222222377084497,
        0.1818179683974947,
        0.15386186998076729,
        0.1326995284027433,
        0.13076060388861765,
    ),
    32: (0.40000093, 0.28552726, 0.23294179),
}


def log_pair(e: Elementary, x: Real) -> Pair:
    """log x with twice the digits; where it is infinite or NaN, the low part means nothing.

    2 atanh(s) for s = f / (2 + f), of which the first two terms have two parts.
    """
    k, m = e.split(x)
    f = m - 1
    d, d_low = ordered_sum(x.const(2.0), f)
    inverse = 1.0 / d
    s = f.alone("fmul", inverse)
    s_low = fma(-s, d_low, fma(-s, d, f)) * inverse
    z, z_low = product(s, s)
    z_low = fma(2 * s, s_low, z_low)
    third, third_low = e.constant(TWO_THIRDS)
    c, c_low = ordered_sum(x.const(third), z * polynomial(z, LOG[e.format.bits]))
    square, square_low = product(z, c)
    square_low = fma(z, c_low + third_low, fma(z_low, c, square_low))
    cube, cube_low = product(s, square)
    cube_low = fma(s, square_low, fma(s_low, square, cube_low))
    ln2, ln2_low = e.constant(LN2)
    leading, leading_low = product(k, ln2)
    first, first_low = ordered_sum(leading, 2 * s)
    second, second_low = ordered_sum(first, cube)
    low = (k * ln2_low + leading_low) + (2 * s_low + (first_low + cube_low))
    high, low = ordered_sum(second, second_low + low)
    return e.log_ends(x, high), low


def exp_times(e: Elementary, log: Pair, y: Real | float, y_low: float = 0.0) -> Real:
    """e^(log (y + y_low))."""
    high, low = product(log[0], y)
    low = fma(log[1], y, fma(log[0], y_low, low))
    smallest, largest = e.format.exp_range
    has_rest = log[0].build.and_(high > smallest, high < largest + 1)
    return e.exp(high, high.const(0.0).where(has_rest, low))


def is_integer(x: Real) -> Any:
    """Whether ``x`` is one; all large floats are."""
    return x.equals(x.rint())


def power(e: Elementary, x: Real, y: Real) -> Real:
    """x^y with the special values of C's ``pow``."""
    build, size = x.build, abs(x)
    value = exp_times(e, log_pair(e, size), y)
    is_whole = is_integer(y)
    is_odd = build.and_(is_whole, build.not_(is_integer(0.5 * y)))
    value = value.where(is_odd, value.with_sign_of(x))
    is_root = build.and_(x < 0, build.not_(is_whole))
    value = value.where(build.and_(is_root, size < math.inf), math.nan)
    is_unit = build.and_(x.equals(-1.0), abs(y).equals(math.inf))
    is_one = build.or_(build.or_(y.equals(0.0), x.equals(1.0)), is_unit)
    return value.where(is_one, 1.0)


def cbrt(e: Elementary, x: Real) -> Real:
    """x^(1/3), also of negative numbers."""
    third, third_low = e.constant(THIRD)
    return exp_times(e, log_pair(e, abs(x)), third, third_low).with_sign_of(x)


def hypot(e: Elementary, x: Real, y: Real) -> Real:
    """(x^2 + y^2)^(1/2) from exact squares, scaled so that they neither over- nor underflow."""
    build, a, b = x.build, abs(x), abs(y)
    infinite = build.or_(a.equals(math.inf), b.equals(math.inf))
    is_less = a < b
    a, b = a.where(is_less, b), b.where(is_less, a)
    bottom, top = -2 * e.format.mantissa, e.format.bias // 2
    is_small, is_large = a < 2.0**bottom, a > 2.0 ** (top - 1)
    up, down = 2.0 ** (top - bottom), 2.0 ** (bottom - top)
    scale = x.const(1.0).where(is_small, up).where(is_large, down)
    inverse = x.const(1.0).where(is_small, down).where(is_large, up)
    a, a_low = product(a * scale, a * scale)
    b, b_low = product(b * scale, b * scale)
    sum, sum_low = ordered_sum(a, b)
    root = sum.sqrt()
    rest = fma(-root, root, sum) + (sum_low + (a_low + b_low))
    root = root + rest * (0.5 / root.where(root.equals(0.0), 1.0))
    return (root * inverse).where(infinite, math.inf)

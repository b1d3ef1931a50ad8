"""Trigonometric functions and their inverses; see ``elementary.py``."""

from __future__ import annotations

import math
from typing import Any

from pullback.compile.elementary import Elementary
from pullback.compile.ir import ir
from pullback.compile.real import Real, polynomial

__all__ = ["cos", "sin", "tan"]

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
HALF_PI = tuple(  # in parts of 33 bits and a rest (fdlibm)
    float.fromhex(part)
    for part in (
        "0x1.921fb544p+0",
        "0x1.0b4611a6p-34",
        "0x1.3198a2ep-69",
        "0x1.b839a252049c1p-104",
    )
)


def quadrant(e: Elementary, x: Real) -> tuple[Real, Real, Any]:
    """``r``, its rounding error and n mod 4 with x = n pi / 2 + r, |r| <= pi / 4."""
    n, n_bits = e.rounded(x * (2 / math.pi))
    r, error = x - n * HALF_PI[0], 0.0 * x
    for part in HALF_PI[1:3]:  # n times a part is exact; what the difference loses is kept
        step = n * part
        new = r - step
        back = r - new
        error = error + ((r - (new + back)) + (back - step))
        r = new
    error = error - n * HALF_PI[3]
    total = r + error
    return total, (r - total) + error, n_bits


def wave(e: Elementary, x: Real, shift: int) -> Real:
    """sin(x + shift pi / 2)."""
    build = x.build
    r, error, n = quadrant(e, x)
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


def sin(e: Elementary, x: Real) -> Real:
    """sin x."""
    return wave(e, x, 0).where(abs(x) < e.format.smallest_normal, x)


def cos(e: Elementary, x: Real) -> Real:
    """cos x."""
    return wave(e, x, 1)


def tan(e: Elementary, x: Real) -> Real:
    """sin x / cos x."""
    return sin(e, x) / cos(e, x)

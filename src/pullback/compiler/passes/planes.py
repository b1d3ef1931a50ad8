"""Operations on complex numbers as operations on their real and imaginary parts.

A complex array is a pair of real ones, its planes. Each function here takes and returns planes and
is written in NumPy's terms, so that it can be staged. Infinities, NaN and signed zeros follow NumPy
and C99 (Annex G); a real operand is a pair whose second plane is zero, as NumPy has it, so that
infinity times ``1j`` has a NaN for its real part.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import numpy as np

__all__ = ["ELEMENTWISE", "Planes", "multiply", "power_by_literal", "truth"]

MOST_MULTIPLICATIONS = 100  # NumPy multiplies for integer exponents below


class Planes(NamedTuple):
    """The real and the imaginary parts of an array, which have one dtype."""

    real: Any
    imag: Any


def multiply(a: Planes, b: Planes) -> Planes:
    """The product, all four terms of it."""
    return Planes(a.real * b.real - a.imag * b.imag, a.real * b.imag + a.imag * b.real)


def divide(a: Planes, b: Planes) -> Planes:
    """Smith (1962), *Algorithm 116: complex division*, so that squares do not overflow."""
    is_wide = np.absolute(b.real) >= np.absolute(b.imag)
    large, small = np.where(is_wide, b.real, b.imag), np.where(is_wide, b.imag, b.real)
    is_zero = (b.real == 0) & (b.imag == 0)
    ratio = np.where(is_zero, 0, small / np.where(is_zero, 1, large))
    scale = 1 / np.where(is_zero, np.absolute(b.real), large + small * ratio)
    # a / b = (a.real + i a.imag) (b.real - i b.imag) / |b|^2, with the larger part of b drawn out
    first, second = np.where(is_wide, a.real, a.imag), np.where(is_wide, a.imag, a.real)
    imag = np.where(is_wide, second - first * ratio, second * ratio - first)
    imag = np.where(is_wide, imag, a.imag * ratio - a.real)
    real, imag = (first + second * ratio) * scale, imag * scale
    return Planes(np.where(is_zero, a.real * scale, real), np.where(is_zero, a.imag * scale, imag))


def absolute(z: Planes) -> Any:
    return np.hypot(z.real, z.imag)


def _large(x: Any) -> float:
    """From where on ``e^x`` is computed in two steps: its product with a cosine may be finite."""
    return 80.0 if x.dtype.itemsize == 4 else 700.0


def _scaled_exp(x: Any) -> tuple[Any, Any]:
    """``e^x`` in two factors."""
    far = _large(x)
    is_far = x > far
    rest = np.where(is_far, x - far, x)
    return np.exp(rest), np.where(is_far, np.exp(x.dtype.type(far)), x.dtype.type(1))


def exp(z: Planes) -> Planes:
    size, factor = _scaled_exp(z.real)
    is_gone = (z.real == -np.inf) & ~np.isfinite(z.imag)  # 0, whatever the angle
    is_far = (z.real == np.inf) & ~np.isfinite(z.imag)

    def part(direction: Any, at_infinity: Any) -> Any:
        y = size * np.where(is_gone, 0, direction) * factor
        return np.where(is_far, at_infinity, y)

    imag = part(np.sin(z.imag), np.nan)
    return Planes(part(np.cos(z.imag), np.inf), np.where(z.imag == 0, z.imag, imag))


def log(z: Planes) -> Planes:
    """The logarithm of ``|z|``, near 1 by way of ``|z|^2 - 1``, and the angle."""
    x, y = np.absolute(z.real), np.absolute(z.imag)
    large, small = np.maximum(x, y), np.minimum(x, y)
    size = absolute(z)
    is_near = (size > 0.5) & (size < 2)
    square = np.where(is_near, (large - 1) * (large + 1) + small * small, 0)
    return Planes(
        np.where(is_near, 0.5 * np.log1p(square), np.log(size)), np.arctan2(z.imag, z.real)
    )


def sqrt(z: Planes) -> Planes:
    """Without cancellation: the larger part is computed, the other one is ``imag / (2 larger)``."""
    x, y = z
    is_finite = np.isfinite(x) & np.isfinite(y)
    big = float(np.finfo(x.dtype).max) / 8
    is_big = (np.absolute(x) > big) | (np.absolute(y) > big)
    scale = np.where(is_big, 0.25, x.dtype.type(1))
    x, y = np.where(is_finite, x * scale, 1), np.where(is_finite, y * scale, 0)
    larger = np.sqrt(0.5 * (np.absolute(x) + np.hypot(x, y)))
    is_zero = larger == 0
    smaller = np.where(is_zero, y, np.absolute(y) / (2 * np.where(is_zero, 1, larger)))
    back = np.where(is_big, 2, x.dtype.type(1))
    real = back * np.where(x >= 0, larger, smaller)
    imag = back * np.where(x >= 0, smaller, larger)
    return _sqrt_at_infinity(z, is_finite, real, np.copysign(imag, z.imag))


def _sqrt_at_infinity(z: Planes, is_finite: Any, real: Any, imag: Any) -> Planes:
    x, y = z
    is_nan = np.isnan(x) | np.isnan(y)
    zero_or_nan = np.where(np.isnan(y), y, 0)
    left, right = x == -np.inf, x == np.inf
    far_real = np.where(left, zero_or_nan, np.where(right, x, np.nan * x))
    far_imag = np.where(
        left, np.copysign(np.inf, y), np.where(right, np.copysign(zero_or_nan, y), np.nan)
    )
    far_real = np.where(np.isinf(y), np.inf, far_real)
    far_imag = np.where(np.isinf(y), y, np.where(is_nan & ~left, np.nan, far_imag))
    return Planes(np.where(is_finite, real, far_real), np.where(is_finite, imag, far_imag))


def sinh(z: Planes) -> Planes:
    x, y = z
    return Planes(_wave(x, y, np.sinh, np.cos), _wave(x, y, np.cosh, np.sin))


def cosh(z: Planes) -> Planes:
    x, y = z
    return Planes(_wave(x, y, np.cosh, np.cos), _wave(x, y, np.sinh, np.sin))


def sin(z: Planes) -> Planes:
    x, y = z
    return Planes(_wave(y, x, np.cosh, np.sin), _wave(y, x, np.sinh, np.cos))


def cos(z: Planes) -> Planes:
    x, y = z
    return Planes(_wave(y, x, np.cosh, np.cos), -_wave(y, x, np.sinh, np.sin))


def _wave(x: Any, angle: Any, growth: Any, turn: Any) -> Any:
    """``growth(x) turn(angle)``: of a hyperbolic and a trigonometric function.

    It is ``e^|x| / 2`` times the other one where that is large. A factor that is 0 wins over an
    infinite one, and an infinite growth over the cosine of nothing.
    """
    is_far = np.absolute(x) > _large(x)
    size, factor = _scaled_exp(np.absolute(x))
    side = np.copysign(1, x) if growth is np.sinh else 1
    direction = turn(angle)
    y = np.where(
        is_far, side * (0.5 * size * direction) * factor, growth(np.where(is_far, 0, x)) * direction
    )
    if turn is np.cos:
        y = np.where(np.isinf(x) & ~np.isfinite(angle), side * np.inf, y)
    is_zero = ((x == 0) & (growth is np.sinh)) | ((angle == 0) & (turn is np.sin))
    zero = np.copysign(0 * direction, direction) if growth is np.cosh else 0 * np.copysign(1, x)
    if growth is np.sinh:
        zero = np.copysign(zero, x) * np.copysign(1, direction)
    return np.where(is_zero, zero, y)


def tanh(z: Planes) -> Planes:
    """Kahan (1987), *Branch cuts for complex elementary functions*: without overflow."""
    x, y = z
    is_far = np.absolute(x) > 20
    slope, s = np.tan(y), np.sinh(np.where(is_far, 0, x))
    beta, rho = 1 + slope * slope, np.sqrt(1 + s * s)
    denominator = 1 + beta * s * s
    far_imag = 4 * np.sin(y) * np.cos(y) * np.square(np.exp(-np.absolute(x)))
    is_settled = np.isfinite(y) | np.isinf(x)
    far_imag = np.where(is_settled, np.where(np.isfinite(y), far_imag, 0), np.nan)
    far_real = np.where(is_settled, np.copysign(1, x), np.nan)
    is_pole = np.isinf(slope)
    real = np.where(is_pole, rho / np.where(s == 0, 0 * s, s), beta * rho * s / denominator)
    imag = np.where(is_pole, 0, slope / denominator)
    imag = np.where(y == 0, y, np.where(is_far, far_imag, imag))
    real = np.where((x == 0) & ~np.isfinite(y), x, real)
    return Planes(np.where(is_far, far_real, real), imag)


def tan(z: Planes) -> Planes:
    """``-i tanh iz``."""
    y = tanh(Planes(-z.imag, z.real))
    return Planes(y.imag, -y.real)


def truth(z: Planes) -> Any:
    """Whether a number is not 0."""
    return (z.real != 0) | (z.imag != 0)


def equal(a: Planes, b: Planes) -> Any:
    return (a.real == b.real) & (a.imag == b.imag)


def power_by_literal(z: Planes, exponent: Any) -> Planes | None:
    """``z`` to a small whole power as NumPy multiplies it out; ``None`` for others."""
    n = complex(exponent)
    if n.imag or n.real != int(n.real) or not 0 < abs(n.real) < MOST_MULTIPLICATIONS:
        return None
    left, result, square = int(abs(n.real)), None, z
    while left:
        if left & 1:
            result = square if result is None else multiply(result, square)
        left >>= 1
        if left:
            square = multiply(square, square)
    assert result is not None
    one = Planes(z.real.dtype.type(1), z.real.dtype.type(0))
    return divide(one, result) if n.real < 0 else result


# By the name of the primitive: of planes, and giving planes, or a real array.
ELEMENTWISE: Final[Mapping[str, Callable[..., Any]]] = {
    "add": lambda a, b: Planes(a.real + b.real, a.imag + b.imag),
    "subtract": lambda a, b: Planes(a.real - b.real, a.imag - b.imag),
    "negative": lambda z: Planes(-z.real, -z.imag),
    "multiply": multiply,
    "divide": divide,
    "square": lambda z: multiply(z, z),
    "absolute": absolute,
    "conjugate": lambda z: Planes(z.real, -z.imag),
    "real": lambda z: z.real,
    "imag": lambda z: z.imag,
    "complex": lambda a, b: Planes(a.real, b.real),
    "stop_gradient": lambda z: z,
    "exp": exp,
    "log": log,
    "sqrt": sqrt,
    "sin": sin,
    "cos": cos,
    "tan": tan,
    "sinh": sinh,
    "cosh": cosh,
    "tanh": tanh,
    "equal": equal,
    "not_equal": lambda a, b: (a.real != b.real) | (a.imag != b.imag),
    "isnan": lambda z: np.isnan(z.real) | np.isnan(z.imag),
    "isinf": lambda z: np.isinf(z.real) | np.isinf(z.imag),
    "isfinite": lambda z: np.isfinite(z.real) & np.isfinite(z.imag),
    "logical_not": lambda z: ~truth(z),
    "logical_and": lambda a, b: truth(a) & truth(b),
    "logical_or": lambda a, b: truth(a) | truth(b),
    "logical_xor": lambda a, b: truth(a) ^ truth(b),
}

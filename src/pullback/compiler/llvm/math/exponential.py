"""Elementary functions as straight-line arithmetic, so that the loops they stand in vectorize.

Each is a small LLVM function without calls and branches, inlined where it is used. Both precisions
share one algorithm and differ in constants and in the degree of the polynomials, which are minimax
fits (``mpmath.chebyfit``) on the reduced interval, in ascending powers. At most 2 units in the last
place, 4 for tanh; NaN, infinities, signed zeros and subnormals as in NumPy.

Reductions: Muller, *Elementary Functions*, 3rd ed. (2016), chapters 11.1-11.3; the logarithm is
that of fdlibm (Sun Microsystems, 1993).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from pullback.compiler.llvm.builder import ir
from pullback.compiler.llvm.math.floats import (
    Pair,
    Real,
    fma,
    ordered_sum,
    polynomial,
    product,
    total,
)

__all__ = ["LN2", "Elementary"]

# Each in two parts of all digits: see Elementary.constant.
LN2 = (0.6931471805599453, 2.3190468138462996e-17)
LOG2_E = (1.4426950408889634, 2.0355273740931033e-17)
LOG10_E = (0.4342944819032518, 1.098319650216765e-17)
LOG10_2 = (0.3010299956639812, -2.8037281277851704e-18)


class Format(NamedTuple):
    """A binary format, and the constants that the functions need in it."""

    bits: int
    mantissa: int
    ln2: tuple[float, float]  # high part with zeros at its end, so that n * high is exact; rest
    exp: tuple[float, ...]  # (e^r - 1 - r) / r^2 on |r| <= ln(2) / 2
    log: tuple[float, ...]  # (log(1 + f) - (2 s)) / s as a polynomial in s^2, s = f / (2 + f)
    sinh: tuple[float, ...]  # (sinh(x) / x - 1) / x^2 in x^2, |x| <= 1
    exp_range: tuple[float, float]  # below: 0; above: infinity
    exp2_range: tuple[float, float]

    @property
    def bias(self) -> int:
        return (1 << (self.bits - self.mantissa - 2)) - 1

    @property
    def magic(self) -> float:
        """Adding it rounds a small number to an integer, which then stands in the last bits."""
        return 1.5 * 2.0**self.mantissa

    @property
    def smallest_normal(self) -> float:
        return 2.0 ** (1 - self.bias)


FORMATS = {
    8: Format(
        bits=64,
        mantissa=52,
        ln2=(float.fromhex("0x1.62E42FEE00000P-1"), float.fromhex("0x1.A39EF35793C76P-33")),
        exp=(
            0.5000000000000001,
            0.16666666666666669,
            0.04166666666662413,
            0.008333333333330062,
            0.0013888888917213717,
            0.00019841269863053618,
            2.4801521295954376e-05,
            2.7557268459997064e-06,
            2.7620088445409746e-07,
            2.510038549551032e-08,
        ),
        log=(
            0.666666666666667,
            0.3999999999989889,
            0.28571428626253836,
            0.22222211089379496,
            0.1818289243253687,
            0.15331611722055008,
            0.14617807153417325,
        ),
        sinh=(
            0.16666666666666666,
            0.008333333333333567,
            0.00019841269841110005,
            2.75573192647714e-06,
            2.5052105469443237e-08,
            1.6058657453834518e-10,
            7.716098049884679e-13,
        ),
        exp_range=(-745.2, 709.782712893384),
        exp2_range=(-1076.0, 1024.0),
    ),
    4: Format(
        bits=32,
        mantissa=23,
        ln2=(float.fromhex("0x1.62E400P-1"), float.fromhex("0x1.7F7D1CP-20")),
        exp=(
            0.5,
            0.16666576989698775,
            0.041666554617204574,
            0.008363179052722578,
            0.0013926183587713494,
        ),
        log=(0.6666666655404201, 0.4000012221181065, 0.28550778633191964, 0.23331614471843498),
        sinh=(0.16666667, 0.008333298, 0.00019846359, 2.7591075e-06),
        exp_range=(-104.0, 88.72283935546875),
        exp2_range=(-151.0, 128.0),
    ),
}


ERF = (  # erf(x) / x - 1 in x^2, |x| <= 1
    0.12837916709551256,
    -0.37612638903183543,
    0.11283791670945006,
    -0.02686617064323777,
    0.0052239776071164225,
    -0.0008548325975389692,
    0.00012055294904839707,
    -1.492473690741966e-05,
    1.6447424703317362e-06,
    -1.6208483801871705e-07,
    1.3720064546777686e-08,
    -7.795898827002142e-10,
)
ERFC = (  # (1 + 2 x) e^(x^2) erfc(x) in (x - 4) / (x + 4), 0.5 <= x <= 28
    1.2329951186255526,
    -0.13962111684056253,
    0.015379652102619027,
    0.0680970542546948,
    -0.10103906603625375,
    0.09373283499828751,
    -0.06633036581360713,
    0.03716751553818893,
    -0.01619773403826592,
    0.0050319699756138135,
    -0.0007577734486762808,
    -0.00019925671345040716,
    0.00015062249512264785,
    -2.4398983809134553e-05,
    -1.12247322473501e-05,
    5.7086428044048145e-06,
    2.9955790685567077e-07,
    -8.22559563206072e-07,
    6.702452833728971e-08,
    1.0568025135820959e-07,
    -1.2224048303152388e-08,
    -1.0476718674667371e-08,
)
Factor = tuple[float, float]


class Elementary:
    """The functions of one precision."""

    def __init__(self, n_bytes: int) -> None:
        self.format = FORMATS[n_bytes]
        self.word = ir.IntType(self.format.bits)

    def integer(self, number: int) -> Any:
        return ir.Constant(self.word, number)

    def bits(self, x: Real) -> Any:
        return x.build.bitcast(x.value, self.word)

    def real(self, bits: Any, like: Real) -> Real:
        return Real(like.build, like.build.bitcast(bits, like.value.type))

    def constant(self, parts: Factor) -> Factor:
        """A number in two parts of this precision."""
        high, low = parts
        if self.format.bits == 64:
            return high, low
        single = float(np.float32(high))
        return single, high - single

    def rounded(self, x: Real) -> tuple[Real, Any]:
        """The nearest integer to a small ``x``, as a number and in the last bits of a word."""
        shifted = x + self.format.magic
        return shifted - self.format.magic, self.bits(shifted)

    def power_of_two(self, n: Any, like: Real) -> Real:
        """2^n for an ``n`` from :meth:`rounded`, where that is a normal number."""
        biased = like.build.add(n, self.integer(self.format.bias))
        return self.real(like.build.shl(biased, self.integer(self.format.mantissa)), like)

    def remainder(self, x: Real) -> tuple[Real, Any, Real, Real]:
        """``n`` (twice, see :meth:`rounded`), ``r`` and its error: x = n ln 2 + r, |r| < 0.35."""
        high, low = self.format.ln2
        n, n_bits = self.rounded(x * (1 / math.log(2)))
        most = x - n * high
        r = most - n * low
        return n, n_bits, r, (most - r) - n * low

    def exp2(self, x: Real) -> Real:
        x, is_zero = self.in_exp_range(x, self.format.exp2_range)
        n, n_bits = self.rounded(x)
        high, low = self.constant(LN2)
        f = x - n
        r, rest = product(f, high)
        return self.scaled(self.growth(r, rest + f * low), n, n_bits).where(is_zero, 0.0)

    def in_exp_range(self, x: Real, ends: tuple[float, float]) -> tuple[Real, Any]:
        """An ``x`` whose power does not underflow, and whether that is zero.

        Some processors take a hundred cycles for a product that underflows: softmax has many.
        """
        smallest, largest = ends
        is_zero = x < smallest
        return x.where(is_zero, 0.0).where(x > largest, largest), is_zero

    def in_range(self, x: Real, ends: tuple[float, float]) -> Real:
        lowest, highest = ends
        return x.where(x < lowest, lowest).where(x > highest, highest)

    def growth(self, r: Real, tiny: Real | float) -> Real:
        """e^(r + tiny) - 1."""
        return r + (r * r * polynomial(r, self.format.exp) + tiny)

    def scaled(self, growth: Real, n: Real, n_bits: Any, factor: Real | float = 1.0) -> Real:
        """2^n (1 + growth) times ``factor``; infinite before anything is subtracted from it."""
        value = factor + factor * growth
        _, half = self.rounded(n * 0.5)  # in two factors, which reach beyond the normal numbers
        value = value * self.power_of_two(half, n)
        return value.alone("fmul", self.power_of_two(n.build.sub(n_bits, half), n))

    def exp(
        self,
        x: Real,
        rest: Real | float = 0.0,
        factor: Real | float = 1.0,
        tiny: Real | float = 0.0,
    ) -> Real:
        """e^(x + rest + tiny) times ``factor``."""
        smallest, largest = self.format.exp_range
        x, is_zero = self.in_exp_range(x, (smallest, largest + 2))
        n, n_bits, r, error = self.remainder(x)
        if isinstance(rest, Real):
            total = r + rest
            tiny = tiny + (((r - total) + rest) + error)
            r = total
        return self.scaled(self.growth(r, tiny), n, n_bits, factor).where(is_zero, 0.0)

    def expm1(self, x: Real) -> Real:
        _, largest = self.format.exp_range
        lowest = -(self.format.mantissa + 4) * math.log(2)  # from there on it is -1
        _, n_bits, r, _ = self.remainder(self.in_range(x, (lowest, largest)))
        half = self.power_of_two(x.build.sub(n_bits, self.integer(1)), x)  # 2^n may be infinite
        value = half * r + (half - 0.5) + half * (r * r * polynomial(r, self.format.exp))
        tiny = abs(x) < self.format.smallest_normal  # signed zeros, subnormals
        return (2 * value).where(x > largest, math.inf).where(tiny, x)

    def tanh(self, x: Real) -> Real:
        """t / (t + 2) for t = e^(2 |x|) - 1."""
        bound = (self.format.mantissa + 4) * math.log(2) / 2  # from there on it is 1
        size = abs(x)
        t = self.expm1(2 * size.where(size > bound, bound))
        return (t / (t + 2)).with_sign_of(x).where(x.is_nan(), x)

    def split(self, x: Real) -> tuple[Real, Real]:
        """``k`` and ``m`` with x = 2^k m, sqrt(1/2) <= m < sqrt(2), for a finite positive ``x``."""
        lift = self.format.mantissa + 2
        small = x < self.format.smallest_normal
        k, m = self.split_normal(x.where(small, x * 2.0**lift))
        return k.where(small, k - lift), m

    def split_normal(self, x: Real) -> tuple[Real, Real]:
        form, build = self.format, x.build
        root = self.bits(Real(build, x.of(math.sqrt(0.5))))
        shifted = build.add(build.sub(self.bits(x), root), self.integer(form.bias << form.mantissa))
        biased = build.lshr(shifted, self.integer(form.mantissa))
        mantissa = self.integer((1 << form.mantissa) - 1)
        m = self.real(build.add(build.and_(shifted, mantissa), root), x)
        offset = 2.0**form.mantissa
        k = self.real(build.or_(biased, self.bits(Real(build, x.of(offset)))), x)
        return k - (offset + form.bias), m

    def log_parts(self, f: Real) -> Pair:
        """``h`` and ``t`` with log(1 + f) = f - h + t, h = f^2 / 2."""
        s = f / (f + 2)
        z = s * s
        half_square = 0.5 * f * f
        return half_square, s * (half_square + z * polynomial(z, self.format.log))

    def log_of(self, k: Real, f: Real, c: Real | float) -> Real:
        """k ln 2 + log(1 + f) + c, for a small correction ``c``."""
        high, low = self.format.ln2
        half_square, tail = self.log_parts(f)
        return ((tail + (k * low + c)) - half_square) + f + k * high

    def log_times(self, x: Real, factor: Factor, of_two: Factor) -> Real:
        """log(x) times a constant; ``of_two`` is log(2) times it."""
        k, m = self.split(x)
        half_square, tail = self.log_parts(m - 1)
        (c, c_low), (two, two_low) = self.constant(factor), self.constant(of_two)
        f, f_low = ordered_sum(m - 1, -half_square)
        a, a_low = product(k, two)
        b, b_low = product(f, c)
        high, low = ordered_sum(a, b)
        small = f * c_low + ((f_low + tail) * c + b_low)
        return high + (low + ((k * two_low + a_low) + small))

    def log_ends(self, x: Real, value: Real) -> Real:
        """``value`` where 0 < x < inf, else what a logarithm is there."""
        value = value.where(x > self.largest, math.inf).where(x < 0, math.nan)
        return value.where(x.equals(0.0), -math.inf).where(x.is_nan(), x)

    def log(self, x: Real) -> Real:
        k, m = self.split(x)
        return self.log_ends(x, self.log_of(k, m - 1, 0.0))

    def log2(self, x: Real) -> Real:
        return self.log_ends(x, self.log_times(x, LOG2_E, (1.0, 0.0)))

    def log10(self, x: Real) -> Real:
        return self.log_ends(x, self.log_times(x, LOG10_E, LOG10_2))

    def log1p(self, x: Real) -> Real:
        return self.log1p_of(x, x.const(0.0))

    def log1p_of(self, x: Real, rest: Real) -> Real:
        """log(1 + x + rest)."""
        u, lost = ordered_sum(x.const(1.0), x)  # u - 1 is exact, up to where this ends to matter
        k, m = self.split_normal(u)
        value = self.log_ends(u, self.log_of(k, m - 1, (lost + rest) / u))
        return value.where(x.equals(0.0), x)

    def half_exp(self, x: Real) -> Real:
        """e^|x| / 2, which is finite a little longer than e^|x|."""
        return self.exp(abs(x), factor=0.5)

    def sinh(self, x: Real) -> Real:
        """e^x / 2 - e^-x / 2, near zero a polynomial."""
        half, z = self.half_exp(x), x * x
        near = x + x * z * polynomial(z, self.format.sinh)
        far = half - 0.25 / half
        return far.with_sign_of(x).where(abs(x) < 1, near)

    def cosh(self, x: Real) -> Real:
        half = self.half_exp(x)
        return half + 0.25 / half

    def asinh(self, x: Real) -> Real:
        """log(1 + |x| + x^2 / (1 + sqrt(1 + x^2))), or log |x| + log 2."""
        size = abs(x)
        is_large = size > self.no_square
        square = (x * x).where(is_large, 0.0)
        t, rest = ordered_sum(size.where(is_large, size - 1), square / (1 + (1 + square).sqrt()))
        value = self.log1p_of(t, rest)
        return value.where(is_large, value + LN2[0]).with_sign_of(x)

    def acosh(self, x: Real) -> Real:
        """log(1 + a + sqrt(2 a + a^2)) with a = x - 1, or log x + log 2."""
        a = x - 1
        is_large = x > self.no_square
        root = fma(a, a, 2 * a).sqrt().where(is_large, 0.0)
        value = self.log1p_of(*total(a, root))
        return value.where(is_large, value + LN2[0]).where(x < 1, math.nan)

    def atanh(self, x: Real) -> Real:
        """log(1 + 2 |x| / (1 - |x|)) / 2."""
        size = abs(x)
        return (0.5 * self.log1p(2 * size / (1 - size))).with_sign_of(x)

    def erf(self, x: Real) -> Real:
        size = abs(x)
        is_near = size < 1
        z = x * x
        near = x + x * polynomial(z.where(z > 1, 1.0), ERF)
        far = (1 - self.erfc_of(size)).with_sign_of(x)
        return far.where(is_near, near).where(x.is_nan(), x)

    def erfc(self, x: Real) -> Real:
        size = abs(x)
        is_near = size < 0.81  # there erfc x > 1 / 4
        z = x * x
        near = (0.5 - x) + (0.5 - x * polynomial(z.where(z > 1, 1.0), ERF))
        far = self.erfc_of(size)
        return far.where(x < 0, 2 - far).where(is_near, near).where(x.is_nan(), x)

    def erfc_of(self, x: Real) -> Real:
        """erfc x for x >= 0.5: e^(-x^2) / (1 + 2 x) times a polynomial in (x - 4) / (x + 4)."""
        x = x.where(x > 28, 28.0).where(x < 0.5, 0.5)
        q = (x - 4) / (x + 4)
        half_digits = self.integer(-1 << (self.format.mantissa + 2) // 2)
        high = self.real(x.build.and_(self.bits(x), half_digits), x)  # its square is exact
        rest = (x - high) * (x + high)
        first, *others = ERFC
        above = q * polynomial(q, others)
        p, d = first + above, 1 + 2 * x
        lost = ((first - p) + above) * (1 / first) - (1 - (d - 2 * x)) / d  # by rounding p and d
        return self.exp(-(high * high), -rest, p / d, lost)

    @property
    def no_square(self) -> float:
        """From there on, x^2 + 1 is x^2."""
        return 2.0 ** (self.format.mantissa // 2 + 2)

    @property
    def largest(self) -> float:
        return float(np.finfo(np.float64 if self.format.bits == 64 else np.float32).max)

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
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any, NamedTuple

import numpy as np

from pullback.compile.ir import ir

__all__ = ["elementary"]


class Format(NamedTuple):
    """A binary format, and the constants that the functions need in it."""

    bits: int
    mantissa: int
    ln2: tuple[float, float]  # high part with zeros at its end, so that n * high is exact; rest
    exp: tuple[float, ...]  # (e^r - 1 - r) / r^2 on |r| <= ln(2) / 2
    log: tuple[float, ...]  # (log(1 + f) - (2 s)) / s as a polynomial in s^2, s = f / (2 + f)
    exp_range: tuple[float, float]  # below: 0; above: infinity

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
        exp_range=(-745.2, 709.782712893384),
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
        exp_range=(-104.0, 88.72283935546875),
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

    def apply(self, instruction: str, *operands: Real | float) -> Real:
        method = getattr(self.build, instruction)
        return Real(self.build, method(*map(self.of, operands), flags=("contract",)))

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

    def __neg__(self) -> Real:
        return self.apply("fneg", self)

    def __lt__(self, other: Real | float) -> Any:
        return self.build.fcmp_ordered("<", self.value, self.of(other))

    def __gt__(self, other: Real | float) -> Any:
        return self.build.fcmp_ordered(">", self.value, self.of(other))

    def is_nan(self) -> Any:
        return self.build.fcmp_unordered("uno", self.value, self.value)

    def where(self, condition: Any, other: Real | float) -> Real:
        """``other`` where ``condition`` holds, else this."""
        return Real(self.build, self.build.select(condition, self.of(other), self.value))

    def intrinsic(self, name: str, *others: Real) -> Real:
        kind = self.value.type
        function = self.build.module.declare_intrinsic(f"llvm.{name}", [kind])
        return Real(self.build, self.build.call(function, [self.value, *(o.value for o in others)]))

    def __abs__(self) -> Real:
        kind = self.value.type
        signature = ir.FunctionType(kind, [kind])
        function = self.build.module.declare_intrinsic("llvm.fabs", [kind], signature)
        return Real(self.build, self.build.call(function, [self.value]))

    def with_sign_of(self, other: Real) -> Real:
        kind = self.value.type
        signature = ir.FunctionType(kind, [kind, kind])
        function = self.build.module.declare_intrinsic("llvm.copysign", [kind], signature)
        return Real(self.build, self.build.call(function, [self.value, other.value]))


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

    def exp(self, x: Real) -> Real:
        smallest, largest = self.format.exp_range
        value = self.scaled_exp(x)
        return value.where(x > largest, math.inf).where(x < smallest, 0.0).where(x.is_nan(), x)

    def scaled_exp(
        self,
        x: Real,
        rest: Real | float = 0.0,
        factor: Real | float = 1.0,
        tiny: Real | float = 0.0,
    ) -> Real:
        """e^(x + rest + tiny) times ``factor``; ``x`` is brought into range."""
        smallest, largest = self.format.exp_range
        inside = x.where(x.is_nan(), 0.0)
        inside = inside.where(inside < smallest, smallest).where(inside > largest, largest)
        n, n_bits, r, error = self.remainder(inside)
        if isinstance(rest, Real):
            total = r + rest
            tiny = tiny + (((r - total) + rest) + error)
            r = total
        growth = r + (r * r * polynomial(r, self.format.exp) + tiny)
        value = factor + factor * growth
        _, half = self.rounded(n * 0.5)  # in two factors, which reach beyond the normal numbers
        value = value * self.power_of_two(half, x)
        return value * self.power_of_two(x.build.sub(n_bits, half), x)

    def expm1(self, x: Real) -> Real:
        _, largest = self.format.exp_range
        lowest = -(self.format.mantissa + 4) * math.log(2)  # from there on it is -1
        inside = x.where(x.is_nan(), 0.0)
        inside = inside.where(inside < lowest, lowest).where(inside > largest, largest)
        _, n_bits, r, _ = self.remainder(inside)
        half = self.power_of_two(x.build.sub(n_bits, self.integer(1)), x)  # 2^n may be infinite
        value = half * r + (half - 0.5) + half * (r * r * polynomial(r, self.format.exp))
        tiny = abs(x) < self.format.smallest_normal  # signed zeros, subnormals
        return (2 * value).where(x > largest, math.inf).where(tiny, x).where(x.is_nan(), x)

    def tanh(self, x: Real) -> Real:
        """t / (t + 2) for t = e^(2 |x|) - 1."""
        bound = (self.format.mantissa + 4) * math.log(2) / 2  # from there on it is 1
        size = abs(x)
        t = self.expm1(2 * size.where(size > bound, bound))
        return (t / (t + 2)).with_sign_of(x).where(x.is_nan(), x)

    def split(self, x: Real) -> tuple[Real, Real]:
        """``k`` and ``m`` with x = 2^k m, sqrt(1/2) <= m < sqrt(2), for a positive normal ``x``."""
        form, build = self.format, x.build
        root = self.bits(Real(build, x.of(math.sqrt(0.5))))
        shifted = build.add(build.sub(self.bits(x), root), self.integer(form.bias << form.mantissa))
        biased = build.lshr(shifted, self.integer(form.mantissa))
        mantissa = self.integer((1 << form.mantissa) - 1)
        m = self.real(build.add(build.and_(shifted, mantissa), root), x)
        offset = 2.0**form.mantissa
        k = self.real(build.or_(biased, self.bits(Real(build, x.of(offset)))), x)
        return k - (offset + form.bias), m

    def log_of(self, k: Real, f: Real, c: Real | float) -> Real:
        """k ln 2 + log(1 + f) + c, for a small correction ``c``."""
        high, low = self.format.ln2
        s = f / (f + 2)
        z = s * s
        half_square = 0.5 * f * f
        tail = s * (half_square + z * polynomial(z, self.format.log)) + (k * low + c)
        return (tail - half_square) + f + k * high

    def log(self, x: Real) -> Real:
        scale = 2.0 ** (self.format.mantissa + 2)
        small = x < self.format.smallest_normal
        k, m = self.split(x.where(small, x * scale))
        k = k.where(small, k - (self.format.mantissa + 2))
        value = self.log_of(k, m - 1, 0.0)
        zero = x.build.fcmp_ordered("==", x.value, x.of(0.0))
        value = value.where(x > self.largest, math.inf).where(x < 0, math.nan)
        return value.where(zero, -math.inf).where(x.is_nan(), x)

    def log1p(self, x: Real) -> Real:
        u = 1 + x
        k, m = self.split(u)
        lost = (x - (u - 1)).where(k > 1, 1 - (u - x)) / u  # what rounding took from 1 + x
        near = abs(k) < 0.5
        value = self.log_of(k, (m - 1).where(near, x), lost.where(near, 0.0))
        value = value.where(x > self.largest, math.inf).where(x < -1, math.nan)
        at_end = x.build.fcmp_ordered("==", x.value, x.of(-1.0))
        tiny = abs(x) < self.format.smallest_normal
        return value.where(at_end, -math.inf).where(tiny, x).where(x.is_nan(), x)

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
        return self.scaled_exp(-(high * high), -rest, p / d, lost)

    def quadrant(self, x: Real) -> tuple[Real, Real, Any]:
        """``r``, its rounding error and n mod 4 with x = n pi / 2 + r, |r| <= pi / 4."""
        n, n_bits = self.rounded(x * (2 / math.pi))
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

    def wave(self, x: Real, shift: int) -> Real:
        """sin(x + shift pi / 2)."""
        build = x.build
        r, error, n = self.quadrant(x)
        z = r * r
        sine = r + (error + r * z * polynomial(z, SIN))
        near_one = 1 - 0.5 * z
        lost = (1 - near_one) - 0.5 * z
        cosine = near_one + (lost + (z * z * polynomial(z, COS) - r * error))
        n = build.add(n, self.integer(shift))
        is_odd = build.trunc(n, ir.IntType(1))
        is_negative = build.trunc(build.lshr(n, self.integer(1)), ir.IntType(1))
        value = sine.where(is_odd, cosine)
        return value.where(is_negative, -value)

    def sin(self, x: Real) -> Real:
        return self.wave(x, 0).where(abs(x) < self.format.smallest_normal, x)

    def cos(self, x: Real) -> Real:
        return self.wave(x, 1)

    def tan(self, x: Real) -> Real:
        return self.sin(x) / self.cos(x)

    @property
    def largest(self) -> float:
        return float(np.finfo(np.float64 if self.format.bits == 64 else np.float32).max)


def polynomial(x: Real, coefficients: Sequence[float]) -> Real:
    first, *rest = reversed(coefficients)
    start = Real(x.build, x.of(first))
    return reduce(lambda total, c: total * x + c, rest, start)


INLINE: dict[str, Callable[[Elementary, Real], Real]] = {
    "exp": Elementary.exp,
    "expm1": Elementary.expm1,
    "log": Elementary.log,
    "log1p": Elementary.log1p,
    "tanh": Elementary.tanh,
    "erf": Elementary.erf,
    "erfc": Elementary.erfc,
    "sin": Elementary.sin,
    "cos": Elementary.cos,
    "tan": Elementary.tan,
}
IN_DOUBLE = {"erf", "erfc", "sin", "cos", "tan"}  # float32, too, is computed in float64
LIMITED = {"sin", "cos", "tan"}  # right up to LIMIT only
LIMIT = 2.0**20


def elementary(module: ir.Module, name: str, kind: Any, n_bytes: int) -> Any:
    """The LLVM function of this name for numbers of type ``kind``; ``None`` if it has none."""
    body = INLINE.get(name)
    if body is None:
        return None
    symbol = f"{name}_{8 * n_bytes}"
    function = module.globals.get(symbol)
    if function is None:
        function = ir.Function(module, ir.FunctionType(kind, [kind]), symbol)
        function.linkage = "internal"
        function.attributes.add("alwaysinline")
        build = ir.IRBuilder(function.append_basic_block())
        x = function.args[0]
        if name in IN_DOUBLE and n_bytes == 4:
            x = build.fpext(x, ir.DoubleType())
            n_bytes = 8
        value = body(Elementary(n_bytes), Real(build, x)).value
        build.ret(value if value.type == kind else build.fptrunc(value, kind))
    return function

"""Bessel functions, also in their order: DLMF 10.6 and 10.29 for the argument.

The derivative by the order is that of a power series (DLMF 10.2.2, 10.25.2) where the argument is
small, and else of an integral over the order's exponential or cosine (DLMF 10.9.6, 10.9.7, 10.32.4,
10.32.9). Arguments up to 120 and orders up to 120 (30 for J); beyond, it is refused.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pullback.core.array import Array, ufuncs
from pullback.core.primitive import MISSING, Primitive
from pullback.core.source import here
from pullback.errors import NotDifferentiableError
from pullback.ops.identity import stop_gradient
from pullback.scipy.ufuncs import POSITIVE, define, gammaln, psi

__all__: list[str] = []

TERMS = np.arange(260.0)
LOG_FACTORIALS = np.array([math.lgamma(k + 1) for k in TERMS])
SIGNS = np.where(TERMS % 2, -1.0, 1.0)
PLACES, SHARES = np.polynomial.legendre.leggauss(240)
PLACES, SHARES = 0.5 * (PLACES + 1), 0.5 * SHARES  # on [0, 1]
ANGLES = math.pi * PLACES
LARGEST = 120.0


def _slope(name: str, v: Any, x: Any, largest: float, function: Any) -> Any:
    """``function(v, x)`` where it has its digits; raises for plain values outside."""
    v, x = np.broadcast_arrays(v, x)
    good = (x > 0) & (np.abs(v) <= largest) & (x <= LARGEST)
    if type(good) is not Array and not np.all(good | (x == 0)):
        raise NotDifferentiableError(
            f"{name} by its order: digits are known for 0 <= x <= {LARGEST:.0f} and orders of at "
            f"most {largest:.0f} only",
            where=str(here()),
            fix="make the order a constant with pullback.stop_gradient, or stay inside",
        )
    found = function(np.where(good, v, 1.0), np.where(good, x, 1.0))
    at_zero = 0.0 if name in ("jv", "iv") else np.nan
    return np.where(good, found, np.where((x == 0) & (v > 0), at_zero, np.nan))


def _switched(small: Any, first: Any, second: Any, v: Any, x: Any) -> Any:
    """``first`` where ``small``, else ``second``; each is given only arguments of its own."""
    low = first(np.where(small, v, 1.0), np.where(small, x, 1.0))
    high = second(np.where(small, 0.5, v), np.where(small, 10.0, x))
    return np.where(small, low, high)


def _series(v: Any, x: Any, signs: Any) -> Any:
    """``d/dv`` of the power series with terms ``(x / 2)^(2k + v) / (k! Gamma(v + k + 1))``."""
    half = np.log(0.5 * x)[..., None]
    orders = v[..., None] + TERMS + 1
    logs = half * (2 * TERMS + v[..., None]) - LOG_FACTORIALS - gammaln(orders)
    return np.sum(signs * np.exp(logs) * (half - psi(orders)), axis=-1)


def _turned(function: Any, v: Any, x: Any) -> Any:
    """Integral over the angle from 0 to pi, divided by pi."""
    return np.sum(function(v[..., None], x[..., None]) * SHARES, axis=-1)


def _along(function: Any, rate: Any, x: Any, inverse: Any) -> Any:
    """Integral from 0 to infinity of what behaves like ``e^(rate t - x base(t))``."""
    rate, x = stop_gradient(rate), stop_gradient(x)
    up = np.maximum(rate, 0)
    end = np.arcsinh(up / x) + inverse(1 + 740 / np.hypot(x, up))
    end = np.minimum(end, 740 / np.maximum(-rate, 1e-300))
    return end * np.sum(function(end[..., None] * PLACES) * SHARES, axis=-1)


def _tail(v: Any, x: Any, base: Any, inverse: Any) -> Any:
    """``-d/dv`` of ``sin(v pi) / pi`` times the integral of ``e^(-x base(t) - v t)``."""
    phase = math.pi * v[..., None]

    def integrand(t: Any) -> Any:
        weights = np.cos(phase) - t * np.sin(phase) / math.pi
        return weights * np.exp(-x[..., None] * base(t) - v[..., None] * t)

    return -_along(integrand, -v, x, inverse)


def _j_by_angle(v: Any, x: Any) -> Any:
    """DLMF 10.9.6."""
    turned = _turned(lambda v, x: -ANGLES * np.sin(v * ANGLES - x * np.sin(ANGLES)), v, x)
    return turned + _tail(v, x, np.sinh, np.arcsinh)


def _i_by_angle(v: Any, x: Any) -> Any:
    """DLMF 10.32.4."""
    turned = _turned(lambda v, x: -ANGLES * np.sin(v * ANGLES) * np.exp(x * np.cos(ANGLES)), v, x)
    return turned + _tail(v, x, np.cosh, np.arccosh)


def _j(v: Any, x: Any) -> Any:
    small = (x < np.maximum(6.0, 4 * np.sqrt(np.maximum(v, 0)))) & (v >= 0)
    return _switched(small, lambda v, x: _series(v, x, SIGNS), _j_by_angle, v, x)


def _i(v: Any, x: Any) -> Any:
    small = (v >= 1) | ((v >= 0) & (x < 2))
    return _switched(small, lambda v, x: _series(v, x, 1.0), _i_by_angle, v, x)


def _y(v: Any, x: Any) -> Any:
    """DLMF 10.9.7."""
    turned = _turned(lambda v, x: -ANGLES * np.cos(x * np.sin(ANGLES) - v * ANGLES), v, x)
    phase = math.pi * v[..., None]

    def rising(t: Any) -> Any:
        return t * np.exp(v[..., None] * t - x[..., None] * np.sinh(t))

    def falling(t: Any) -> Any:
        weights = t * np.cos(phase) + math.pi * np.sin(phase)
        return weights * np.exp(-v[..., None] * t - x[..., None] * np.sinh(t))

    rise = _along(rising, v, x, np.arcsinh)
    return turned - (rise - _along(falling, -v, x, np.arcsinh)) / math.pi


def _k(v: Any, x: Any) -> Any:
    """DLMF 10.32.9: the integrand is positive throughout."""

    def rising(t: Any) -> Any:
        rest = x[..., None] * np.cosh(t)
        both = np.exp(v[..., None] * t - rest) - np.exp(-v[..., None] * t - rest)
        return 0.5 * t * both

    return _along(rising, np.abs(v), x, np.arccosh)


def _j_slope(v: Any, x: Any) -> Any:
    return _slope("jv", v, x, 30.0, _j)


def _i_slope(v: Any, x: Any) -> Any:
    return _slope("iv", v, x, LARGEST, _i)


def _y_slope(v: Any, x: Any) -> Any:
    return _slope("yv", v, x, LARGEST, _y)


def _k_slope(v: Any, x: Any) -> Any:
    return _slope("kv", v, x, LARGEST, _k)


jv: Primitive = define(
    "jv",
    "y = J_v(x)",
    lambda x1, x2: _j_slope(x1, x2),
    lambda x1, x2: 0.5 * (jv(x1 - 1, x2) - jv(x1 + 1, x2)),
    domain=(POSITIVE, POSITIVE),
)
ufuncs["jn"] = jv
yv: Primitive = define(
    "yv",
    "y = Y_v(x)",
    lambda x1, x2: _y_slope(x1, x2),
    lambda x1, x2: 0.5 * (yv(x1 - 1, x2) - yv(x1 + 1, x2)),
    domain=(POSITIVE, POSITIVE),
)
ufuncs["yn"] = yv
iv: Primitive = define(
    "iv",
    "y = I_v(x)",
    lambda x1, x2: _i_slope(x1, x2),
    lambda x1, x2: 0.5 * (iv(x1 - 1, x2) + iv(x1 + 1, x2)),
    domain=(POSITIVE, POSITIVE),
)
ive: Primitive = define(
    "ive",
    "y = e^-|x| I_v(x)",
    lambda x1, x2: np.exp(-np.abs(x2)) * _i_slope(x1, x2),
    lambda x1, x2, y: 0.5 * (ive(x1 - 1, x2) + ive(x1 + 1, x2)) - np.sign(x2) * y,
    domain=(POSITIVE, POSITIVE),
)
kv: Primitive = define(
    "kv",
    "y = K_v(x)",
    lambda x1, x2: _k_slope(x1, x2),
    lambda x1, x2: -0.5 * (kv(x1 - 1, x2) + kv(x1 + 1, x2)),
    domain=(POSITIVE, POSITIVE),
)
ufuncs["kn"] = kv
kve: Primitive = define(
    "kve",
    "y = e^x K_v(x)",
    lambda x1, x2: np.exp(x2) * _k_slope(x1, x2),
    lambda x1, x2, y: y - 0.5 * (kve(x1 - 1, x2) + kve(x1 + 1, x2)),
    domain=(POSITIVE, POSITIVE),
)
j0: Primitive = define("j0", "y = J_0(x)", lambda x: -j1(x))
j1: Primitive = define("j1", "y = J_1(x)", lambda x: 0.5 * (j0(x) - jv(2.0, x)))
y0: Primitive = define("y0", "y = Y_0(x)", lambda x: -y1(x), domain=(POSITIVE,))
y1: Primitive = define("y1", "y = Y_1(x)", lambda x: 0.5 * (y0(x) - yv(2.0, x)), domain=(POSITIVE,))
i0: Primitive = define("i0", "y = I_0(x)", lambda x: i1(x))
i1: Primitive = define("i1", "y = I_1(x)", lambda x: 0.5 * (i0(x) + iv(2.0, x)))
i0e: Primitive = define(
    "i0e", "y = e^-|x| I_0(x)", lambda x, y: i1e(x) - np.sign(x) * y, domain=(POSITIVE,)
)
i1e: Primitive = define(
    "i1e",
    "y = e^-|x| I_1(x)",
    lambda x, y: 0.5 * (i0e(x) + ive(2.0, x)) - np.sign(x) * y,
    domain=(POSITIVE,),
)
k0: Primitive = define("k0", "y = K_0(x)", lambda x: -k1(x), domain=(POSITIVE,))
k1: Primitive = define(
    "k1", "y = K_1(x)", lambda x: -0.5 * (k0(x) + kv(2.0, x)), domain=(POSITIVE,)
)
k0e: Primitive = define("k0e", "y = e^x K_0(x)", lambda x, y: y - k1e(x), domain=(POSITIVE,))
k1e: Primitive = define(
    "k1e", "y = e^x K_1(x)", lambda x, y: y - 0.5 * (k0e(x) + kve(2.0, x)), domain=(POSITIVE,)
)
struve: Primitive = define(
    "struve",
    "y = H_v(x)",
    MISSING,
    lambda x1, x2, y: struve(x1 - 1, x2) - x1 / x2 * y,  # DLMF 11.4.29
    domain=(POSITIVE, POSITIVE),
)

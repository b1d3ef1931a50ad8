"""Incomplete gamma and beta functions, also in their parameters, and distributions made of them.

The derivative of ``P(a, x)`` by ``a`` is the integral of
``t^(a-1) e^-t (ln t - psi(a)) / Gamma(a)`` from 0 to x, and minus that from x to infinity. The
integrand changes its sign at ``e^psi(a)``: the integral over the side without it has no
cancellation, so that tails keep all their digits. The same holds for ``I_x(a, b)``. The integrals
are sums at the nodes of the double exponential formula for half-infinite intervals (H. Takahasi,
M. Mori (1974), *Double exponential formulas for numerical integration*), written in NumPy, so that
higher derivatives follow. A slope by a parameter takes 2 x 144 values of memory for each element.

Source of all other formulas: NIST Digital Library of Mathematical Functions (DLMF), chapter 8.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pullback.core.primitive import MISSING, NO_DERIVATIVE, Primitive
from pullback.ops.identity import stop_gradient
from pullback.scipy.ufuncs import ANY, POSITIVE, ROOT_TWO_PI, UNIT, betaln, define, gammaln, psi

__all__ = ["log_beta_weight", "log_gamma_weight"]

STEPS = np.arange(-64, 80) / 16.0
NODES = np.exp(STEPS - np.exp(-STEPS))
WEIGHTS = NODES * (1 + np.exp(-STEPS)) / 16.0
HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)


def _integral(integrand: Any, scale: Any) -> Any:
    """Integral from 0 to infinity of a function that decays within about ``scale``."""
    scale = stop_gradient(scale)
    return scale * np.sum(integrand(scale[..., None] * NODES) * WEIGHTS, axis=-1)


def _log_scaled_gamma(a: Any) -> Any:
    """``ln Gamma(a) - (a - 1/2) ln a + a - ln(2 pi) / 2``: DLMF 5.11.1 for large a."""
    big = np.where(a > 12, a, 12.0)
    r = 1 / (big * big)
    sixth = -691 / 360360 + r / 156
    series = 1 / 12 - r * (1 / 360 - r * (1 / 1260 - r * (1 / 1680 - r * (1 / 1188 + r * sixth))))
    small = np.where(a > 12, 1.0, a)
    direct = gammaln(small) - (small - 0.5) * np.log(small) + small - HALF_LOG_TWO_PI
    return np.where(a > 12, series / big, direct)


def _psi_less_log(a: Any) -> Any:
    """``psi(a) - ln a``: DLMF 5.11.2 for large a."""
    big = np.where(a > 12, a, 12.0)
    r = 1 / (big * big)
    sixth = -1 / 132 + r * (691 / 32760 - r / 12)
    series = r * (1 / 12 - r * (1 / 120 - r * (1 / 252 - r * (1 / 240 + r * sixth))))
    small = np.where(a > 12, 1.0, a)
    return np.where(a > 12, -0.5 / big - series, psi(small) - np.log(small))


def _log_ratio(x: Any, near: Any) -> Any:
    """``ln(x / near)``, with all digits where they are nearly equal."""
    close = np.abs(x - near) < 0.5 * near
    change = np.where(close, x - near, 0.0) / near
    return np.where(close, np.log1p(change), np.log(np.where(close, 1.0, x) / near))


def log_gamma_weight(a: Any, x: Any) -> Any:
    """``ln(x^a e^-x / Gamma(a))`` for x > 0, without the cancellation of its terms."""
    centred = a * _log_ratio(x, a) - (x - a)
    return centred - _log_scaled_gamma(a) + 0.5 * np.log(a) - HALF_LOG_TWO_PI


def log_beta_weight(a: Any, b: Any, x: Any, y: Any) -> Any:
    """``ln(x^a y^b / B(a, b))`` for y = 1 - x, without the cancellation of its terms."""
    total = a + b
    powers = a * _log_ratio(x, a / total) + b * _log_ratio(y, b / total)
    scaled = _log_scaled_gamma(total) - _log_scaled_gamma(a) - _log_scaled_gamma(b)
    return powers + scaled + 0.5 * np.log(a * b / total) - HALF_LOG_TWO_PI


# -- incomplete gamma functions -------------------------------------------------------------------
def _gamma_density(a: Any, x: Any) -> Any:
    """DLMF 8.8.13; at x = 0 its limit."""
    inside = (x > 0) & (x < np.inf)
    safe = np.where(inside, x, 1.0)
    at_end = np.where(a < 1, np.inf, np.where(a == 1, 1.0, 0.0))
    at_end = np.where(x == 0, at_end, 0.0)
    return np.where(inside, np.exp(log_gamma_weight(a, safe)) / safe, at_end)


def _gamma_slope(a: Any, x: Any) -> Any:
    """``dP(a, x) / da``."""
    a, x = np.broadcast_arrays(a, x)
    inside = (x > 0) & (x < np.inf)
    x = np.where(inside, x, 1.0)
    middle = psi(a)
    left = stop_gradient(np.log(x) < middle)
    weight = np.exp(log_gamma_weight(a, x))

    low = np.where(left, x, 0.5 * np.exp(stop_gradient(middle)))
    log_low = np.log(np.where(low > 0, low, 1.0))
    below = _integral(
        lambda s: (
            np.exp(-a[..., None] * s - low[..., None] * np.expm1(-s))
            * ((log_low - middle)[..., None] - s)
        ),
        1 / (a - low + np.sqrt(low)),
    )
    high = np.where(left, 2 * a + 2, x)
    excess = np.maximum(stop_gradient(a) - 1, 0)
    above = _integral(
        lambda v: (
            np.exp((a[..., None] - 1) * np.log1p(v / high[..., None]) - v)
            * (np.log(high[..., None] + v) - middle[..., None])
        ),
        1 / (1 - excess / high + np.sqrt(excess) / high),
    )
    return np.where(inside, weight * np.where(left, below, -above / high), 0.0)


gammainc: Primitive = define(
    "gammainc",
    "y = P(a, x), the regularised lower incomplete gamma function",
    lambda x1, x2: _gamma_slope(x1, x2),
    lambda x1, x2: _gamma_density(x1, x2),
    domain=(POSITIVE, POSITIVE),
)
gammaincc: Primitive = define(
    "gammaincc",
    "y = Q(a, x) = 1 - P(a, x)",
    lambda x1, x2: -_gamma_slope(x1, x2),
    lambda x1, x2: -_gamma_density(x1, x2),
    domain=(POSITIVE, POSITIVE),
)
gammaincinv: Primitive = define(
    "gammaincinv",
    "y with P(a, y) = x",
    lambda x1, y: -_gamma_slope(x1, y) / _gamma_density(x1, y),
    lambda x1, y: 1 / _gamma_density(x1, y),
    domain=(POSITIVE, UNIT),
)
gammainccinv: Primitive = define(
    "gammainccinv",
    "y with Q(a, y) = x",
    lambda x1, y: -_gamma_slope(x1, y) / _gamma_density(x1, y),
    lambda x1, y: -1 / _gamma_density(x1, y),
    domain=(POSITIVE, UNIT),
)


# -- incomplete beta functions --------------------------------------------------------------------
def _beta_density(a: Any, b: Any, x: Any) -> Any:
    """DLMF 8.17.1; at the ends its limits."""
    inside = (x > 0) & (x < 1)
    safe = np.where(inside, x, 0.5)
    value = np.exp(log_beta_weight(a, b, safe, 1 - safe)) / (safe * (1 - safe))
    power = np.where(x == 0, a, b)
    limit = np.where(power < 1, np.inf, np.where(power == 1, np.exp(-betaln(a, b)), 0.0))
    return np.where(inside, value, np.where((x == 0) | (x == 1), limit, np.nan))


def _beta_slope(a: Any, b: Any, x: Any, y: Any) -> Any:
    """``dI_x(a, b) / da`` for y = 1 - x."""
    a, b, x, y = np.broadcast_arrays(a, b, x, y)
    inside = (x > 0) & (y > 0)
    x, y = np.where(inside, x, 0.5), np.where(inside, y, 0.5)
    middle = _psi_less_log(a) - _psi_less_log(a + b) - np.log1p(b / a)
    left = stop_gradient(np.log(x) < middle)
    weight = np.exp(log_beta_weight(a, b, x, y))

    def side(power: Any, other: Any, near: Any, far: Any, logs: Any) -> Any:
        """From an end of [0, 1] to x: ``near`` from the end, with the powers of both ends."""
        excess = np.maximum(other - 1, 0) * near / far
        scale = 1 / (np.maximum(power - excess, 0) + np.sqrt(excess / far) + 1e-3 * power)
        rest = (other - 1)[..., None] * np.log1p(-(near / far)[..., None] * _fall(scale))
        decay = np.exp(-power[..., None] * _lengths(scale) + rest)
        return stop_gradient(scale) / far * np.sum(decay * logs(scale) * WEIGHTS, axis=-1)

    below = side(
        a, b, x, y, lambda scale: (np.log(x) - middle)[..., None] - _lengths(scale)
    )  # t = x e^-s
    above = side(
        b, a, y, x, lambda scale: np.log1p(-y[..., None] * (1 + _fall(scale))) - middle[..., None]
    )  # t = 1 - y e^-s
    return np.where(inside, weight * np.where(left, below, -above), 0.0)


def _lengths(scale: Any) -> Any:
    return stop_gradient(scale)[..., None] * NODES


def _fall(scale: Any) -> Any:
    """``e^-s - 1`` at the nodes."""
    return np.expm1(-_lengths(scale))


def _slope_of_second(a: Any, b: Any, x: Any) -> Any:
    """``dI_x(a, b) / db``, by DLMF 8.17.4."""
    return -_beta_slope(b, a, 1 - x, x)


betainc: Primitive = define(
    "betainc",
    "y = I_x(a, b), the regularised incomplete beta function",
    lambda x1, x2, x3: _beta_slope(x1, x2, x3, 1 - x3),
    lambda x1, x2, x3: _slope_of_second(x1, x2, x3),
    lambda x1, x2, x3: _beta_density(x1, x2, x3),
    domain=(POSITIVE, POSITIVE, UNIT),
)
betaincc: Primitive = define(
    "betaincc",
    "y = 1 - I_x(a, b)",
    lambda x1, x2, x3: -_beta_slope(x1, x2, x3, 1 - x3),
    lambda x1, x2, x3: -_slope_of_second(x1, x2, x3),
    lambda x1, x2, x3: -_beta_density(x1, x2, x3),
    domain=(POSITIVE, POSITIVE, UNIT),
)
betaincinv: Primitive = define(
    "betaincinv",
    "y with I_y(a, b) = x",
    lambda x1, x2, y: -_beta_slope(x1, x2, y, 1 - y) / _beta_density(x1, x2, y),
    lambda x1, x2, y: -_slope_of_second(x1, x2, y) / _beta_density(x1, x2, y),
    lambda x1, x2, y: 1 / _beta_density(x1, x2, y),
    domain=(POSITIVE, POSITIVE, UNIT),
)
betainccinv: Primitive = define(
    "betainccinv",
    "y with 1 - I_y(a, b) = x",
    lambda x1, x2, y: -_beta_slope(x1, x2, y, 1 - y) / _beta_density(x1, x2, y),
    lambda x1, x2, y: -_slope_of_second(x1, x2, y) / _beta_density(x1, x2, y),
    lambda x1, x2, y: -1 / _beta_density(x1, x2, y),
    domain=(POSITIVE, POSITIVE, UNIT),
)

# -- distributions --------------------------------------------------------------------------------
pdtr: Primitive = define(
    "pdtr",
    "y = sum of Poisson probabilities up to k, of mean m",
    NO_DERIVATIVE,
    lambda x1, x2: -_gamma_density(np.floor(x1) + 1, x2),
    domain=((1.5, 4.5), POSITIVE),
)
pdtrc: Primitive = define(
    "pdtrc",
    "y = 1 - pdtr",
    NO_DERIVATIVE,
    lambda x1, x2: _gamma_density(np.floor(x1) + 1, x2),
    domain=((1.5, 4.5), POSITIVE),
)
chdtr: Primitive = define(
    "chdtr",
    "y = chi-square probability left of x, for v degrees of freedom",
    lambda x1, x2: 0.5 * _gamma_slope(0.5 * x1, 0.5 * x2),
    lambda x1, x2: 0.5 * _gamma_density(0.5 * x1, 0.5 * x2),
    domain=(POSITIVE, POSITIVE),
)
chdtrc: Primitive = define(
    "chdtrc",
    "y = 1 - chdtr",
    lambda x1, x2: -0.5 * _gamma_slope(0.5 * x1, 0.5 * x2),
    lambda x1, x2: -0.5 * _gamma_density(0.5 * x1, 0.5 * x2),
    domain=(POSITIVE, POSITIVE),
)
chdtri: Primitive = define(
    "chdtri",
    "y with chdtrc(v, y) = x",
    lambda x1, y: -_gamma_slope(0.5 * x1, 0.5 * y) / _gamma_density(0.5 * x1, 0.5 * y),
    lambda x1, y: -2 / _gamma_density(0.5 * x1, 0.5 * y),
    domain=(POSITIVE, UNIT),
)
gdtr: Primitive = define(
    "gdtr",
    "y = P(b, a x), the gamma distribution of rate a and shape b",
    lambda x1, x2, x3: x3 * _gamma_density(x2, x1 * x3),
    lambda x1, x2, x3: _gamma_slope(x2, x1 * x3),
    lambda x1, x2, x3: x1 * _gamma_density(x2, x1 * x3),
    domain=(POSITIVE, POSITIVE, POSITIVE),
)
gdtrc: Primitive = define(
    "gdtrc",
    "y = 1 - gdtr",
    lambda x1, x2, x3: -x3 * _gamma_density(x2, x1 * x3),
    lambda x1, x2, x3: -_gamma_slope(x2, x1 * x3),
    lambda x1, x2, x3: -x1 * _gamma_density(x2, x1 * x3),
    domain=(POSITIVE, POSITIVE, POSITIVE),
)


def _student_density(df: Any, t: Any) -> Any:
    """``(1 + t^2 / df)^(-(df + 1) / 2) / (sqrt(df) B(df / 2, 1 / 2))``; the factor without loss."""
    a = 0.5 * df
    scaled = _log_scaled_gamma(a + 0.5) - _log_scaled_gamma(a) + a * np.log1p(0.5 / a) - 0.5
    return np.exp(scaled - 0.5 * (df + 1) * np.log1p(t * t / df)) / ROOT_TWO_PI


def _student_slope(df: Any, t: Any) -> Any:
    """By ``stdtr = 1 - I_x(df / 2, 1 / 2) / 2`` for t > 0, ``x = df / (df + t^2)``."""
    square = t * t
    total = df + square
    share = _beta_slope(0.5 * df, 0.5 + 0 * square, df / total, square / total)
    return -0.25 * np.sign(t) * share - 0.5 * t / df * _student_density(df, t)


stdtr: Primitive = define(
    "stdtr",
    "y = Student's probability left of t, for df degrees of freedom",
    lambda x1, x2: _student_slope(x1, x2),
    lambda x1, x2: _student_density(x1, x2),
    domain=(POSITIVE, ANY),
)
stdtrit: Primitive = define(
    "stdtrit",
    "y with stdtr(df, y) = x",
    lambda x1, y: -_student_slope(x1, y) / _student_density(x1, y),
    lambda x1, y: 1 / _student_density(x1, y),
    domain=(POSITIVE, UNIT),
)


def _ratio_parts(m: Any, n: Any, x: Any) -> tuple[Any, Any, Any]:
    """``w``, ``1 - w`` and ``dw/dx`` for ``w = m x / (n + m x)``, by which F becomes beta."""
    total = n + m * x
    return m * x / total, n / total, m * n / (total * total)


def _ratio_slopes(m: Any, n: Any, x: Any) -> tuple[Any, Any, Any]:
    """The slopes of ``fdtr = I_w(m / 2, n / 2)``."""
    w, rest, by_x = _ratio_parts(m, n, x)
    density = _beta_density(0.5 * m, 0.5 * n, w)
    own = 0.5 * _beta_slope(0.5 * m, 0.5 * n, w, rest)
    other = -0.5 * _beta_slope(0.5 * n, 0.5 * m, rest, w)
    return own + density * by_x * x / m, other - density * by_x * x / n, density * by_x


fdtr: Primitive = define(
    "fdtr",
    "y = probability left of x of the F distribution",
    lambda x1, x2, x3: _ratio_slopes(x1, x2, x3)[0],
    lambda x1, x2, x3: _ratio_slopes(x1, x2, x3)[1],
    lambda x1, x2, x3: _ratio_slopes(x1, x2, x3)[2],
    domain=(POSITIVE, POSITIVE, POSITIVE),
)
fdtrc: Primitive = define(
    "fdtrc",
    "y = 1 - fdtr",
    lambda x1, x2, x3: -_ratio_slopes(x1, x2, x3)[0],
    lambda x1, x2, x3: -_ratio_slopes(x1, x2, x3)[1],
    lambda x1, x2, x3: -_ratio_slopes(x1, x2, x3)[2],
    domain=(POSITIVE, POSITIVE, POSITIVE),
)
bdtr: Primitive = define(
    "bdtr",
    "y = sum of binomial probabilities up to k, of n trials with probability p",
    NO_DERIVATIVE,
    MISSING,
    lambda x1, x2, x3: -_beta_density(np.floor(x1) + 1, x2 - np.floor(x1), x3),
    domain=((1.2, 1.8), (4.0, 4.0), UNIT),
)
nbdtr: Primitive = define(
    "nbdtr",
    "y = sum of negative binomial probabilities up to k, of n successes with probability p",
    NO_DERIVATIVE,
    MISSING,
    lambda x1, x2, x3: _beta_density(x2, np.floor(x1) + 1, x3),
    domain=((2.3, 2.7), (3.0, 3.0), UNIT),
)

"""SciPy's ufuncs as operations: SciPy computes the values, the derivatives are written here.

A partial derivative names what it reads, as everywhere (``x1, x2, ...`` operands, ``y`` result).
``MISSING`` marks one that has no closed form in functions that SciPy has: it is refused by name.

Source of all formulas without another: NIST Digital Library of Mathematical Functions (DLMF),
https://dlmf.nist.gov, by the number of the equation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import special

from pullback.core.array import ufuncs
from pullback.core.primitive import MISSING, Marker, Primitive
from pullback.ops.families import elementwise
from pullback.ops.special import erf

__all__: list[str] = []

ROOT_PI = math.sqrt(math.pi)
ROOT_TWO_PI = math.sqrt(2 * math.pi)
DEGREE = math.pi / 180
ANY = (-2.0, 2.0)
POSITIVE = (0.3, 3.0)
UNIT = (0.1, 0.9)

Partial = Callable[..., Any] | Marker | int


def define(
    name: str,
    doc: str,
    *partials: Partial,
    domain: tuple[tuple[float, float], ...] | None = None,
    numpy: Any = None,
    kinks: str = "",
) -> Primitive:
    """An operation that SciPy's function ``name`` evaluates."""
    primitive = elementwise(
        name,
        numpy or getattr(special, name),
        doc=doc,
        partials=partials,
        scalar=None,
        domain=domain or (ANY,) * len(partials),
        flops=50,
        kinks=kinks,
        source="scipy.special",
    )
    ufuncs[name] = primitive
    return primitive


# -- gamma functions (DLMF 5) ---------------------------------------------------------------------
def _psi_slope(x: Any) -> Any:
    """DLMF 5.15.6: left of zero by reflection."""
    right = np.where(x > 0, x, 1 - x)
    slope = zeta(2.0, right)  # DLMF 5.15.1
    angle = np.sin(np.pi * np.where(x > 0, 0.5, x))
    return np.where(x > 0, slope, (np.pi / angle) ** 2 - slope)


zeta: Primitive = define(
    "zeta",
    "y = sum over k of (k + q)^-s, Hurwitz's zeta function",
    MISSING,
    lambda x1, x2: -x1 * zeta(x1 + 1, x2),  # DLMF 25.11.17
    domain=((1.5, 4.0), POSITIVE),
    numpy=lambda s, q: np.asarray(special.zeta(s, q)),
)
psi: Primitive = define("psi", "y = d ln Gamma(x) / dx", _psi_slope, domain=(POSITIVE,))
ufuncs["digamma"] = psi
gammaln: Primitive = define("gammaln", "y = ln |Gamma(x)|", lambda x: psi(x), domain=(POSITIVE,))
loggamma: Primitive = define(
    "loggamma", "y = ln Gamma(x), x > 0", lambda x: psi(x), domain=(POSITIVE,)
)
gamma: Primitive = define("gamma", "y = Gamma(x)", lambda x, y: y * psi(x), domain=(POSITIVE,))
rgamma: Primitive = define(
    "rgamma", "y = 1 / Gamma(x)", lambda x, y: -y * psi(x), domain=(POSITIVE,)
)
beta: Primitive = define(
    "beta",
    "y = Gamma(a) Gamma(b) / Gamma(a + b)",
    lambda x1, x2, y: y * (psi(x1) - psi(x1 + x2)),
    lambda x1, x2, y: y * (psi(x2) - psi(x1 + x2)),
    domain=(POSITIVE, POSITIVE),
)
betaln: Primitive = define(
    "betaln",
    "y = ln |B(a, b)|",
    lambda x1, x2: psi(x1) - psi(x1 + x2),
    lambda x1, x2: psi(x2) - psi(x1 + x2),
    domain=(POSITIVE, POSITIVE),
)
binom: Primitive = define(
    "binom",
    "y = Gamma(n + 1) / (Gamma(k + 1) Gamma(n - k + 1))",
    lambda x1, x2, y: y * (psi(x1 + 1) - psi(x1 - x2 + 1)),
    lambda x1, x2, y: y * (psi(x1 - x2 + 1) - psi(x2 + 1)),
    domain=((4.2, 5.8), (1.2, 2.8)),
)
poch: Primitive = define(
    "poch",
    "y = Gamma(z + m) / Gamma(z)",
    lambda x1, x2, y: y * (psi(x1 + x2) - psi(x1)),
    lambda x1, x2, y: y * psi(x1 + x2),
    domain=(POSITIVE, POSITIVE),
)

# -- error functions and the normal distribution (DLMF 7) ------------------------------------------
erfinv: Primitive = define(
    "erfinv", "y with erf y = x", lambda y: ROOT_PI / 2 * np.exp(y * y), domain=((-0.9, 0.9),)
)
erfcinv: Primitive = define(
    "erfcinv", "y with erfc y = x", lambda y: -ROOT_PI / 2 * np.exp(y * y), domain=((0.1, 1.9),)
)
erfcx: Primitive = define("erfcx", "y = e^(x^2) erfc x", lambda x, y: 2 * x * y - 2 / ROOT_PI)
erfi: Primitive = define("erfi", "y = -i erf(i x)", lambda x: 2 / ROOT_PI * np.exp(x * x))
dawsn: Primitive = define("dawsn", "y = Dawson's integral", lambda x, y: 1 - 2 * x * y)


def _normal_density(x: Any) -> Any:
    return np.exp(-0.5 * x * x) / ROOT_TWO_PI


ndtr: Primitive = define(
    "ndtr", "y = area under the normal density left of x", lambda x: _normal_density(x)
)
log_ndtr: Primitive = define(
    "log_ndtr", "y = ln ndtr x", lambda x: math.sqrt(2 / math.pi) / erfcx(-x / math.sqrt(2))
)
ndtri: Primitive = define(
    "ndtri", "y with ndtr y = x", lambda y: 1 / _normal_density(y), domain=(UNIT,)
)
ndtri_exp: Primitive = define(
    "ndtri_exp",
    "y with log_ndtr y = x",
    lambda x, y: np.exp(x + 0.5 * y * y) * ROOT_TWO_PI,
    domain=((-2.0, -0.1),),
)
owens_t: Primitive = define(
    "owens_t",
    "y = Owen's T function",
    lambda x1, x2: -np.exp(-0.5 * x1 * x1) * erf(x1 * x2 / math.sqrt(2)) / (2 * ROOT_TWO_PI),
    lambda x1, x2: np.exp(-0.5 * x1 * x1 * (1 + x2 * x2)) / (2 * np.pi * (1 + x2 * x2)),
)

# -- entropies ------------------------------------------------------------------------------------
entr: Primitive = define("entr", "y = -x ln x", lambda x: -np.log(x) - 1, domain=(POSITIVE,))
rel_entr: Primitive = define(
    "rel_entr",
    "y = x1 ln(x1 / x2)",
    lambda x1, x2: np.log(x1 / x2) + 1,
    lambda x1, x2: -x1 / x2,
    domain=(POSITIVE, POSITIVE),
)
kl_div: Primitive = define(
    "kl_div",
    "y = x1 ln(x1 / x2) - x1 + x2",
    lambda x1, x2: np.log(x1 / x2),
    lambda x1, x2: 1 - x1 / x2,
    domain=(POSITIVE, (0.4, 2.5)),  # not equal: there the slopes are 0
)


def _over(x: Any, y: Any) -> Any:
    """``x / y``, and 0 where ``x`` is 0, as the product with a logarithm takes it."""
    return np.where(x == 0, 0.0, x) / np.where((x == 0) & (y == 0), 1.0, y)


xlog1py: Primitive = define(
    "xlog1py",
    "y = x1 ln(1 + x2), and 0 where x1 = 0",
    lambda x2: np.log1p(x2),
    lambda x1, x2: _over(x1, 1 + x2),
    domain=(ANY, POSITIVE),
)
logit: Primitive = define(
    "logit", "y = ln(x / (1 - x))", lambda x: 1 / (x * (1 - x)), domain=(UNIT,)
)
huber: Primitive = define(
    "huber",
    "y = r^2 / 2 where |r| <= delta, else delta (|r| - delta / 2)",
    lambda x1, x2: np.where(np.abs(x2) <= x1, 0.0, np.abs(x2) - x1),
    lambda x1, x2: np.clip(x2, -x1, x1),
    domain=(POSITIVE, ANY),
)
pseudo_huber: Primitive = define(
    "pseudo_huber",
    "y = delta^2 (sqrt(1 + (r / delta)^2) - 1)",
    lambda x1, x2: (
        2 * x1 * (np.sqrt(1 + (x2 / x1) ** 2) - 1) - x2 * x2 / (x1 * np.sqrt(1 + (x2 / x1) ** 2))
    ),
    lambda x1, x2: x2 / np.sqrt(1 + (x2 / x1) ** 2),
    domain=(POSITIVE, ANY),
)

# -- powers and logarithms ------------------------------------------------------------------------
exp10: Primitive = define("exp10", "y = 10^x", lambda y: y * math.log(10))
exprel: Primitive = define(
    "exprel",
    "y = (e^x - 1) / x",
    lambda x, y: np.where(
        np.abs(x) < 1e-2,
        0.5 + x * (1 / 3 + x * (1 / 8 + x * (1 / 30 + x * (1 / 144 + x * (1 / 840 + x / 5760))))),
        (np.exp(x) - y) / np.where(np.abs(x) < 1e-2, 1.0, x),
    ),
)
cosm1: Primitive = define("cosm1", "y = cos x - 1", lambda x: -np.sin(x))
powm1: Primitive = define(
    "powm1",
    "y = x1^x2 - 1",
    lambda x1, x2: x2 * x1 ** (x2 - 1),
    lambda x1, x2: x1**x2 * np.log(x1),
    domain=(POSITIVE, ANY),
)


def _boxcox_slope(log: Any, lmbda: Any, y: Any) -> Any:
    """d/dl (e^(l log) - 1) / l, by its series near l = 0."""
    small = np.abs(lmbda * log) < 1e-3
    series = log * log * (0.5 + lmbda * log * (1 / 3 + lmbda * log * (1 / 8 + lmbda * log / 30)))
    safe = np.where(small, 1.0, lmbda)
    return np.where(small, series, (np.exp(lmbda * log) * log - y) / safe)


boxcox: Primitive = define(
    "boxcox",
    "y = (x^l - 1) / l, and ln x where l = 0",
    lambda x1, x2: x1 ** (x2 - 1),
    lambda x1, x2, y: _boxcox_slope(np.log(x1), x2, y),
    domain=(POSITIVE, ANY),
)
boxcox1p: Primitive = define(
    "boxcox1p",
    "y = ((1 + x)^l - 1) / l, and ln(1 + x) where l = 0",
    lambda x1, x2: (1 + x1) ** (x2 - 1),
    lambda x1, x2, y: _boxcox_slope(np.log1p(x1), x2, y),
    domain=(POSITIVE, ANY),
)
inv_boxcox: Primitive = define(
    "inv_boxcox",
    "y with boxcox(y, l) = x",
    lambda x2, y: y ** (1 - x2),
    lambda x1, x2, y: -_boxcox_slope(np.log(y), x2, x1) * y ** (1 - x2),
    domain=((0.1, 0.4), POSITIVE),
)
inv_boxcox1p: Primitive = define(
    "inv_boxcox1p",
    "y with boxcox1p(y, l) = x",
    lambda x2, y: (1 + y) ** (1 - x2),
    lambda x1, x2, y: -_boxcox_slope(np.log1p(y), x2, x1) * (1 + y) ** (1 - x2),
    domain=((0.1, 0.4), POSITIVE),
)
sindg: Primitive = define("sindg", "y = sin of x degrees", lambda x: DEGREE * cosdg(x))
cosdg: Primitive = define("cosdg", "y = cos of x degrees", lambda x: -DEGREE * sindg(x))
tandg: Primitive = define("tandg", "y = tan of x degrees", lambda y: DEGREE * (1 + y * y))

# -- integrals (DLMF 6, 8.19, 19) -----------------------------------------------------------------
exp1: Primitive = define("exp1", "y = E1(x)", lambda x: -np.exp(-x) / x, domain=(POSITIVE,))
expi: Primitive = define("expi", "y = Ei(x)", lambda x: np.exp(x) / x, domain=(POSITIVE,))
spence: Primitive = define(
    "spence",
    "y = integral of ln t / (1 - t) from 1 to x",
    lambda x: np.where(
        np.abs(x - 1) < 1e-3,
        -1 + (x - 1) * (0.5 - (x - 1) * (1 / 3 - (x - 1) / 4)),
        np.log(x) / np.where(np.abs(x - 1) < 1e-3, 1.0, 1 - x),
    ),
    domain=(POSITIVE,),
)
ellipk: Primitive = define(
    "ellipk",
    "y = K(m), the complete elliptic integral of the first kind",
    lambda x, y: _over_m(ellipe(x) / (1 - x) - y, x, math.pi / 8),
    domain=(UNIT,),
)
ellipe: Primitive = define(
    "ellipe",
    "y = E(m), the complete elliptic integral of the second kind",
    lambda x, y: _over_m(y - ellipk(x), x, -math.pi / 8),
    domain=(UNIT,),
)


def _over_m(difference: Any, m: Any, limit: float) -> Any:
    """DLMF 19.4.1 and 19.4.2: ``difference / 2 m``, and its limit at ``m = 0``."""
    return np.where(m == 0, limit, difference / np.where(m == 0, 1.0, 2 * m))


ellipkm1: Primitive = define(
    "ellipkm1",
    "y = K(1 - p)",
    lambda x, y: -(ellipe(1 - x) / x - y) / (2 * (1 - x)),
    domain=(UNIT,),
)
ellipkinc: Primitive = define(
    "ellipkinc",
    "y = F(phi | m), the incomplete elliptic integral of the first kind",
    lambda x1, x2: 1 / np.sqrt(1 - x2 * np.sin(x1) ** 2),
    lambda x1, x2, y: (
        ellipeinc(x1, x2) / (2 * x2 * (1 - x2))
        - y / (2 * x2)
        - np.sin(2 * x1) / (4 * (1 - x2) * np.sqrt(1 - x2 * np.sin(x1) ** 2))
    ),
    domain=((0.2, 1.4), UNIT),
)
ellipeinc: Primitive = define(
    "ellipeinc",
    "y = E(phi | m), the incomplete elliptic integral of the second kind",
    lambda x1, x2: np.sqrt(1 - x2 * np.sin(x1) ** 2),
    lambda x1, x2, y: (y - ellipkinc(x1, x2)) / (2 * x2),
    domain=((0.2, 1.4), UNIT),
)

# -- hypergeometric functions (DLMF 13.3, 15.5, 16.3) ----------------------------------------------
hyp0f1: Primitive = define(
    "hyp0f1",
    "y = 0F1(; v; x)",
    MISSING,
    lambda x1, x2: hyp0f1(x1 + 1, x2) / x1,
    domain=(POSITIVE, ANY),
)
hyp1f1: Primitive = define(
    "hyp1f1",
    "y = 1F1(a; b; x)",
    MISSING,
    MISSING,
    lambda x1, x2, x3: x1 / x2 * hyp1f1(x1 + 1, x2 + 1, x3),
    domain=(POSITIVE, POSITIVE, ANY),
)
hyperu: Primitive = define(
    "hyperu",
    "y = U(a, b, x)",
    MISSING,
    MISSING,
    lambda x1, x2, x3: -x1 * hyperu(x1 + 1, x2 + 1, x3),
    domain=(POSITIVE, (0.3, 0.8), POSITIVE),
)

# -- orthogonal polynomials (DLMF 18.9) -----------------------------------------------------------
N = (2.0, 3.0)
eval_gegenbauer: Primitive = define(
    "eval_gegenbauer",
    "y = C_n^(a)(x)",
    MISSING,
    MISSING,
    lambda x1, x2, x3: 2 * x2 * eval_gegenbauer(x1 - 1, x2 + 1, x3),
    domain=(N, POSITIVE, (-0.9, 0.9)),
)
eval_legendre: Primitive = define(
    "eval_legendre",
    "y = P_n(x)",
    MISSING,
    lambda x1, x2: eval_gegenbauer(x1 - 1, 1.5, x2),
    domain=(N, (-0.9, 0.9)),
)
eval_chebyu: Primitive = define(
    "eval_chebyu",
    "y = U_n(x)",
    MISSING,
    lambda x1, x2: 2 * eval_gegenbauer(x1 - 1, 2.0, x2),
    domain=(N, (-0.9, 0.9)),
)
eval_chebyt: Primitive = define(
    "eval_chebyt",
    "y = T_n(x)",
    MISSING,
    lambda x1, x2: x1 * eval_chebyu(x1 - 1, x2),
    domain=(N, (-0.9, 0.9)),
)
eval_genlaguerre: Primitive = define(
    "eval_genlaguerre",
    "y = L_n^(a)(x)",
    MISSING,
    MISSING,
    lambda x1, x2, x3: -eval_genlaguerre(x1 - 1, x2 + 1, x3),
    domain=(N, POSITIVE, POSITIVE),
)
eval_laguerre: Primitive = define(
    "eval_laguerre",
    "y = L_n(x)",
    MISSING,
    lambda x1, x2: -eval_genlaguerre(x1 - 1, 1.0, x2),
    domain=(N, POSITIVE),
)

"""The common distributions of ``scipy.stats``, differentiable in the value and in all parameters.

The names, arguments and results are SciPy's: ``norm.logpdf(x, loc, scale)``. A distribution states
its standard form (``loc = 0``, ``scale = 1``); shifting and scaling are written once. Densities are
zero outside of the support, and their logarithms ``-inf``. What has no derivative here, such as a
quantile with respect to a shape parameter, is refused by name.

Source: the documentation of ``scipy.stats``; N. Johnson, S. Kotz, N. Balakrishnan (1994),
*Continuous Univariate Distributions*.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from pullback.core.source import here
from pullback.errors import ArgumentError
from pullback.ops.special import expit, xlogy
from pullback.scipy import incomplete as i
from pullback.scipy import ufuncs as f

__all__ = [
    "Continuous",
    "Discrete",
    "bernoulli",
    "beta",
    "binom",
    "cauchy",
    "chi2",
    "expon",
    "gamma",
    "gumbel_r",
    "halfnorm",
    "laplace",
    "logistic",
    "lognorm",
    "nbinom",
    "norm",
    "pareto",
    "poisson",
    "t",
    "uniform",
    "weibull_min",
]

Function = Callable[..., Any]
LOG_ROOT_TWO_PI = 0.5 * math.log(2 * math.pi)
INFINITY = math.inf


class Distribution:
    """What continuous and discrete distributions share: arguments as in SciPy."""

    def __init__(self, name: str, shapes: tuple[str, ...], support: tuple[float, float]) -> None:
        self.name = name
        self.shapes = shapes
        self.support = support

    def __repr__(self) -> str:
        return f"<distribution {self.name}({', '.join(self.shapes)})>"

    def split(self, given: tuple[Any, ...], named: dict[str, Any], tail: tuple[Any, ...]) -> Any:
        """Shape parameters, and what follows them: ``loc`` and ``scale``, or their defaults."""
        names = [*self.shapes, "loc", "scale"][: len(self.shapes) + len(tail)]
        values = dict(zip(names, given, strict=False))
        wrong = [name for name in named if name not in names or name in values]
        values.update(named)
        missing = [name for name in self.shapes if name not in values]
        if wrong or missing or len(given) > len(names):
            raise ArgumentError(
                f"{self.name} does not take these arguments",
                where=str(here()),
                details=[
                    f"parameters: {', '.join(names)}",
                    f"missing: {', '.join(missing) or '-'}",
                ],
                fix="pass the shape parameters after x, then loc and scale",
            )
        shapes = [values[name] for name in self.shapes]
        return shapes, [values.get(n, d) for n, d in zip(names[len(shapes) :], tail, strict=True)]


class Continuous(Distribution):
    """A continuous distribution: ``pdf``, ``logpdf``, ``cdf``, ``logcdf``, ``sf``, ``ppf``.

    All take ``(x, *shapes, loc=0, scale=1)``, broadcast as in NumPy; ``ppf`` takes a probability.
    """

    def __init__(
        self,
        name: str,
        *,
        logpdf: Function,
        cdf: Function,
        ppf: Function,
        sf: Function | None = None,
        logcdf: Function | None = None,
        support: tuple[float, float] = (-INFINITY, INFINITY),
    ) -> None:
        super().__init__(name, tuple(inspect.signature(logpdf).parameters)[1:], support)
        self._logpdf, self._cdf, self._ppf = logpdf, cdf, ppf
        self._sf = sf or (lambda x, *shapes: 1 - cdf(x, *shapes))
        self._logcdf = logcdf

    def standard(self, x: Any, args: Any, kwargs: Any) -> tuple[Any, list[Any], Any, Any]:
        """``(x - loc) / scale`` moved into the support, shapes, scale, and where it was outside."""
        shapes, (loc, scale) = self.split(args, kwargs, (0.0, 1.0))
        z = (x - loc) / scale
        low, high = self.support
        outside = (z < low) | (z > high)
        middle = 0.5 if math.isfinite(high) else 1.0
        return np.where(outside, middle, z), shapes, scale, outside

    def logpdf(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        z, shapes, scale, outside = self.standard(x, args, kwargs)
        return np.where(outside, -np.inf, self._logpdf(z, *shapes) - np.log(scale))

    def pdf(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        return np.exp(self.logpdf(x, *args, **kwargs))

    def probability(self, function: Function, x: Any, args: Any, kwargs: Any, below: float) -> Any:
        """``function`` inside of the support, ``below`` to its left and the rest to its right."""
        z, shapes, _, outside = self.standard(x, args, kwargs)
        inside = function(z, *shapes)
        _, (loc, scale) = self.split(args, kwargs, (0.0, 1.0))
        is_left = (x - loc) / scale < self.support[0]
        return np.where(outside, np.where(is_left, below, 1 - below), inside)

    def cdf(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        return self.probability(self._cdf, x, args, kwargs, 0.0)

    def sf(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        return self.probability(self._sf, x, args, kwargs, 1.0)

    def logcdf(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        if self._logcdf is None:
            return np.log(self.cdf(x, *args, **kwargs))
        shapes, (loc, scale) = self.split(args, kwargs, (0.0, 1.0))
        return self._logcdf((x - loc) / scale, *shapes)

    def logsf(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        return np.log(self.sf(x, *args, **kwargs))

    def ppf(self, q: Any, *args: Any, **kwargs: Any) -> Any:
        shapes, (loc, scale) = self.split(args, kwargs, (0.0, 1.0))
        return loc + scale * self._ppf(q, *shapes)


class Discrete(Distribution):
    """A discrete distribution: ``pmf`` and ``logpmf`` of ``(k, *shapes, loc=0)``, and ``cdf``."""

    def __init__(
        self, name: str, *, logpmf: Function, cdf: Function | None, support: tuple[float, float]
    ) -> None:
        super().__init__(name, tuple(inspect.signature(logpmf).parameters)[1:], support)
        self._logpmf, self._cdf = logpmf, cdf

    def logpmf(self, k: Any, *args: Any, **kwargs: Any) -> Any:
        shapes, (loc,) = self.split(args, kwargs, (0,))
        k = np.asarray(k - loc, np.float64)
        high = shapes[0] if self.support[1] == 0 else self.support[1]
        outside = (k < self.support[0]) | (k > high) | (np.floor(k) != k)
        return np.where(outside, -np.inf, self._logpmf(np.where(outside, 0.0, k), *shapes))

    def pmf(self, k: Any, *args: Any, **kwargs: Any) -> Any:
        return np.exp(self.logpmf(k, *args, **kwargs))

    def cdf(self, k: Any, *args: Any, **kwargs: Any) -> Any:
        if self._cdf is None:
            raise ArgumentError(
                f"{self.name}.cdf is not here", where=str(here()), fix="sum pmf over the values"
            )
        shapes, (loc,) = self.split(args, kwargs, (0,))
        k = np.floor(np.asarray(k - loc, np.float64))
        inside = self._cdf(np.where(k < self.support[0], self.support[0], k), *shapes)
        return np.where(k < self.support[0], 0.0, inside)


# -- continuous ------------------------------------------------------------------------------------
norm = Continuous(
    "norm",
    logpdf=lambda x: -0.5 * x * x - LOG_ROOT_TWO_PI,
    cdf=lambda x: f.ndtr(x),
    sf=lambda x: f.ndtr(-x),
    logcdf=lambda x: f.log_ndtr(x),
    ppf=lambda q: f.ndtri(q),
)
halfnorm = Continuous(
    "halfnorm",
    logpdf=lambda x: -0.5 * x * x - LOG_ROOT_TWO_PI + math.log(2),
    cdf=lambda x: 2 * f.ndtr(x) - 1,
    sf=lambda x: 2 * f.ndtr(-x),
    ppf=lambda q: f.ndtri((1 + q) / 2),
    support=(0, INFINITY),
)
lognorm = Continuous(
    "lognorm",
    logpdf=lambda x, s: norm.logpdf(np.log(x), 0, s) - np.log(x),
    cdf=lambda x, s: f.ndtr(np.log(x) / s),
    sf=lambda x, s: f.ndtr(-np.log(x) / s),
    ppf=lambda q, s: np.exp(s * f.ndtri(q)),
    support=(0, INFINITY),
)
t = Continuous(
    "t",
    logpdf=lambda x, df: (
        -0.5 * (df + 1) * np.log1p(x * x / df) - f.betaln(0.5 * df, 0.5) - 0.5 * np.log(df)
    ),
    cdf=lambda x, df: i.stdtr(df, x),
    sf=lambda x, df: i.stdtr(df, -x),
    ppf=lambda q, df: i.stdtrit(df, q),
)
cauchy = Continuous(
    "cauchy",
    logpdf=lambda x: -np.log1p(x * x) - math.log(math.pi),
    cdf=lambda x: np.arctan2(1.0, -x) / np.pi,
    sf=lambda x: np.arctan2(1.0, x) / np.pi,
    ppf=lambda q: np.tan(np.pi * (q - 0.5)),
)
expon = Continuous(
    "expon",
    logpdf=lambda x: -x,
    cdf=lambda x: -np.expm1(-x),
    sf=lambda x: np.exp(-x),
    ppf=lambda q: -np.log1p(-q),
    support=(0, INFINITY),
)
gamma = Continuous(
    "gamma",
    logpdf=lambda x, a: xlogy(a - 1, x) - x - f.gammaln(a),
    cdf=lambda x, a: i.gammainc(a, x),
    sf=lambda x, a: i.gammaincc(a, x),
    ppf=lambda q, a: i.gammaincinv(a, q),
    support=(0, INFINITY),
)
chi2 = Continuous(
    "chi2",
    logpdf=lambda x, df: gamma.logpdf(x, 0.5 * df, 0, 2.0),
    cdf=lambda x, df: i.chdtr(df, x),
    sf=lambda x, df: i.chdtrc(df, x),
    ppf=lambda q, df: 2 * i.gammaincinv(0.5 * df, q),
    support=(0, INFINITY),
)
beta = Continuous(
    "beta",
    logpdf=lambda x, a, b: xlogy(a - 1, x) + f.xlog1py(b - 1, -x) - f.betaln(a, b),
    cdf=lambda x, a, b: i.betainc(a, b, x),
    sf=lambda x, a, b: i.betaincc(a, b, x),
    ppf=lambda q, a, b: i.betaincinv(a, b, q),
    support=(0, 1),
)
uniform = Continuous(
    "uniform",
    logpdf=lambda x: 0 * x,
    cdf=lambda x: x,
    sf=lambda x: 1 - x,
    ppf=lambda q: q,
    support=(0, 1),
)
laplace = Continuous(
    "laplace",
    logpdf=lambda x: -np.abs(x) - math.log(2),
    cdf=lambda x: np.where(x > 0, 1 - 0.5 * np.exp(-np.abs(x)), 0.5 * np.exp(-np.abs(x))),
    sf=lambda x: np.where(x > 0, 0.5 * np.exp(-np.abs(x)), 1 - 0.5 * np.exp(-np.abs(x))),
    ppf=lambda q: np.where(
        q > 0.5, -np.log(2 * np.where(q > 0.5, 1 - q, 0.5)), np.log(2 * np.where(q > 0.5, 0.5, q))
    ),
)
logistic = Continuous(
    "logistic",
    logpdf=lambda x: -np.abs(x) - 2 * np.log1p(np.exp(-np.abs(x))),
    cdf=lambda x: expit(x),
    sf=lambda x: expit(-x),
    ppf=lambda q: f.logit(q),
)
gumbel_r = Continuous(
    "gumbel_r",
    logpdf=lambda x: -x - np.exp(-x),
    cdf=lambda x: np.exp(-np.exp(-x)),
    sf=lambda x: -np.expm1(-np.exp(-x)),
    logcdf=lambda x: -np.exp(-x),
    ppf=lambda q: -np.log(-np.log(q)),
)
weibull_min = Continuous(
    "weibull_min",
    logpdf=lambda x, c: np.log(c) + xlogy(c - 1, x) - x**c,
    cdf=lambda x, c: -np.expm1(-(x**c)),
    sf=lambda x, c: np.exp(-(x**c)),
    ppf=lambda q, c: (-np.log1p(-q)) ** (1 / c),
    support=(0, INFINITY),
)
pareto = Continuous(
    "pareto",
    logpdf=lambda x, b: np.log(b) - (b + 1) * np.log(x),
    cdf=lambda x, b: 1 - x**-b,
    sf=lambda x, b: x**-b,
    ppf=lambda q, b: (1 - q) ** (-1 / b),
    support=(1, INFINITY),
)

# -- discrete --------------------------------------------------------------------------------------
poisson = Discrete(
    "poisson",
    logpmf=lambda k, mu: xlogy(k, mu) - f.gammaln(k + 1) - mu,
    cdf=lambda k, mu: i.pdtr(k, mu),
    support=(0, INFINITY),
)
# The support (0, 0) stands for one that ends at the first shape parameter.
binom = Discrete(
    "binom",
    logpmf=lambda k, n, p: (
        f.gammaln(n + 1.0)
        - f.gammaln(k + 1)
        - f.gammaln(n - k + 1)
        + xlogy(k, p)
        + f.xlog1py(n - k, -p)
    ),
    cdf=lambda k, n, p: np.where(
        k >= n, 1.0, i.betaincc(np.minimum(k, n - 1) + 1, np.maximum(n - k, 1), p)
    ),
    support=(0, 0),
)
bernoulli = Discrete(
    "bernoulli",
    logpmf=lambda k, p: xlogy(k, p) + f.xlog1py(1 - k, -p),
    cdf=lambda k, p: np.where(k >= 1, 1.0, 1 - p),
    support=(0, 1),
)
nbinom = Discrete(
    "nbinom",
    logpmf=lambda k, n, p: (
        f.gammaln(k + n) - f.gammaln(k + 1) - f.gammaln(n) + n * np.log(p) + f.xlog1py(k, -p)
    ),
    cdf=lambda k, n, p: i.betainc(n, k + 1, p),
    support=(0, INFINITY),
)

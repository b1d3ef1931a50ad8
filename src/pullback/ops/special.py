"""Error and logistic functions; SciPy's ufuncs of the same names find them by name."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from pullback.core.array import ufuncs
from pullback.ops.families import elementwise

__all__: list[str] = []

TWO_OVER_ROOT_PI = 2 / math.sqrt(math.pi)


def _each(function: Callable[[float], float]) -> Callable[[Any], Any]:
    """Apply a function of C's ``math.h`` that NumPy lacks to every element."""
    loop = np.frompyfunc(function, 1, 1)

    def evaluate(x: Any) -> Any:
        return np.asarray(loop(x)).astype(np.result_type(x, 1.0))

    return evaluate


def _expit(x: Any) -> Any:
    small = np.exp(-np.abs(x))
    return np.where(np.signbit(x), small, 1) / (1 + small)


def _expit_of_scalar(b: Any, x: Any) -> Any:
    one, small = b.const(1, x), b.call("exp", b.neg(b.call("fabs", x)))
    is_low = b.compare("<", x, b.const(0, x))
    return b.div(b.select(is_low, small, one), b.add(one, small))


def _xlogy(x1: Any, x2: Any) -> Any:
    is_zero = (x1 == 0) & ~np.isnan(x2)
    return np.where(is_zero, 0, x1 * np.log(np.where(is_zero, 1, x2)))


def _xlogy_of_scalars(b: Any, x1: Any, x2: Any) -> Any:
    zero, product = b.const(0, x1), b.mul(x1, b.call("log", x2))
    is_zero = b.bits("and", b.compare("==", x1, zero), b.compare("==", x2, x2))
    return b.select(is_zero, zero, product)


def _log_expit(x: Any) -> Any:
    return np.minimum(x, 0) - np.log1p(np.exp(-np.abs(x)))


expit = elementwise(
    "expit",
    _expit,
    doc="y = 1 / (1 + e^-x)",
    partials=(lambda y: y * (1 - y),),
    flops=15,
    scalar=_expit_of_scalar,
)

log_expit = elementwise(
    "log_expit",
    _log_expit,
    doc="y = -ln(1 + e^-x), the logarithm of expit x",
    partials=(lambda x: expit(-x),),
    flops=20,
    scalar=lambda b, x: b.sub(
        b.select(b.compare("<", x, b.const(0, x)), x, b.const(0, x)),
        b.call("log1p", b.call("exp", b.neg(b.call("fabs", x)))),
    ),
)

erf = elementwise(
    "erf",
    _each(math.erf),
    doc="y = 2 / sqrt(pi) times the integral of exp(-t^2) from 0 to x",
    partials=(lambda x: TWO_OVER_ROOT_PI * np.exp(-x * x),),
    flops=20,
    scalar=lambda b, x: b.call("erf", x),
)

erfc = elementwise(
    "erfc",
    _each(math.erfc),
    doc="y = 1 - erf x, accurate for large x",
    partials=(lambda x: -TWO_OVER_ROOT_PI * np.exp(-x * x),),
    flops=20,
    scalar=lambda b, x: b.call("erfc", x),
)

xlogy = elementwise(
    "xlogy",
    _xlogy,
    doc="y = x1 ln x2, and 0 where x1 is 0",
    domain=((-2.0, 2.0), (0.1, 4.0)),
    partials=(lambda x2: np.log(x2), lambda x1, x2: x1 / np.where(x1 == 0, 1, x2)),
    flops=12,
    scalar=_xlogy_of_scalars,
)

for primitive in (expit, log_expit, erf, erfc, xlogy):
    ufuncs[primitive.name] = primitive

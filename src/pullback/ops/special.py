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


def _log_expit(x: Any) -> Any:
    return np.minimum(x, 0) - np.log1p(np.exp(-np.abs(x)))


expit = elementwise(
    "expit",
    _expit,
    doc="y = 1 / (1 + e^-x)",
    partials=(lambda y: y * (1 - y),),
    flops=15,
    scalar=lambda b, x: b.div(b.const(1, x), b.add(b.const(1, x), b.call("exp", b.neg(x)))),
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

for primitive in (expit, log_expit, erf, erfc):
    ufuncs[primitive.name] = primitive

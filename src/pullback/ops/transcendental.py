"""Roots, exponential, logarithmic, trigonometric and hyperbolic functions, element by element."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pullback.core.primitive import Primitive, Trait
from pullback.ops.families import elementwise
from pullback.ops.special import expit, xlogy

__all__: list[str] = []

LN2 = float(np.log(2.0))
LN10 = float(np.log(10.0))
ANY = (-2.0, 2.0)
POSITIVE = (0.1, 4.0)
INSIDE = (-0.9, 0.9)


FAR: tuple[Trait, ...] = ("inexact far",)


def _from_math(
    ufunc: np.ufunc,
    doc: str,
    partial: Callable[..., Any],
    domain: tuple[float, float] = ANY,
    function: str = "",
    flops: int = 10,
    kinks: str = "",
    steep: bool = False,
    kinds: str = "fc",
    traits: Sequence[Trait] = (),
) -> Primitive:
    """A function of one operand that C's ``math.h`` has, too; holomorphic unless it is real."""
    function = function or ufunc.__name__
    return elementwise(
        ufunc.__name__,
        ufunc,
        doc=doc,
        partials=(partial,),
        domain=(domain,),
        flops=flops,
        kinks=kinks,
        steep=steep,
        kinds=kinds,
        scalar=lambda b, x: b.call(function, x),
        traits=traits,
    )


exp = _from_math(np.exp, "y = e^x", lambda y: y)
exp2 = _from_math(np.exp2, "y = 2^x", lambda y: LN2 * y)
expm1 = _from_math(np.expm1, "y = e^x - 1", lambda x: np.exp(x))
log = _from_math(np.log, "y = ln x", lambda x: 1 / x, POSITIVE)
log2 = _from_math(np.log2, "y = log2 x", lambda x: 1 / (LN2 * x), POSITIVE)
log10 = _from_math(np.log10, "y = log10 x", lambda x: 1 / (LN10 * x), POSITIVE)
log1p = _from_math(np.log1p, "y = ln(1 + x)", lambda x: 1 / (1 + x), (-0.9, 3.0))

AT_ZERO = "0: the derivative is infinite, as in the limit from the right"
sqrt = _from_math(
    np.sqrt, "y = x^(1/2)", lambda y: 0.5 / y, POSITIVE, flops=4, kinks=AT_ZERO, steep=True
)
cbrt = _from_math(
    np.cbrt, "y = x^(1/3)", lambda y: 1 / (3 * y * y), POSITIVE, kinks=AT_ZERO, kinds="f"
)

# Where y = 0 a root takes the derivative 0. That of the reciprocal is NaN there: what is built on
# a choice, such as a second derivative, is nobody's to choose.
inverse = elementwise(
    "inverse",
    lambda x: np.where(x == 0, 0, 1 / np.where(x == 0, 1, x)).astype(x.dtype),
    doc="y = 1 / x, and 0 at 0",
    domain=(POSITIVE,),
    partials=(lambda x: np.where(x == 0, np.nan, -1 / np.square(np.where(x == 0, 1, x))),),
    scalar=lambda b, x: b.select(
        b.compare("==", x, b.const(0, x)), b.const(0, x), b.div(b.const(1, x), x)
    ),
)
root = elementwise(
    "root",
    lambda x: np.sqrt(x),
    doc="y = x^(1/2) of a sum of squares",
    domain=(POSITIVE,),
    partials=(lambda y: 0.5 * inverse(y),),
    flops=4,
    scalar=lambda b, x: b.call("sqrt", x),
    kinks="0: derivative 0 (the subgradient of least norm), second derivative NaN",
    kink_samples=((0.0,),),
)
root_of_power = elementwise(
    "root_of_power",
    lambda x1, x2: np.power(x1, x2),
    doc="y = x1^x2 of a sum of powers",
    domain=(POSITIVE, POSITIVE),
    partials=(lambda x1, x2, y: x2 * y * inverse(x1), lambda x1, y: xlogy(y, x1)),
    flops=20,
    scalar=lambda b, x1, x2: b.call("pow", x1, x2),
    kinks="0: derivative 0 (the subgradient of least norm), second derivative NaN",
    kink_samples=((0.0, 0.25),),
)

sin = _from_math(np.sin, "y = sin x", lambda x: np.cos(x), traits=FAR)
cos = _from_math(np.cos, "y = cos x", lambda x: -np.sin(x), traits=FAR)
tan = _from_math(np.tan, "y = tan x", lambda y: 1 + y * y, (-1.4, 1.4), traits=FAR)
arcsin = _from_math(
    np.arcsin, "sin y = x", lambda x: 1 / np.sqrt((1 - x) * (1 + x)), INSIDE, "asin", steep=True
)
arccos = _from_math(
    np.arccos, "cos y = x", lambda x: -1 / np.sqrt((1 - x) * (1 + x)), INSIDE, "acos", steep=True
)
arctan = _from_math(np.arctan, "tan y = x", lambda x: 1 / (1 + x * x), ANY, "atan")

sinh = _from_math(np.sinh, "y = sinh x", lambda x: np.cosh(x))
cosh = _from_math(np.cosh, "y = cosh x", lambda x: np.sinh(x))
tanh = _from_math(np.tanh, "y = tanh x", lambda y: 1 - y * y)
arcsinh = _from_math(
    np.arcsinh,
    "sinh y = x",
    lambda x: 1 / (np.sqrt(1 + x * x) if x.dtype.kind == "c" else np.hypot(1, x)),
    ANY,
    "asinh",
)
arccosh = _from_math(
    np.arccosh,
    "cosh y = x",
    lambda x: 1 / (np.sqrt(x - 1) * np.sqrt(x + 1)),  # the branch cut of arccosh itself
    (1.2, 4.0),
    "acosh",
    steep=True,
)
arctanh = _from_math(np.arctanh, "tanh y = x", lambda x: 1 / ((1 - x) * (1 + x)), INSIDE, "atanh")


def _of_two(
    ufunc: np.ufunc,
    doc: str,
    partials: Sequence[Callable[..., Any]],
    domain: Sequence[tuple[float, float]],
    scalar: Callable[..., Any],
    kinks: str = "",
    kink_samples: Sequence[tuple[float, ...]] = (),
) -> Primitive:
    return elementwise(
        ufunc.__name__,
        ufunc,
        doc=doc,
        partials=partials,
        domain=domain,
        flops=20,
        scalar=scalar,
        kinks=kinks,
        kink_samples=kink_samples,
    )


def _logaddexp(b: Any, x1: Any, x2: Any) -> Any:
    larger = b.select(b.compare(">", x1, x2), x1, x2)
    distance = b.neg(b.call("fabs", b.sub(x1, x2)))
    sum = b.add(larger, b.call("log1p", b.call("exp", distance)))
    equal = b.add(x1, b.const(LN2, x1))  # of two equal infinities the distance is NaN
    nan = b.compare("!=", distance, distance)
    return b.select(b.compare("==", x1, x2), equal, b.select(nan, b.add(x1, x2), sum))


logaddexp = _of_two(
    np.logaddexp,
    "y = ln(e^x1 + e^x2)",
    (
        lambda x1, x2: expit(_ahead(x1, x2)),
        lambda x1, x2: expit(_ahead(x2, x1)),
    ),
    (ANY, ANY),
    _logaddexp,
    kinks="both -inf: derivative 0, as of a sum without terms; both inf: half to each",
)


def _ahead(x1: Any, x2: Any) -> Any:
    """``x1 - x2``, also of two equal infinities."""
    is_same = np.isinf(x1) & (x1 == x2)
    difference = np.where(is_same, 0, x1) - np.where(is_same, 0, x2)
    return np.where(is_same & (x1 < 0), -np.inf, difference)


arctan2 = _of_two(
    np.arctan2,
    "y = angle of the point (x2, x1)",
    (
        lambda x1, x2: x2 / (x1 * x1 + x2 * x2),
        lambda x1, x2: -x1 / (x1 * x1 + x2 * x2),
    ),
    (POSITIVE, ANY),
    lambda b, x1, x2: b.call("atan2", x1, x2),
)

hypot = _of_two(
    np.hypot,
    "y = (x1^2 + x2^2)^(1/2)",
    (
        lambda x1, y: x1 * inverse(y),
        lambda x2, y: x2 * inverse(y),
    ),
    (POSITIVE, ANY),
    lambda b, x1, x2: b.call("hypot", x1, x2),
    kinks="(0, 0): derivative 0 (the subgradient of least norm), second derivative NaN",
    kink_samples=((0.0, 0.0),),
)

"""Arithmetic, comparison and selection, element by element."""

from __future__ import annotations

from typing import Any

import numpy as np

from pullback.core.array import ufuncs
from pullback.core.primitive import NO_DERIVATIVE, ZERO
from pullback.ops.families import elementwise

__all__: list[str] = []

ANY = (-2.0, 2.0)
POSITIVE = (0.3, 3.0)

add = elementwise(
    "add",
    np.add,
    doc="y = x1 + x2",
    integers=True,
    partials=(1, 1),
    scalar=lambda b, x1, x2: b.add(x1, x2),
)

subtract = elementwise(
    "subtract",
    np.subtract,
    doc="y = x1 - x2",
    partials=(1, -1),
    scalar=lambda b, x1, x2: b.sub(x1, x2),
)

multiply = elementwise(
    "multiply",
    np.multiply,
    doc="y = x1 x2",
    integers=True,
    partials=(lambda x2: x2, lambda x1: x1),
    scalar=lambda b, x1, x2: b.mul(x1, x2),
)

divide = elementwise(
    "divide",
    np.divide,
    doc="y = x1 / x2",
    domain=(ANY, POSITIVE),
    partials=(lambda x2: 1 / x2, lambda x2, y: -y / x2),
    scalar=lambda b, x1, x2: b.div(x1, x2),
)

negative = elementwise(
    "negative", np.negative, doc="y = -x", partials=(-1,), scalar=lambda b, x: b.neg(x)
)

square = elementwise(
    "square",
    np.square,
    doc="y = x^2",
    integers=True,
    partials=(lambda x: 2 * x,),
    scalar=lambda b, x: b.mul(x, x),
)

maximum = elementwise(
    "maximum",
    np.maximum,
    doc="y = max(x1, x2); NaN if either is",
    integers=True,
    partials=(
        lambda x1, x2: (x1 > x2) + 0.5 * (x1 == x2),
        lambda x1, x2: (x2 > x1) + 0.5 * (x1 == x2),
    ),
    scalar=lambda b, x1, x2: b.select(
        b.compare("!=", x1, x1), x1, b.select(b.compare(">", x1, x2), x1, x2)
    ),
    kinks="x1 == x2: half to each (the mean of the one-sided derivatives)",
    kink_samples=((1.0, 1.0),),
)

select = elementwise(
    "where",
    np.where,
    doc="y = x2 where x1 else x3",
    partials=(
        NO_DERIVATIVE,
        lambda ct, x1: np.where(x1, ct, 0),
        lambda ct, x1: np.where(x1, 0, ct),
    ),
    scalar=lambda b, x1, x2, x3: b.select(b.truth(x1), x2, x3),
)

less = elementwise(
    "less",
    np.less,
    doc="y = x1 < x2",
    partials=(NO_DERIVATIVE, NO_DERIVATIVE),
    out_dtype=bool,
    integers=True,
    scalar=lambda b, x1, x2: b.compare("<", x1, x2),
)

greater = elementwise(
    "greater",
    np.greater,
    doc="y = x1 > x2",
    partials=(NO_DERIVATIVE, NO_DERIVATIVE),
    out_dtype=bool,
    integers=True,
    scalar=lambda b, x1, x2: b.compare(">", x1, x2),
)

equal = elementwise(
    "equal",
    np.equal,
    doc="y = x1 == x2",
    partials=(NO_DERIVATIVE, NO_DERIVATIVE),
    out_dtype=bool,
    integers=True,
    scalar=lambda b, x1, x2: b.compare("==", x1, x2),
)

whole_part = elementwise(
    "trunc",
    np.trunc,
    doc="y = x without its fraction",
    partials=(ZERO,),
    scalar=lambda b, x: b.call("trunc", x),
    kinks="integers: derivative 0, as elsewhere",
)

floor = elementwise(
    "floor",
    np.floor,
    doc="y = the largest integer <= x",
    partials=(ZERO,),
    scalar=lambda b, x: b.call("floor", x),
    kinks="integers: derivative 0, as elsewhere",
)

power = elementwise(
    "power",
    np.power,
    doc="y = x1 ** x2",
    domain=(POSITIVE, ANY),
    flops=20,
    partials=(
        lambda x1, x2: x2 * x1 ** np.where(x2 == 0, 1, x2 - 1),
        lambda x1, y: y * np.log(np.where(x1 == 0, 1, x1)),
    ),
    scalar=lambda b, x1, x2: b.call("pow", x1, x2),
)


def power_of(x1: Any, x2: Any) -> Any:
    """``x1 ** x2``; like NumPy, a constant exponent 2 is a square."""
    return square(x1) if type(x2) in (int, float) and x2 == 2 else power(x1, x2)


ufuncs[np.power] = power_of

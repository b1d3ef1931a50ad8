"""Exponential, logarithmic, trigonometric and hyperbolic functions, element by element."""

from __future__ import annotations

import numpy as np

from pullback.ops.families import elementwise

__all__: list[str] = []

exp = elementwise(
    "exp",
    np.exp,
    doc="y = e^x",
    partials=(lambda y: y,),
    flops=10,
    scalar=lambda b, x: b.call("exp", x),
)

log = elementwise(
    "log",
    np.log,
    doc="y = ln x",
    partials=(lambda x: 1 / x,),
    domain=((0.1, 4.0),),
    flops=10,
    scalar=lambda b, x: b.call("log", x),
)

sqrt = elementwise(
    "sqrt",
    np.sqrt,
    doc="y = x^(1/2)",
    partials=(lambda y: 0.5 / y,),
    domain=((0.1, 4.0),),
    flops=4,
    scalar=lambda b, x: b.call("sqrt", x),
    kinks="0: the derivative is infinite, as in the limit from the right",
)

tanh = elementwise(
    "tanh",
    np.tanh,
    doc="y = tanh x",
    partials=(lambda y: 1 - y * y,),
    flops=15,
    scalar=lambda b, x: b.call("tanh", x),
)

sin = elementwise(
    "sin",
    np.sin,
    doc="y = sin x",
    partials=(lambda x: np.cos(x),),
    flops=12,
    scalar=lambda b, x: b.call("sin", x),
)

cos = elementwise(
    "cos",
    np.cos,
    doc="y = cos x",
    partials=(lambda x: -np.sin(x),),
    flops=12,
    scalar=lambda b, x: b.call("cos", x),
)

"""Common subexpression elimination: compute equal equations once."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from typing import Any

import numpy as np

from pullback.core.graph import Equation, Graph, Literal, Operand

__all__ = ["cse", "exact"]

# A checkpoint exists to compute again what its neighbour has computed; a custom function may be
# foreign code that counts its calls.
KEPT_APART = ("checkpoint", "custom")


def cse(graph: Graph) -> Graph:
    """The same graph with the later one of two equal equations replaced by the earlier one.

    Equations are equal if primitive, operands and parameters are. Bodies of control flow are other
    graphs: nothing is shared with them.
    """
    values: dict[Operand, Operand] = {}
    first: dict[Hashable, Equation] = {}
    kept: list[Equation] = []
    for equation in graph.equations:
        equation = replace(equation, inputs=tuple(values.get(v, v) for v in equation.inputs))
        earlier = first.setdefault(_key(equation), equation)
        if earlier is equation or equation.primitive.name in KEPT_APART:
            kept.append(equation)
        else:
            values.update(zip(equation.outputs, earlier.outputs, strict=True))
    return Graph(graph.inputs, tuple(kept), tuple(values.get(v, v) for v in graph.outputs))


def _key(equation: Equation) -> Hashable:
    operands = [exact(v.value) if isinstance(v, Literal) else v for v in equation.inputs]
    params = sorted((name, exact(value)) for name, value in equation.params.items())
    return (equation.primitive, tuple(operands), tuple(params))


def exact(value: Any) -> Hashable:
    """A key that tells apart what ``==`` does not: 0.0 and -0.0, 1 and True; NaN is itself."""
    if isinstance(value, tuple):
        return tuple(map(exact, value))
    if isinstance(value, float | np.generic):
        return type(value), np.asarray(value).tobytes()
    return type(value), value if isinstance(value, Hashable) else id(value)

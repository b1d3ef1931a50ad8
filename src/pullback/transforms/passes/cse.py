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

    Equations are equal if primitive, operands and parameters are. The body of a scan reads one of
    two equal constants or rows, and one of two equal stacked outputs is read. Nothing else is
    shared with inner graphs.
    """
    values: dict[Operand, Operand] = {}
    first: dict[Hashable, Equation] = {}
    kept: list[Equation] = []
    for equation in graph.equations:
        equation = equation.reading(values)
        if equation.primitive.name == "scan":
            equation = _one_of_equal_inputs(equation)
            values.update(_equal_stacks(equation))
        earlier = first.setdefault(_key(equation), equation)
        if earlier is equation or equation.primitive.name in KEPT_APART:
            kept.append(equation)
        else:
            values.update(zip(equation.outputs, earlier.outputs, strict=True))
    return Graph(graph.inputs, tuple(kept), tuple(values.get(v, v) for v in graph.outputs))


def _key(equation: Equation) -> Hashable:
    operands = map(_operand, equation.inputs)
    params = sorted((name, exact(value)) for name, value in equation.params.items())
    return (equation.primitive, tuple(operands), tuple(params))


def _operand(operand: Operand) -> Hashable:
    return exact(operand.value) if isinstance(operand, Literal) else operand


def _one_of_equal_inputs(scan: Equation) -> Equation:
    """The scan with a body that reads the first of equal constants, and of equal rows."""
    body: Graph = scan.params["body"]
    start: int = scan.params["n_constants"]
    stop: int = start + scan.params["n_carry"]
    first: dict[Hashable, Operand] = {}
    values: dict[Operand, Operand] = {}
    for i, (v, given) in enumerate(zip(body.inputs, scan.inputs, strict=True)):
        if not start <= i < stop:
            values[v] = first.setdefault((v.type, _operand(given)), v)
    if all(old is new for old, new in values.items()):
        return scan
    equations = tuple(e.reading(values) for e in body.equations)
    outputs = tuple(values.get(v, v) for v in body.outputs)
    return replace(
        scan, params={**scan.params, "body": cse(Graph(body.inputs, equations, outputs))}
    )


def _equal_stacks(scan: Equation) -> dict[Operand, Operand]:
    """For each stacked output the first one that stacks the same."""
    n_carry: int = scan.params["n_carry"]
    stacked = zip(scan.outputs[n_carry:], scan.params["body"].outputs[n_carry:], strict=True)
    first: dict[Hashable, Operand] = {}
    return {out: first.setdefault(_operand(v), out) for out, v in stacked}


def exact(value: Any) -> Hashable:
    """A key that tells apart what ``==`` does not: 0.0 and -0.0, 1 and True; NaN is itself."""
    if isinstance(value, tuple):
        return tuple(map(exact, value))
    if isinstance(value, float | np.generic):
        return type(value), np.asarray(value).tobytes()
    return type(value), value if isinstance(value, Hashable) else id(value)

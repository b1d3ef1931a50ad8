"""Inlining: the equations of a called graph take the place of the call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pullback.core.graph import Equation, Graph, Operand, Variable

__all__ = ["copied", "inline"]


def inline(graph: Graph) -> Graph:
    """The same graph without ``call``, so that loops can be fused across what was its border.

    A checkpoint that computes something again stays: its values would be shared with those that
    have been computed before. So does a call whose operand is a Python scalar where its graph has
    none, or the other way round. Values that are known need no derivatives any more.
    """
    values: dict[Operand, Operand] = {}
    equations: list[Equation] = []
    for equation in graph.equations:
        equation = equation.reading(values)
        name, params = equation.primitive.name, equation.params
        if name == "known":
            values.update(zip(equation.outputs, equation.inputs, strict=False))
            continue
        if name == "call" or (name == "checkpoint" and not params["is_again"]):
            body: Graph = params["graph"]
            if [v.type for v in equation.inputs] == body.input_types:
                inside, outputs = copied(body, equation.inputs)
                equations += inside
                values.update(zip(equation.outputs, outputs, strict=True))
                continue
        equations.append(equation)
    return Graph(graph.inputs, tuple(equations), tuple(values.get(v, v) for v in graph.outputs))


def copied(graph: Graph, inputs: Sequence[Operand]) -> tuple[list[Equation], list[Operand]]:
    """Equations and outputs of ``graph`` at ``inputs``, with variables of their own."""
    values: dict[Operand, Operand] = dict(zip(graph.inputs, inputs, strict=True))
    equations = []
    for equation in graph.equations:
        outputs = tuple(Variable(v.type) for v in equation.outputs)
        operands = tuple(values.get(v, v) for v in equation.inputs)
        equations.append(replace(equation, inputs=operands, outputs=outputs))
        values.update(zip(equation.outputs, outputs, strict=True))
    return equations, [values.get(v, v) for v in graph.outputs]

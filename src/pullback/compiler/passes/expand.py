"""Expansion: an equation gives way to simpler ones, which native code has loops for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from pullback.core.graph import Equation, Graph, Operand
from pullback.errors import PullbackError
from pullback.transforms.passes.inline import copied
from pullback.transforms.passes.pipeline import with_bodies
from pullback.transforms.stage import stage

__all__ = ["expand"]


def expand(graph: Graph) -> Graph:
    """The same graph, up to rounding, without primitives that have an expansion."""
    equations: list[Equation] = []
    values: dict[Operand, Operand] = {}
    for equation in graph.equations:
        expansion = equation.primitive.expansion
        equation = with_bodies(equation, expand).reading(values)
        if expansion is None:
            equations.append(equation)
            continue
        inside, outputs = copied(_staged(expansion, equation), equation.inputs)
        equations += [replace(e, source=equation.source) for e in inside]
        values.update(zip(equation.outputs, outputs, strict=True))
    return Graph(graph.inputs, tuple(equations), tuple(values.get(v, v) for v in graph.outputs))


def _staged(expansion: Callable[..., object], equation: Equation) -> Graph:
    def flat(*operands: object) -> list[object]:
        return [expansion(*operands, **equation.params)]

    graph = stage(flat, [v.type for v in equation.inputs], "expand").graph
    if graph.output_types != [v.type for v in equation.outputs]:
        raise PullbackError(
            f"the expansion of {equation.primitive.name} gives {graph.output_types}, "
            f"not {[v.type for v in equation.outputs]}"
        )
    return graph

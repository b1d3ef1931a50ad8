"""The order of the passes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pullback.core.graph import Equation, Graph
from pullback.transforms.passes.cse import cse
from pullback.transforms.passes.dce import dce
from pullback.transforms.passes.inline import inline
from pullback.transforms.passes.simplify import simplify

__all__ = ["optimize"]


def optimize(graph: Graph) -> Graph:
    """An equal graph with fewer equations, to the bit. Inner graphs come first."""
    bodies = tuple(_with_bodies(equation) for equation in graph.equations)
    graph = inline(Graph(graph.inputs, bodies, graph.outputs))
    while True:
        before, graph = graph, dce(cse(simplify(graph)))
        if len(graph.equations) == len(before.equations):
            return graph


def _with_bodies(equation: Equation) -> Equation:
    """The equation with the graphs among its parameters optimized."""

    def optimized(value: Any) -> Any:
        if isinstance(value, Graph):
            return optimize(value)
        return tuple(map(optimized, value)) if isinstance(value, tuple) else value

    return replace(equation, params={k: optimized(v) for k, v in equation.params.items()})

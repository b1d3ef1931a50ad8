"""The order of the passes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from pullback.core.graph import Equation, Graph
from pullback.transforms.passes.cse import cse
from pullback.transforms.passes.dce import dce
from pullback.transforms.passes.inline import inline
from pullback.transforms.passes.settle_carries import settle_carries
from pullback.transforms.passes.simplify import simplify

__all__ = ["bodies", "optimize", "with_bodies"]


def optimize(graph: Graph) -> Graph:
    """An equal graph with fewer equations, to the bit. Inner graphs come first."""
    equations = tuple(with_bodies(equation, optimize) for equation in graph.equations)
    graph = settle_carries(inline(Graph(graph.inputs, equations, graph.outputs)))
    while True:
        before, graph = graph, dce(cse(simplify(graph)))
        if len(graph.equations) == len(before.equations):
            return graph


def bodies(equation: Equation) -> Iterator[Graph]:
    """The graphs among the parameters of an equation."""

    def found(value: Any) -> Iterator[Graph]:
        if isinstance(value, Graph):
            yield value
        elif isinstance(value, tuple):
            for part in value:
                yield from found(part)

    return found(tuple(equation.params.values()))


def with_bodies(equation: Equation, rewrite: Callable[[Graph], Graph]) -> Equation:
    """The equation with the graphs among its parameters rewritten."""

    def rewritten(value: Any) -> Any:
        if isinstance(value, Graph):
            return rewrite(value)
        return tuple(map(rewritten, value)) if isinstance(value, tuple) else value

    if not any(isinstance(value, Graph | tuple) for value in equation.params.values()):
        return equation
    return replace(equation, params={k: rewritten(v) for k, v in equation.params.items()})

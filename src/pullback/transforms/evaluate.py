"""Run a graph equation by equation: the NumPy executor, and the oracle of every other one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pullback.analysis.liveness import last_uses
from pullback.core.array import bind
from pullback.core.graph import Equation, Graph, Literal, Variable

__all__ = ["as_function", "evaluate"]


def evaluate(graph: Graph, args: Sequence[Any]) -> list[Any]:
    """Outputs of ``graph`` at ``args`` (arrays or tracers); frees each value after its last use."""
    values: dict[Variable, Any] = dict(zip(graph.inputs, args, strict=True))

    def read(operand: Variable | Literal) -> Any:
        return operand.value if isinstance(operand, Literal) else values[operand]

    equation: Equation
    for equation, ends in zip(graph.equations, last_uses(graph), strict=True):
        result = bind(equation.primitive, [read(v) for v in equation.inputs], equation.params)
        parts = result if equation.primitive.multiple else (result,)
        values.update(zip(equation.outputs, parts, strict=True))
        for variable in ends:
            del values[variable]
    return [read(v) for v in graph.outputs]


def as_function(graph: Graph) -> Callable[..., list[Any]]:
    """The graph as a Python function of its inputs, ready for any transform."""
    return lambda *args: evaluate(graph, args)

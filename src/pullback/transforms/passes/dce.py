"""Dead code elimination: drop equations whose outputs nobody reads."""

from __future__ import annotations

from pullback.core.graph import Equation, Graph, Variable

__all__ = ["dce"]


def dce(graph: Graph) -> Graph:
    """The same graph without unread equations; inputs stay, read or not."""
    live = {v for v in graph.outputs if isinstance(v, Variable)}
    kept: list[Equation] = []
    for equation in reversed(graph.equations):
        if any(v in live for v in equation.outputs):
            live.update(v for v in equation.inputs if isinstance(v, Variable))
            kept.append(equation)
    return Graph(graph.inputs, tuple(reversed(kept)), graph.outputs)

"""When values of a graph die, and the most memory that is alive at any time."""

from __future__ import annotations

from weakref import WeakKeyDictionary

from pullback.analysis.cost import is_view
from pullback.core.graph import Graph, Variable

__all__ = ["last_uses", "peak_bytes"]


_found: WeakKeyDictionary[Graph, list[list[Variable]]] = WeakKeyDictionary()


def last_uses(graph: Graph) -> list[list[Variable]]:
    """For each equation, the variables nobody reads after it (outputs of the graph excepted).

    Found once for each graph: bodies of loops are evaluated many times.
    """
    known = _found.get(graph)
    if known is not None:
        return known
    alive = {v for v in graph.outputs if isinstance(v, Variable)}
    dying: list[list[Variable]] = []
    for equation in reversed(graph.equations):
        ends = [
            v
            for v in dict.fromkeys((*equation.inputs, *equation.outputs))
            if isinstance(v, Variable) and v not in alive
        ]
        alive.update(ends)
        dying.append(ends)
    return _found.setdefault(graph, dying[::-1])


def peak_bytes(graph: Graph) -> int:
    """Most bytes alive at once, inputs not counted, when values are freed after their last use.

    A view has no memory of its own and keeps that of its operand alive.

    >>> import numpy as np
    >>> from pullback.core.types import ArrayType
    >>> from pullback.transforms.stage import stage
    >>> chain = stage(lambda x: [np.exp(np.exp(np.exp(x)))], [ArrayType((1000,), np.float64)])
    >>> peak_bytes(chain.graph)
    16000
    """
    users: dict[Variable, int] = {}
    owner: dict[Variable, Variable] = {v: v for v in graph.inputs}
    inputs = set(graph.inputs)
    alive = peak = 0
    for equation, ends in zip(graph.equations, last_uses(graph), strict=True):
        first = equation.inputs[0] if equation.inputs else None
        viewed = isinstance(first, Variable) and is_view(equation.primitive)
        for variable in equation.outputs:
            memory = owner[first] if viewed and isinstance(first, Variable) else variable
            owner[variable] = memory
            users[memory] = users.get(memory, 0) + 1
            if memory is variable:
                alive += variable.type.nbytes
        peak = max(peak, alive)
        for variable in ends:
            memory = owner[variable]
            users[memory] = users.get(memory, 1) - 1
            if not users[memory] and memory not in inputs:
                alive -= memory.type.nbytes
    return peak

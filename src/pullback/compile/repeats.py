"""Values that are computed again by each of their readers, instead of being kept in memory.

A rectified array or a mask is as cheap to compute from its source as to load, and the source has
memory anyway. Only operations that do not round are repeated: two loops may round differently.
"""

from __future__ import annotations

from dataclasses import replace

from pullback.compile.plan import is_inline, is_move, is_pointwise, reads_whole
from pullback.core.graph import Equation, Graph, Operand, Variable
from pullback.transforms.passes.dce import dce
from pullback.transforms.passes.rounding import EXACT

__all__ = ["repeat"]

MOST = 4  # equations from the source to a value


def repeat(graph: Graph) -> Graph:
    """The same graph, in which readers have such values to themselves."""
    readers: dict[Operand, list[Equation]] = {}
    for equation in graph.equations:
        for v in set(equation.inputs):
            readers.setdefault(v, []).append(equation)
    makers = {v: e for e in graph.equations for v in e.outputs}
    held = set(graph.outputs)
    held |= {v for v, found in readers.items() if any(_needs_memory(v, e) for e in found)}

    def chain(v: Operand) -> list[Equation]:
        """The equations from the source to ``v``, the last first, or none if it is kept."""
        found: list[Equation] = []
        end = v
        while end in makers and end not in held and len(found) <= MOST:
            sources = _sources(makers[end])
            if len(sources) != 1:
                break
            found.append(makers[end])
            (end,) = sources
        is_at_hand = end in held or end not in makers or not is_inline(makers[end])
        is_small = end.type.nbytes <= v.type.nbytes
        is_cheap = len(found) <= MOST and not all(map(is_move, found))
        return found if (is_at_hand or len(readers[end]) > 1) and is_small and is_cheap else []

    equations: list[Equation] = []
    for equation in graph.equations:
        read: dict[Operand, Operand] = {}
        for v in equation.inputs:
            copies: dict[Operand, Operand] = {}
            for maker in reversed(chain(v) if len(readers.get(v, ())) > 1 else ()):
                outputs = tuple(Variable(out.type) for out in maker.outputs)
                own = tuple(copies.get(x, x) for x in maker.inputs)
                equations.append(replace(maker, inputs=own, outputs=outputs))
                copies.update(zip(maker.outputs, outputs, strict=True))
            if v in copies:
                read[v] = copies[v]
        equations.append(equation.reading(read))
    return dce(Graph(graph.inputs, tuple(equations), graph.outputs))


def _sources(equation: Equation) -> list[Operand]:
    """The operands of nearly the size of the output, if the equation may be repeated."""
    if is_move(equation):
        return list(equation.inputs)
    if equation.primitive.name not in EXACT or not is_pointwise(equation):
        return []
    least = equation.outputs[0].type.size // 2
    return list({x: None for x in equation.inputs if x.type.size > least})


def _needs_memory(v: Operand, reader: Equation) -> bool:
    """Whether ``reader`` reads an element of ``v`` more than once."""
    return reads_whole(reader) or (
        is_inline(reader) and not is_move(reader) and v.type.size < reader.outputs[0].type.size
    )

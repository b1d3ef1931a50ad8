"""Values that are computed again by each of their readers, instead of being kept in memory.

A rectified array or a mask is as cheap to compute from its source as to load, and the source has
memory anyway. Only operations that do not round are repeated: two loops may round differently.
"""

from __future__ import annotations

from dataclasses import replace

from pullback.compiler.schedule.questions import is_inline, is_move, is_pointwise, reads_whole
from pullback.core.graph import Equation, Graph, Operand, Variable
from pullback.transforms.passes.dce import dce

__all__ = ["recompute_exact"]

MOST = 4  # equations from the source to a value


def recompute_exact(graph: Graph) -> Graph:
    """The same graph, in which readers have such values to themselves."""
    values = Values(graph)
    equations: list[Equation] = []
    for equation in graph.equations:
        read: dict[Operand, Operand] = {}
        for v in equation.inputs:
            copies: dict[Operand, Operand] = {}
            for maker in reversed(values.repeated(v)):
                outputs = tuple(Variable(out.type) for out in maker.outputs)
                own = tuple(copies.get(x, x) for x in maker.inputs)
                equations.append(replace(maker, inputs=own, outputs=outputs))
                copies.update(zip(maker.outputs, outputs, strict=True))
            if v in copies:
                read[v] = copies[v]
        equations.append(equation.reading(read))
    return dce(Graph(graph.inputs, tuple(equations), graph.outputs))


class Values:
    """Who makes and who reads the values of a graph, and which are ``held`` in memory anyway."""

    def __init__(self, graph: Graph) -> None:
        self.readers: dict[Operand, list[Equation]] = {}
        for equation in graph.equations:
            for v in set(equation.inputs):
                self.readers.setdefault(v, []).append(equation)
        self.makers: dict[Operand, Equation] = {v: e for e in graph.equations for v in e.outputs}
        self.held: set[Operand] = set(graph.outputs)
        for v, found in self.readers.items():
            if any(_needs_memory(v, e) for e in found):
                self.held.add(v)

    def repeated(self, v: Operand) -> list[Equation]:
        """The equations from the source to ``v``, the last first, or none if it is kept."""
        if len(self.readers.get(v, ())) < 2:
            return []
        found: list[Equation] = []
        sources: list[Operand] | None = [v]
        while sources and len(found) <= MOST:
            (source,) = sources
            if source not in self.makers or source in self.held:
                break
            sources = _sources(self.makers[source])
            if sources is None or len(sources) > 1:
                break
            found.append(self.makers[source])
        if len(found) > MOST or all(map(is_move, found)):
            return []
        return found if self.is_near(source, v) else []

    def is_near(self, source: Operand, v: Operand) -> bool:
        """Whether reading the source costs no more than reading ``v``."""
        maker = self.makers.get(source)
        is_at_hand = source in self.held or maker is None or not is_inline(maker)
        is_shared = is_at_hand or len(self.readers[source]) > 1
        return is_shared and source.type.nbytes <= v.type.nbytes


def _sources(equation: Equation) -> list[Operand] | None:
    """The operands of nearly the size of the output, if the equation may be repeated.

    If there are none, small operands are read again and again, and have memory for that.
    """
    if is_move(equation):
        return list(equation.inputs)
    if "exact" not in equation.primitive.traits or not is_pointwise(equation):
        return None
    least = equation.outputs[0].type.size // 2
    return list({x: None for x in equation.inputs if x.type.size > least})


def _needs_memory(v: Operand, reader: Equation) -> bool:
    """Whether ``reader`` reads an element of ``v`` more than once."""
    return reads_whole(reader) or (
        is_inline(reader) and not is_move(reader) and v.type.size < reader.outputs[0].type.size
    )

"""Programs within a budget of memory: plans of the graph, measured by the arena that they get."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pullback.compiler.schedule.steps import Schedule
from pullback.core.graph import Equation, Graph, Variable
from pullback.planner.budget import Ladder
from pullback.planner.simulate import peak_bytes
from pullback.transforms.passes.pipeline import bodies

__all__ = ["ladder_of"]


def ladder_of(graph: Graph, schedule: Schedule, build: Callable[[Graph], Any]) -> Ladder:
    """Plans of ``graph``, each built into a program whose arena is its measure.

    ``schedule`` is that of the graph as it is: values that it keeps in no memory cost none.
    """
    held = {schedule.owner(v) for v in schedule.in_memory} - schedule.local
    held |= schedule.alias.keys() | schedule.results
    known = {v for e in schedule.graph.equations for v in e.outputs}

    def size(v: Variable) -> int:
        return v.type.nbytes if v in held or v not in known else 0

    def measure(planned: Graph) -> tuple[int, Any]:
        program = build(planned)
        return program.allocated, program

    return Ladder(graph, measure, size, _inside)


def _inside(equation: Equation) -> int:
    """Memory of the graphs inside of an equation."""
    return max(map(peak_bytes, bodies(equation)), default=0)

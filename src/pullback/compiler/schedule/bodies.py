"""Graphs inside of steps: how each is planned, and the memory that it has behind the arena.

A loop keeps its state at two places where its body cannot write over what it reads; the bodies of a
step begin behind these. The memory is free when the step is done.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pullback.analysis.liveness import peak_bytes
from pullback.compiler.schedule.chunks import chunk_length, n_chunks
from pullback.compiler.schedule.steps import Room, Schedule, Step, aligned
from pullback.core.graph import Equation, Graph, Variable
from pullback.transforms.passes.pipeline import bodies

__all__ = [
    "Inner",
    "bytes_behind",
    "carry_room",
    "chunks_of_loop",
    "inner_graphs",
    "is_independent",
]

LEAST_CHUNKS = 4  # fewer keep some threads waiting
MOST_BYTES = 1 << 25  # of working memory of all chunks, unless the loop reads and writes more
VERDICT_BYTES = aligned(1)  # of what the test of a while loop finds


class Inner(NamedTuple):
    """A graph inside of a step: what its outputs may be written over; on one thread or not."""

    graph: Graph
    room: Room
    is_alone: bool = False


def is_independent(equation: Equation) -> bool:
    """Whether the equation is a loop whose steps may run in any order."""
    return equation.primitive.name == "scan" and not equation.params["n_carry"]


def inner_graphs(plan: Schedule, step: Step) -> list[Inner]:
    """The graphs that a step runs, in the order in which they are written."""
    equation = step.equation
    name, params = equation.primitive.name, equation.params
    if name in ("call", "checkpoint"):
        return [Inner(params["graph"], {})]
    if name == "cond":
        on_false, on_true = params["branches"]
        return [Inner(on_true, {}), Inner(on_false, {})]
    if name == "while_loop":
        first, n = params["n_body"], len(equation.outputs)
        return [
            Inner(params["body"], carry_room(params["body"], first, n)),
            Inner(params["test"], {}),
        ]
    if name != "scan":
        return []
    body = params["body"]
    if is_independent(equation):
        wanted, room = _chunks(plan, step)
        is_cut = wanted >= LEAST_CHUNKS and room // _most_bytes(body) >= LEAST_CHUNKS
        return [Inner(body, {}, is_cut)]
    return [Inner(body, carry_room(body, params["n_constants"], params["n_carry"]))]


def carry_room(body: Graph, first: int, n: int) -> Room:
    """Which part of the next state may be written over which of this one."""
    inputs, outputs = body.inputs[first : first + n], body.outputs
    return {
        v: [out]
        for i, (v, out) in enumerate(zip(inputs, outputs, strict=False))
        if out not in (*outputs[:i], *body.inputs)
    }


def bytes_behind(plan: Schedule, step: Step) -> int:
    """What the bodies of a step need behind the arena, and the state of a loop."""
    found = plan.bodies.get(step)
    if not found:
        return 0
    equation, inner = step.equation, max(body.total_bytes for body in found)
    if is_independent(equation):
        return chunks_of_loop(plan, step) * aligned(inner)
    start = VERDICT_BYTES if equation.primitive.name == "while_loop" else 0
    return start + sum(aligned(v.type.nbytes) for v in _moved(found[0], equation)) + inner


def _moved(body: Schedule, equation: Equation) -> Sequence[Variable]:
    """The state of a loop that its body does not write over."""
    params = equation.params
    if equation.primitive.name == "while_loop":
        first, n = params["n_body"], len(equation.outputs)
    elif equation.primitive.name == "scan":
        first, n = params["n_constants"], params["n_carry"]
    else:
        return ()
    return [v for v in body.graph.inputs[first : first + n] if v not in body.alias]


def chunks_of_loop(plan: Schedule, step: Step) -> int:
    """Into how many chunks the steps of an independent loop are cut, if none calls NumPy."""
    (body,) = plan.bodies[step]
    wanted, room = _chunks(plan, step)
    n: int = step.equation.params["length"]
    is_cut = inner_graphs(plan, step)[0].is_alone
    most = max(min(wanted, room // aligned(body.total_bytes)), 1) if is_cut else 1
    return max(-(-n // max(chunk_length(n, most, 1), 1)), 1)


def _chunks(plan: Schedule, step: Step) -> tuple[int, int]:
    """As many chunks as there is work for, and bytes that all of them may have."""
    equation = step.equation
    operands = {v for v in (*equation.inputs, *equation.outputs) if isinstance(v, Variable)}
    work = 0 if plan.is_alone else plan.work(step)
    room = max(MOST_BYTES, sum(v.type.nbytes for v in operands))
    return min(equation.params["length"], n_chunks(work)), room


def _most_bytes(graph: Graph) -> int:
    """About the memory of a graph, that of the largest graph inside of it included."""
    inside = (_most_bytes(body) for e in graph.equations for body in bodies(e))
    return peak_bytes(graph) + max(inside, default=1)

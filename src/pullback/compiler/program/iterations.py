"""Loops whose steps do not depend on each other: each thread takes some of them as a whole.

Jobs inside of a job run on the thread that starts them. So a step runs on one processor, and finds
what it has written in the cache of that. Steps that need more memory run one after the other, and
all threads work on one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pullback.analysis.liveness import peak_bytes
from pullback.compiler.llvm.builder import I64, POINTER, bounds, ir, loop, written
from pullback.compiler.program.control import Code
from pullback.compiler.program.scope import Scope
from pullback.compiler.program.table import Row
from pullback.compiler.schedule import chunks
from pullback.compiler.schedule.steps import Step, aligned
from pullback.core.graph import Equation, Graph, Literal, Variable
from pullback.transforms.passes.pipeline import bodies

__all__ = ["emit_iterations", "is_independent"]

LEAST_CHUNKS = 4  # fewer keep some threads waiting
MOST_BYTES = 1 << 25  # of working memory of all chunks, unless the loop reads and writes more


def is_independent(equation: Equation) -> bool:
    """Whether the equation is a loop whose steps may run in any order."""
    return equation.primitive.name == "scan" and not equation.params["n_carry"]


class Iterations(Code):
    """A function ``f(status, *operands, working memory, chunk)`` that runs some steps of a loop."""

    def __init__(self, scope: Scope, operands: Sequence[Variable]) -> None:
        self.scope = scope
        self.enter(ir.FunctionType(ir.VoidType(), [POINTER] * (2 + len(operands)) + [I64]))
        self.status, *pointers, self.arena, self.chunk = self.function.args
        self.pointers = dict(zip(operands, pointers, strict=True))

    def address(self, operand: Variable | Literal) -> Any:
        if isinstance(operand, Variable):
            return self.pointers[operand]
        return super().address(operand)


def emit_iterations(scope: Scope, step: Step) -> Row:
    """The row of such a loop; it has one chunk if its steps call NumPy, or are too few or large."""
    equation = step.equation
    inputs, outputs, params = equation.inputs, equation.outputs, equation.params
    operands = [v for v in dict.fromkeys((*inputs, *outputs)) if isinstance(v, Variable)]
    n, graph = params["length"], params["body"]
    work = 0 if scope.plan.is_alone else scope.plan.work(step)
    room = max(MOST_BYTES, sum(v.type.nbytes for v in operands))
    wanted = min(n, chunks.n_chunks(work))
    n_callbacks = len(scope.callbacks)
    is_alone = wanted >= LEAST_CHUNKS and room // most_bytes(graph) >= LEAST_CHUNKS
    body = scope.nested(graph, {}, is_alone)
    n_bytes = aligned(body.arena_bytes)
    is_cut = is_alone and len(scope.callbacks) == n_callbacks
    most = max(min(wanted, room // n_bytes), 1) if is_cut else 1
    length = max(chunks.chunk_length(n, most, 1), 1)
    n_chunks = max(-(-n // length), 1)
    code = Iterations(scope, operands)
    with written(code.builder):
        start, stop = bounds(code.builder, n, length, code.chunk)
        arena = code.offset(code.arena, code.builder.mul(code.chunk, I64(n_bytes)))
        end = params["n_constants"]
        with loop(code.builder, stop, start=start, until=code.stopped) as i:
            rows = [code.row(v, i) for v in (*inputs[end:], *outputs)]
            code.run(body.function, arena, [*code.addresses(inputs[:end]), *rows])
    scope.reserve(n_chunks * n_bytes)
    return Row(code.function, n_chunks, [*map(scope.place, operands), scope.own_bytes])


def most_bytes(graph: Graph) -> int:
    """About the memory of a graph, that of the largest graph inside of it included."""
    inside = (most_bytes(body) for e in graph.equations for body in bodies(e))
    return peak_bytes(graph) + max(inside, default=1)

"""Loops whose steps do not depend on each other: each thread takes some of them as a whole.

Jobs inside of a job run on the thread that starts them. So a step runs on one processor, and finds
what it has written in the cache of that. Steps that need more memory run one after the other, and
all threads work on one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pullback.compiler.llvm.builder import I64, POINTER, bounds, ir, loop, written
from pullback.compiler.program.control import Code
from pullback.compiler.program.scope import Scope
from pullback.compiler.program.table import Row
from pullback.compiler.schedule.bodies import chunks_of_loop
from pullback.compiler.schedule.chunks import chunk_length
from pullback.compiler.schedule.steps import Step, aligned
from pullback.core.graph import Literal, Variable

__all__ = ["emit_iterations"]


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
    n, n_callbacks = params["length"], len(scope.callbacks)
    body = scope.nested(0)
    n_bytes = aligned(body.plan.total_bytes)
    has_callbacks = len(scope.callbacks) > n_callbacks
    n_chunks = 1 if has_callbacks else chunks_of_loop(scope.plan, step)
    length = chunk_length(n, n_chunks, 1)
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

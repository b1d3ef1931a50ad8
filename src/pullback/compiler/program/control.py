"""Steps that are no kernels: loops and branches, calls of NumPy, copies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pullback.compiler.llvm.builder import I1, I8, I64, POINTER, ir, loop, scalar_type
from pullback.compiler.llvm.scalars import ScalarEmitter
from pullback.compiler.program.entry import MAIN, Callee
from pullback.compiler.program.scope import Body, Scope
from pullback.compiler.program.stopping import emit_stopped
from pullback.compiler.program.table import entry_of
from pullback.compiler.runtime.frame import HEAD_WORDS
from pullback.compiler.schedule.steps import aligned
from pullback.core.graph import Equation, Literal, Variable
from pullback.core.types import ArrayType

__all__ = ["CONTROL", "Code", "emit_callback", "emit_copies"]

CALLBACK = ir.FunctionType(ir.VoidType(), [POINTER, POINTER])


class Code:
    """A function of its own for one step: ``void f(pointers, arena, status)``."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.enter(MAIN)
        self.table, self.arena, self.status = self.function.args

    def enter(self, kind: ir.FunctionType) -> None:
        module = self.scope.module
        self.function = ir.Function(module, kind, module.get_unique_name("step"))
        self.function.linkage = "internal"
        self.builder = ir.IRBuilder(self.function.append_basic_block("entry"))

    def stopped(self) -> Any:
        """Whether a loop must end, for all that follows is in vain."""
        return emit_stopped(self.builder, self.status)

    # -- memory -------------------------------------------------------------------------------
    def offset(self, pointer: Any, n_bytes: int | Any) -> Any:
        n = I64(n_bytes) if isinstance(n_bytes, int) else n_bytes
        return self.builder.gep(pointer, [n], source_etype=I8)

    def entry(self, i: int) -> Any:
        address = self.builder.gep(self.table, [I64(i)], source_etype=POINTER)
        return self.builder.load(address, typ=POINTER)

    def address(self, operand: Variable | Literal) -> Any:
        """Memory that holds an operand; a literal gets a place at the head of the function."""
        if isinstance(operand, Variable):
            place = self.scope.place(operand)
            if place >= 0:
                return self.offset(self.arena, place)
            entry, offset = entry_of(place)
            return self.offset(self.entry(entry), offset)
        emit = ScalarEmitter(self.builder)
        with self.builder.goto_entry_block():
            memory = self.builder.alloca(scalar_type(operand.type.dtype))
        emit.store(emit.constant(operand.value, operand.type.dtype), memory, I64(0))
        return memory

    def addresses(self, operands: Sequence[Variable | Literal]) -> list[Any]:
        return [self.address(v) for v in operands]

    def row(self, operand: Variable | Literal, i: Any) -> Any:
        """Pointer to element ``i`` along the leading axis."""
        n_bytes = operand.type.nbytes // max(operand.type.shape[0], 1)
        return self.offset(self.address(operand), self.builder.mul(i, I64(n_bytes)))

    def local(self, types: Sequence[ArrayType], start: int = 0) -> tuple[list[Any], int]:
        """Places behind the arena of the program for values of these types; returns the end."""
        places = []
        for type in types:
            places.append(self.offset(self.arena, self.scope.own_bytes + start))
            start += aligned(type.nbytes)
        self.scope.reserve(start)
        return places, start

    def copy(self, source: Any, target: Any, n_bytes: int) -> None:
        """``memcpy`` of a fixed number of bytes."""
        if n_bytes:
            module = self.scope.module
            name = "llvm.memcpy.p0.p0.i64"
            kind = ir.FunctionType(ir.VoidType(), [POINTER, POINTER, I64, I1])
            move = module.globals.get(name) or ir.Function(module, kind, name)
            self.builder.call(move, [target, source, I64(n_bytes), I1(0)])

    def pointer_table(self, addresses: Sequence[Any]) -> Any:
        with self.builder.goto_entry_block():
            table = self.builder.alloca(POINTER, max(len(addresses), 1))
        for i, address in enumerate(addresses):
            place = self.builder.gep(table, [I64(i)], source_etype=POINTER)
            self.builder.store(address, place)
        return table

    # -- graphs inside graphs -----------------------------------------------------------------
    def nested(self, number: int = 0, local_bytes: int = 0) -> tuple[Any, Any]:
        """Emit a body; returns its function and its arena, behind ``local_bytes`` of ours."""
        inner = self.scope.nested(number)
        return inner.function, self.arena_of(inner, local_bytes)

    def arena_of(self, inner: Body, local_bytes: int) -> Any:
        self.scope.reserve(local_bytes + inner.plan.total_bytes)
        return self.offset(self.arena, self.scope.own_bytes + local_bytes)

    def run(self, function: Any, arena: Any, addresses: Sequence[Any]) -> None:
        self.builder.call(function, [self.pointer_table(addresses), arena, self.status])


class Carry:
    """The state of a loop, which its body reads at one place and writes to another.

    The first is where the loop leaves its ``results``. The two places change their roles from step
    to step; they are one where the body can write over what it reads.
    """

    def __init__(self, code: Code, first: int, results: Sequence[Variable], end: int = 0) -> None:
        self.code = code
        self.results = results
        inner = code.scope.nested(0)
        inputs = inner.plan.graph.inputs[first : first + len(results)]
        self.function = inner.function
        before = code.addresses(results)
        self.is_moved = [v not in inner.plan.alias for v in inputs]
        moved = [v.type for v, flag in zip(inputs, self.is_moved, strict=True) if flag]
        places, self.end = code.local(moved, end)
        others = iter(places)
        after = [next(others) if flag else b for flag, b in zip(self.is_moved, before, strict=True)]
        self.arena = code.arena_of(inner, self.end)
        self.before, self.after = self.variables(before), self.variables(after)

    def variables(self, addresses: Sequence[Any]) -> list[Any]:
        build = self.code.builder
        places = [build.alloca(POINTER) for _ in addresses]
        for place, address in zip(places, addresses, strict=True):
            build.store(address, place)
        return places

    def addresses(self, variables: Sequence[Any]) -> list[Any]:
        return [self.code.builder.load(v, typ=POINTER) for v in variables]

    def start(self, operands: Sequence[Variable | Literal]) -> None:
        place = self.code.scope.place
        for operand, result in zip(operands, self.results, strict=True):
            if isinstance(operand, Literal) or place(operand) != place(result):
                source, target = self.code.addresses([operand, result])
                self.code.copy(source, target, result.type.nbytes)

    @property
    def now(self) -> list[Any]:
        """Where the state is."""
        return self.addresses(self.before)

    def step(self, constants: Sequence[Any], rows: Sequence[Any], stacked: Sequence[Any]) -> None:
        before, after = self.now, self.addresses(self.after)
        self.code.run(self.function, self.arena, [*constants, *before, *rows, *after, *stacked])
        for i, is_moved in enumerate(self.is_moved):
            if is_moved:
                self.code.builder.store(after[i], self.before[i])
                self.code.builder.store(before[i], self.after[i])

    def finish(self) -> None:
        """Move what is at the other place to that of its result."""
        build = self.code.builder
        for source, result, is_moved in zip(self.now, self.results, self.is_moved, strict=True):
            if is_moved:
                target = self.code.address(result)
                is_other = build.icmp_unsigned("!=", source, target)
                with build.if_then(is_other):
                    self.code.copy(source, target, result.type.nbytes)


def emit_copies(code: Code, copies: Sequence[tuple[Variable | Literal, int]]) -> None:
    """Copy operands to entries of the table of pointers."""
    for operand, entry in copies:
        code.copy(code.address(operand), code.entry(entry), operand.type.nbytes)


def emit_callback(code: Code, equation: Equation, number: int) -> None:
    """NumPy evaluates the equation, on arrays that share the program's memory."""
    place = code.offset(code.status, 8 * (HEAD_WORDS + number))
    target = Callee(code.builder.load(place, typ=POINTER), CALLBACK)
    operands = [v for v in (*equation.inputs, *equation.outputs) if isinstance(v, Variable)]
    code.builder.call(target, [code.pointer_table(code.addresses(operands)), code.status])


def emit_call(code: Code, equation: Equation) -> None:
    function, arena = code.nested()
    code.run(function, arena, code.addresses((*equation.inputs, *equation.outputs)))


def emit_scan(code: Code, equation: Equation) -> None:
    params = equation.params
    n_constants, n_carry = params["n_constants"], params["n_carry"]
    inputs, outputs = equation.inputs, equation.outputs
    carry = Carry(code, n_constants, outputs[:n_carry])
    end = n_constants + n_carry
    constants = code.addresses(inputs[:n_constants])
    carry.start(inputs[n_constants:end])
    if params["length"]:
        steps = loop(code.builder, params["length"], params["reverse"], until=code.stopped)
        with steps as i:
            rows = [code.row(v, i) for v in inputs[end:]]
            carry.step(constants, rows, [code.row(v, i) for v in outputs[n_carry:]])
    carry.finish()


def emit_cond(code: Code, equation: Equation) -> None:
    pred, *operands = equation.inputs
    addresses = code.addresses((*operands, *equation.outputs))
    emit = ScalarEmitter(code.builder)
    flag = emit.truth(emit.load(code.address(pred), I64(0), pred.type.dtype))
    functions = [code.nested(number) for number in range(2)]  # if it is true, if it is not
    table = code.pointer_table(addresses)
    with code.builder.if_else(flag.value) as (then, otherwise):
        for branch, (function, arena) in zip((then, otherwise), functions, strict=True):
            with branch:
                code.builder.call(function, [table, arena, code.status])


def emit_while(code: Code, equation: Equation) -> None:
    params = equation.params
    n_test, n_body = params["n_test"], params["n_body"]
    (verdict,), end = code.local([ArrayType((), np.bool_)])
    carry = Carry(code, n_body, equation.outputs, end)
    run_test, test_arena = code.nested(1, carry.end)
    constants = code.addresses(equation.inputs[: n_test + n_body])
    carry.start(equation.inputs[n_test + n_body :])
    builder = code.builder
    head, check, step, done = map(builder.append_basic_block, ("head", "check", "step", "done"))
    builder.branch(head)
    builder.position_at_end(head)
    builder.cbranch(code.stopped(), done, check)
    builder.position_at_end(check)
    code.run(run_test, test_arena, [*constants[:n_test], *carry.now, verdict])
    flag = ScalarEmitter(builder).load(verdict, I64(0), np.dtype(bool))
    builder.cbranch(flag.value, step, done)
    builder.position_at_end(step)
    carry.step(constants[n_test:], [], [])
    builder.branch(head)
    builder.position_at_end(done)
    carry.finish()


CONTROL: dict[str, Callable[[Code, Equation], None]] = {
    "call": emit_call,
    "checkpoint": emit_call,
    "scan": emit_scan,
    "cond": emit_cond,
    "while_loop": emit_while,
}

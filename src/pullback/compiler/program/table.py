"""Programs as tables: a row of words for each step, and one native loop that runs the rows.

Code for every step would have to be compiled. A table costs nothing, so that a hundred layers,
which share their kernels, compile like one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from pullback.compiler.llvm.builder import I8, I64, POINTER, ZERO, ir, loop, unoptimized
from pullback.compiler.program.entry import MAIN, Callee
from pullback.compiler.program.stopping import emit_stopped
from pullback.compiler.schedule.scratch import ChainScratch

__all__ = ["Row", "at_entry", "emit_chain", "emit_rows", "entry_of"]

CHUNK = ir.FunctionType(ir.VoidType(), [POINTER, I64])
RUN = ir.FunctionType(ir.VoidType(), [POINTER, POINTER, POINTER, I64, POINTER])
ROWS = ir.FunctionType(ir.VoidType(), [POINTER, I64, *MAIN.args, POINTER])
ENTRY_BITS = 20  # of an operand, for the number of an entry
HEAD = 2  # words of a job before its operands: the function, the status


class Row(NamedTuple):
    """A step: ``function(status, *operands, chunk)`` for each chunk, on the threads of the pool.

    An operand is a place in the arena or, if it is negative, one at an entry of the table of
    pointers.
    Without chunks, ``function`` has the signature of a program and is called once.
    """

    function: Any
    n_chunks: int
    operands: Sequence[int]


def at_entry(i: int, offset: int = 0) -> int:
    """The operand ``offset`` bytes behind where entry ``i`` of the table of pointers points to."""
    return ~(i | offset << ENTRY_BITS)


def entry_of(operand: int) -> tuple[int, int]:
    """The number of an entry and the offset, of a negative operand."""
    return ~operand & (1 << ENTRY_BITS) - 1, ~operand >> ENTRY_BITS


def emit_caller(module: ir.Module, n: int) -> Any:
    """``call(job, chunk)``: the function of a job with ``n`` operands, for a chunk."""
    name = f"call_{n}"
    if name in module.globals:
        return module.globals[name]
    caller = ir.Function(module, CHUNK, name)
    caller.linkage = "internal"
    builder = ir.IRBuilder(caller.append_basic_block("entry"))
    job, chunk = caller.args
    places = [builder.gep(job, [I64(i)], source_etype=POINTER) for i in range(HEAD + n)]
    function, *others = (builder.load(place, typ=POINTER) for place in places)
    kind = ir.FunctionType(ir.VoidType(), [POINTER] * (1 + n) + [I64])
    builder.call(Callee(function, kind), [*others, chunk])
    builder.ret_void()
    return caller


class Member(NamedTuple):
    """A function of a chain, and how many operands it has."""

    function: Any
    n_operands: int


def emit_chain(
    module: ir.Module, members: Sequence[Member], n_chunks: int, scratch: ChainScratch
) -> Any:
    """``chain(status, *operands, working memory, chunk)`` calls all members.

    The operands of the members lie one behind the other.
    """
    n_operands = sum(member.n_operands for member in members)
    kind = ir.FunctionType(ir.VoidType(), [POINTER] * (n_operands + 2) + [I64])
    chain = ir.Function(module, kind, module.get_unique_name("chain"))
    chain.linkage = "internal"
    unoptimized(chain)
    builder = ir.IRBuilder(chain.append_basic_block("entry"))
    status, *operands, memory, chunk = chain.args
    for k, (function, n) in enumerate(members):
        if scratch.are_cut[k]:  # the member steps over its own part for each chunk
            own_bytes = scratch.sizes[k] // n_chunks
            place = builder.mul(chunk, I64(scratch.chunk_bytes - own_bytes))
        else:
            place = I64(scratch.starts[k])
        own = builder.gep(memory, [place], source_etype=I8)
        builder.call(function, [status, *operands[:n], own, chunk])
        operands = operands[n:]
    builder.ret_void()
    return chain


def emit_rows(module: ir.Module, function: Any, rows: Sequence[Row]) -> None:
    """Let ``function``, which has the signature of a program, run these steps in order."""
    words: list[Any] = []
    for row in rows:
        n = len(row.operands)
        caller = emit_caller(module, n) if row.n_chunks else row.function
        addresses = (f.ptrtoint(I64) for f in (caller, row.function))
        words += [*addresses, row.n_chunks, n, *row.operands]
    kind = ir.ArrayType(I64, len(words))
    table = ir.GlobalVariable(module, kind, module.get_unique_name("rows"))
    table.linkage, table.global_constant = "internal", True
    table.initializer = kind(words)
    unoptimized(function)  # else `run_rows` becomes a part of it, for this table
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    job = builder.alloca(POINTER, HEAD + max((len(row.operands) for row in rows), default=0))
    run = module.globals.get("run_rows") or emit_run(module)
    builder.call(run, [table, I64(len(rows)), *function.args, job])
    builder.ret_void()


def emit_run(module: ir.Module) -> Any:
    """``run_rows(rows, n, pointers, arena, status, job)``; any row finds room in ``job``."""
    function = ir.Function(module, ROWS, "run_rows")
    function.linkage = "internal"
    rows, n, table, arena, status, job = function.args
    builder = ir.IRBuilder(function.append_basic_block("entry"))

    def at(pointer: Any, i: Any) -> Any:
        return builder.gep(pointer, [i if hasattr(i, "type") else I64(i)], source_etype=I64)

    def pointer_at(pointer: Any, i: Any) -> Any:
        return builder.load(at(pointer, i), typ=POINTER)

    cursor = builder.alloca(POINTER)
    builder.store(rows, cursor)
    builder.store(status, at(job, 1))
    run, pool = pointer_at(status, 1), pointer_at(status, 2)
    with loop(builder, n, until=lambda: emit_stopped(builder, status)):
        row = builder.load(cursor, typ=POINTER)
        n_chunks, n_operands = (builder.load(at(row, i), typ=I64) for i in (2, 3))
        operands = at(row, 4)
        with loop(builder, n_operands) as k:
            word = builder.load(at(operands, k), typ=I64)
            is_entry = builder.icmp_signed("<", word, ZERO)
            at_table = builder.select(is_entry, builder.not_(word), ZERO)
            entry = pointer_at(table, builder.and_(at_table, I64((1 << ENTRY_BITS) - 1)))
            entry = builder.gep(entry, [builder.lshr(at_table, I64(ENTRY_BITS))], source_etype=I8)
            place = builder.gep(arena, [word], source_etype=I8)
            builder.store(builder.select(is_entry, entry, place), at(at(job, HEAD), k))
        builder.store(at(operands, n_operands), cursor)
        target = pointer_at(row, 0)
        builder.store(pointer_at(row, 1), job)
        with builder.if_else(builder.icmp_signed(">", n_chunks, I64(1))) as (several, one):
            with several:
                builder.call(Callee(run, RUN), [pool, target, job, n_chunks, status])
            with one, builder.if_else(builder.icmp_signed("==", n_chunks, I64(1))) as (do, main):
                with do:
                    builder.call(Callee(target, CHUNK), [job, ZERO])
                with main:
                    builder.call(Callee(target, MAIN), [table, arena, status])
    builder.ret_void()
    return function

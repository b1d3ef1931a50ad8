"""The way into a program: check the caller's arrays, collect their addresses, run.

Python would need a microsecond for the address of each array, so native code reads the arrays
itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pullback.compiler.llvm.builder import I32, I64, POINTER, ir, loop
from pullback.compiler.runtime.frame import (
    DATA,
    DESCR,
    DIMS,
    FLAGS,
    ITEMS,
    LENGTH,
    MISMATCH,
    N_WORDS,
    NDIM,
    READY,
    TYPE,
)

__all__ = ["MAIN", "Callee", "emit_entry"]

MAIN = ir.FunctionType(ir.VoidType(), [POINTER] * 3)


class Callee:
    """A function known by its address, for ``builder.call``."""

    def __init__(self, address: Any, signature: Any) -> None:
        self.type = signature.return_type
        self.function_type = signature
        self.get_reference = address.get_reference


def emit_entry(*others: Callable[[ir.Module], None]) -> str:
    """LLVM text of ``i32 main(list, frame)``, which runs the program of a :class:`Frame`.

    The result is ``MISMATCH``, before anything is run, if the list is not one of contiguous arrays
    of the expected types; else what the program leaves in its status. ``others`` write more.
    """
    module = ir.Module("entry")
    function = ir.Function(module, ir.FunctionType(I32, [POINTER] * 2), "main")
    items_of, frame = function.args
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    refuse = function.append_basic_block("refuse")

    def word(base: Any, n_bytes: int = 0, typ: Any = I64) -> Any:
        place = builder.gep(base, [ir.Constant(I64, n_bytes)], source_etype=ir.IntType(8))
        return builder.load(place, typ=typ)

    def item(base: Any, i: Any) -> Any:
        return builder.gep(base, [i], source_etype=I64)

    def require(left: Any, right: Any) -> None:
        go_on = builder.append_basic_block("fits")
        builder.cbranch(builder.icmp_signed("==", left, right), go_on, refuse)
        builder.position_at_end(go_on)

    array_type, program, arena, table, status, expected = (
        word(frame, 8 * k, POINTER) for k in range(N_WORDS)
    )
    cursor = builder.alloca(POINTER)
    builder.store(item(expected, ir.Constant(I64, 1)), cursor)
    n_arrays = word(expected)
    require(word(items_of, LENGTH), n_arrays)
    items = word(items_of, ITEMS, POINTER)
    with loop(builder, n_arrays) as i:
        array = builder.load(item(items, i), typ=POINTER)
        wanted = builder.load(cursor, typ=POINTER)
        require(word(array, TYPE, POINTER), array_type)
        require(word(array, DESCR), word(wanted))
        n_axes = word(wanted, 8)
        require(builder.sext(word(array, NDIM, I32), I64), n_axes)
        ready = ir.Constant(I32, READY)
        require(builder.and_(word(array, FLAGS, I32), ready), ready)
        dims, shape = word(array, DIMS, POINTER), item(wanted, ir.Constant(I64, 2))
        with loop(builder, n_axes) as axis:
            require(word(item(dims, axis)), word(item(shape, axis)))
        builder.store(item(shape, n_axes), cursor)
        builder.store(word(array, DATA), item(table, i))
    builder.store(ir.Constant(I32, 0), status)
    builder.call(Callee(program, MAIN), [table, arena, status])
    builder.ret(builder.load(status, typ=I32))
    builder.position_at_end(refuse)
    builder.ret(ir.Constant(I32, MISMATCH))
    for emit in others:
        emit(module)
    return str(module)

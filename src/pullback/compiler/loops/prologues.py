"""The functions of maps that products compute where they copy: see ``schedule/prologues.py``."""

from __future__ import annotations

from typing import Any

from pullback.compiler.llvm.builder import I64, POINTER, ir, loop, unoptimized
from pullback.compiler.loops.maps import Kernel
from pullback.core.graph import Variable

__all__ = ["emit_finder", "emit_prologue"]


def emit_prologue(kernel: Kernel, v: Variable, place: list[Any], target: Any) -> None:
    """Rows and columns of the matrix ``v``, row after row.

    ``place`` is the first row, the first column, and how many of either.
    """
    build, (row, column, n_rows, n_columns) = kernel.builder, place

    def emit_loops() -> None:
        with loop(build, n_rows) as i, loop(build, n_columns) as j:
            number = kernel.value(v, [build.add(row, i), build.add(column, j)])
            number = kernel.emit.cast(number, v.type.dtype)
            kernel.emit.store(number, target, build.add(build.mul(i, n_columns), j))
            kernel.forget()

    kernel.checked(emit_loops)


def emit_finder(module: ir.Module, prologue: Any, n: int, operand: int) -> Any:
    """``f(context, row, column, n rows, n columns, target)`` calls ``prologue`` with what it finds.

    Words of the context are the first row of A, or column of B, in the piece; the status; and
    pointers to ``n`` operands.
    """
    kind = ir.FunctionType(ir.VoidType(), [POINTER] + [I64] * 4 + [POINTER])
    finder = ir.Function(module, kind, module.get_unique_name("prologue"))
    finder.linkage = "internal"
    unoptimized(finder)
    build = ir.IRBuilder(finder.append_basic_block("entry"))
    context, *place, target = finder.args
    places = [build.gep(context, [I64(i)], source_etype=I64) for i in range(2 + n)]
    place[operand] = build.add(build.load(places[0], typ=I64), place[operand])
    found = [build.load(at, typ=POINTER) for at in places[1:]]
    build.call(prologue, [*found, *place, target])
    build.ret_void()
    return finder

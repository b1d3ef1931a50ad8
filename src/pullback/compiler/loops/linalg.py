"""Linear systems, determinants and Cholesky factors, by the LAPACK that NumPy brings.

LAPACK stores matrices by columns and overwrites its operands, so matrices are copied by columns
into working memory. ``getrf`` factors with partial pivoting; a nonzero ``info`` tells of failure.
NumPy computes in float64 for float32 operands too, and rounds the result; so do these.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pullback.compiler.llvm.builder import I8, I64, POINTER, ir, loop, loops
from pullback.compiler.llvm.scalars import Scalar
from pullback.compiler.loops.maps import Index, Kernel
from pullback.compiler.runtime.lapack import PREFIX, routines
from pullback.core.graph import Literal, Variable
from pullback.errors import CompileError

__all__ = ["emit_cholesky", "emit_determinant", "emit_solve", "emit_triangular"]

ZERO = ir.Constant(I64, 0)
WIDE = np.dtype(np.float64)


def emit_solve(kernel: Kernel) -> None:
    """``gesv`` for every matrix of the stack; a singular one fails."""
    check_real(kernel.equation.outputs[0])
    pivots, *sides = kernel.working()
    emit_system(kernel, "gesv", [], [pivots], sides)


def emit_triangular(kernel: Kernel) -> None:
    """``trtrs`` of one triangle of every matrix of the stack; a zero on the diagonal fails."""
    lower, turned = (kernel.equation.params[name] for name in ("lower", "turned"))
    check_real(kernel.equation.outputs[0])
    options = ["L" if lower else "U", "T" if turned else "N", "N"]
    emit_system(kernel, "trtrs", options, [], kernel.working())


def emit_system(
    kernel: Kernel, routine: str, options: list[Any], between: list[Any], sides: list[Any]
) -> None:
    """A routine that takes options, sizes, the matrix, more, and the columns that it overwrites."""
    left, right = sides
    a, b = kernel.equation.inputs
    (out,) = kernel.equation.outputs
    n, n_columns = out.type.shape[-2:]
    with loops(kernel.builder, out.type.shape[:-2]) as at:
        copy_columns(kernel, a, at, left, (n, n))
        copy_columns(kernel, b, at, right, (n, n_columns))
        arguments = [*options, n, n_columns, left, n or 1, *between, right, n or 1]
        info = lapack(kernel, routine, arguments)
        with kernel.builder.if_then(info, likely=False):
            kernel.fail(kernel.builder)
        with loops(kernel.builder, (n, n_columns)) as [i, j]:
            number = kernel.emit.load(right, by_columns(kernel, n, i, j), WIDE)
            kernel.store(out, [*at, i, j], number)


def emit_cholesky(kernel: Kernel) -> None:
    """``potrf`` of the lower triangle; a matrix that is not positive definite fails."""
    (x,), (out,) = kernel.equation.inputs, kernel.equation.outputs
    check_real(out)
    n, emit, build = out.type.shape[-1], kernel.emit, kernel.builder
    zero = emit.constant(0, WIDE)
    (matrix,) = kernel.working()
    with loops(build, out.type.shape[:-2]) as at:
        copy_columns(kernel, x, at, matrix, (n, n))
        info = lapack(kernel, "potrf", ["L", n, matrix, n or 1])
        with build.if_then(info, likely=False):
            kernel.fail(build)
        with loops(build, (n, n)) as [i, j]:
            number = emit.load(matrix, by_columns(kernel, n, i, j), WIDE)
            is_lower = Scalar(build.icmp_signed("<=", j, i), np.bool_)
            kernel.store(out, [*at, i, j], emit.select(is_lower, number, zero))


def emit_determinant(kernel: Kernel) -> None:
    """The product of the pivots of ``getrf``: the logarithm of its size, or its sign."""
    (x,), (out,) = kernel.equation.inputs, kernel.equation.outputs
    check_real(out)
    n, emit, build = x.type.shape[-1], kernel.emit, kernel.builder
    matrix, pivots = kernel.working()
    is_sign = kernel.equation.primitive.name == "det_sign"
    start = emit.constant(1 if is_sign else 0, WIDE)
    singular = emit.constant(0 if is_sign else -np.inf, WIDE)
    with loops(build, out.type.shape) as at:
        copy_columns(kernel, x, at, matrix, (n, n))
        info = lapack(kernel, "getrf", [n, n, matrix, n or 1, pivots])
        (place,) = kernel.state([start])
        with loop(build, n) as i:
            (before,) = kernel.read_state([place], [start])
            pivot = emit.load(matrix, by_columns(kernel, n, i, i), WIDE)
            if is_sign:
                row = emit.load(pivots, i, np.dtype(np.int64)).value  # counted from 1
                is_moved = build.icmp_signed("!=", row, build.add(i, ir.Constant(I64, 1)))
                is_negative = emit.compare("<", pivot, emit.const(0, pivot)).value
                flips = Scalar(build.xor(is_moved, is_negative), np.bool_)
                after = emit.select(flips, emit.neg(before), before)
            else:
                after = emit.add(before, emit.call("log", emit.call("fabs", pivot)))
            build.store(after.value, place)
        (found,) = kernel.read_state([place], [start])
        kernel.store(out, at, emit.select(Scalar(info, np.bool_), singular, found))


# -- calls ----------------------------------------------------------------------------------------
def check_real(out: Variable) -> None:
    """Refuse dtypes for which NumPy has no such operation."""
    if out.type.dtype not in (np.float64, np.float32):
        raise CompileError(f"linear algebra in {out.type.dtype} has no native form")


def by_columns(kernel: Kernel, n_rows: int, i: Any, j: Any) -> Any:
    build = kernel.builder
    return build.add(build.mul(j, ir.Constant(I64, n_rows)), i)


def copy_columns(
    kernel: Kernel, x: Variable | Literal, at: Index, target: Any, shape: tuple[int, int]
) -> None:
    """The matrix of ``x`` at place ``at`` of a stack, by columns."""
    with loops(kernel.builder, shape) as [i, j]:
        number = kernel.value(x, kernel.aligned(x.type, [*at, i, j]))
        place = by_columns(kernel, shape[0], i, j)
        kernel.emit.store(kernel.emit.cast(number, WIDE), target, place)
    kernel.forget()


def lapack(kernel: Kernel, routine: str, arguments: list[Any]) -> Any:
    """Call a routine, which takes all arguments by address; returns whether it failed."""
    if f"d{routine}" not in routines():
        raise CompileError(f"NumPy brings no OpenBLAS with {routine}, so this has no native form")
    build = kernel.builder
    name = f"{PREFIX}d{routine}"
    kind = ir.FunctionType(ir.VoidType(), [POINTER] * (len(arguments) + 1))
    target = build.module.globals.get(name) or ir.Function(build.module, kind, name)

    def address(argument: Any) -> Any:
        if not isinstance(argument, int | str):
            return argument
        value = (
            ir.Constant(I64, argument)
            if isinstance(argument, int)
            else ir.Constant(I8, ord(argument))
        )
        with build.goto_entry_block():
            place = build.alloca(value.type)
        build.store(value, place)
        return place

    info = address(0)
    build.call(target, [*map(address, arguments), info])
    return build.icmp_signed("!=", build.load(info, typ=I64), ZERO)

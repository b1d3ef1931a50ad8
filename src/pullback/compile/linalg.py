"""Linear systems, determinants and Cholesky factors, by the LAPACK that NumPy brings.

LAPACK stores matrices by columns and overwrites its operands, so matrices are copied by columns
into working memory. ``getrf`` factors with partial pivoting; a nonzero ``info`` tells of failure.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pullback.compile.ir import I8, I64, POINTER, ir, loop, loops, scalar_type
from pullback.compile.kernels import Index, Kernel
from pullback.compile.llvm import Scalar
from pullback.core.graph import Literal, Variable
from pullback.errors import CompileError

__all__ = ["emit_cholesky", "emit_determinant", "emit_solve"]

ZERO = ir.Constant(I64, 0)


def emit_solve(kernel: Kernel) -> None:
    """``gesv`` for every matrix of the stack; a singular one fails."""
    a, b = kernel.equation.inputs
    (out,) = kernel.equation.outputs
    n, n_columns = out.type.shape[-2:]
    dtype = real_dtype(out)
    left, right = (kernel.scratch(n * k * dtype.itemsize) for k in (n, n_columns))
    pivots = kernel.scratch(8 * n)
    with loops(kernel.builder, out.type.shape[:-2]) as at:
        copy_columns(kernel, a, at, left, (n, n), dtype)
        copy_columns(kernel, b, at, right, (n, n_columns), dtype)
        info = lapack(kernel, "gesv", dtype, [n, n_columns, left, n or 1, pivots, right, n or 1])
        with kernel.builder.if_then(info, likely=False):
            kernel.fail(kernel.builder)
        with loops(kernel.builder, (n, n_columns)) as [i, j]:
            number = kernel.emit.load(right, by_columns(kernel, n, i, j), dtype)
            kernel.store(out, [*at, i, j], number)


def emit_cholesky(kernel: Kernel) -> None:
    """``potrf`` in the output; one that is not positive definite fails.

    The lower triangle by rows is the upper one by columns.
    """
    (x,), (out,) = kernel.equation.inputs, kernel.equation.outputs
    n, dtype, emit, build = out.type.shape[-1], real_dtype(out), kernel.emit, kernel.builder
    half = emit.constant(0.5, dtype)
    with loops(build, out.type.shape[:-2]) as at:
        with loops(build, (n, n)) as [i, j]:
            both = emit.add(kernel.value(x, [*at, i, j]), kernel.value(x, [*at, j, i]))
            kernel.store(out, [*at, i, j], emit.mul(half, both))
        kernel.forget()
        start = kernel.position(out.type, [*at, ZERO, ZERO])
        matrix = build.gep(kernel.pointers[out], [start], source_etype=scalar_type(dtype))
        info = lapack(kernel, "potrf", dtype, ["U", n, matrix, n or 1])
        with build.if_then(info, likely=False):
            kernel.fail(build)
        with loop(build, n) as i, loop(build, i) as j:
            kernel.store(out, [*at, j, i], emit.constant(0, dtype))


def emit_determinant(kernel: Kernel) -> None:
    """The product of the pivots of ``getrf``: the logarithm of its size, or its sign."""
    (x,), (out,) = kernel.equation.inputs, kernel.equation.outputs
    n, dtype, emit, build = x.type.shape[-1], real_dtype(out), kernel.emit, kernel.builder
    matrix, pivots = kernel.scratch(n * n * dtype.itemsize), kernel.scratch(8 * n)
    is_sign = kernel.equation.primitive.name == "det_sign"
    start = emit.constant(1 if is_sign else 0, dtype)
    singular = emit.constant(0 if is_sign else -np.inf, dtype)
    with loops(build, out.type.shape) as at:
        copy_columns(kernel, x, at, matrix, (n, n), dtype)
        info = lapack(kernel, "getrf", dtype, [n, n, matrix, n or 1, pivots])
        (place,) = kernel.state([start])
        with loop(build, n) as i:
            (before,) = kernel.read_state([place], [start])
            pivot = emit.load(matrix, by_columns(kernel, n, i, i), dtype)
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
def real_dtype(out: Variable) -> np.dtype[Any]:
    """The dtype of a result, if LAPACK has it."""
    dtype = out.type.dtype
    if dtype not in (np.float64, np.float32):
        raise CompileError(f"linear algebra in {dtype} has no native form")
    return dtype


def by_columns(kernel: Kernel, n_rows: int, i: Any, j: Any) -> Any:
    build = kernel.builder
    return build.add(build.mul(j, ir.Constant(I64, n_rows)), i)


def copy_columns(
    kernel: Kernel,
    x: Variable | Literal,
    at: Index,
    target: Any,
    shape: tuple[int, int],
    dtype: np.dtype[Any],
) -> None:
    """The matrix of ``x`` at place ``at`` of a stack, by columns."""
    with loops(kernel.builder, shape) as [i, j]:
        number = kernel.value(x, kernel.aligned(x.type, [*at, i, j]))
        kernel.emit.store(
            kernel.emit.cast(number, dtype), target, by_columns(kernel, shape[0], i, j)
        )
    kernel.forget()


def lapack(kernel: Kernel, routine: str, dtype: np.dtype[Any], arguments: list[Any]) -> Any:
    """Call a routine, which takes all arguments by address; returns whether it failed."""
    build = kernel.builder
    name = f"lapack_{'d' if dtype.itemsize == 8 else 's'}{routine}"
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

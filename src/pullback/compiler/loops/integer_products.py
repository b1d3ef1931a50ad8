"""Matrix products of integers and booleans: loops, for BLAS has none.

Sums wrap around as NumPy's do; of booleans, a sum is "or" and a product "and".
"""

from __future__ import annotations

from pullback.compiler.llvm.builder import loop, loops
from pullback.compiler.loops.maps import Kernel
from pullback.errors import CompileError

__all__ = ["emit_plain_product"]


def emit_plain_product(kernel: Kernel) -> None:
    """Multiples of rows of the right operand are added up, row after row of the output."""
    x1, x2 = kernel.equation.inputs
    (out,) = kernel.equation.outputs
    emit, dtype = kernel.emit, out.type.dtype
    if dtype.kind not in "iub":
        types = f"{x1.type.dtype} and {x2.type.dtype}"
        raise CompileError(f"matmul of {types} has no native form")
    is_vector = [x.type.ndim == 1 for x in (x1, x2)]
    matrix = [1 if is_vector[0] else x1.type.shape[-2], 1 if is_vector[1] else x2.type.shape[-1]]
    stack = out.type.shape[: out.type.ndim - 2 + sum(is_vector)]
    kernel.fill(out, lambda _: emit.constant(0, dtype))
    with loops(kernel.builder, [*stack, matrix[0]]) as [*at, i]:
        with loop(kernel.builder, x1.type.shape[-1]) as k:
            left = emit.cast(kernel.value(x1, kernel.aligned(x1.type, [*at, i, k])), dtype)
            with loop(kernel.builder, matrix[1]) as j:
                place = [*at, *([] if is_vector[0] else [i]), *([] if is_vector[1] else [j])]
                source = [k] if is_vector[1] else kernel.aligned(x2.type, [*at, k, j])
                product = emit.mul(left, emit.cast(kernel.value(x2, source), dtype))
                position = kernel.position(out.type, place)
                before = emit.load(kernel.pointer(out), position, dtype)
                kernel.store(out, place, emit.add(before, product))
        kernel.forget()

"""Maps before a product or a convolution, computed where it copies its operand for the tiles.

A product reads an operand that is large, or whose rows lie far apart, from a copy; a convolution an
image that is padded. If the operand is a map that nobody else reads, the copy takes its elements as
they are computed, and the operand itself has no memory.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from pullback.compiler.llvm.builder import I64, POINTER, ir, loop, unoptimized
from pullback.compiler.loops.convolutions import copies_images, slides
from pullback.compiler.loops.maps import Kernel
from pullback.compiler.loops.products import Layout, blocks_of, needs_copy, needs_copy_of_b
from pullback.compiler.schedule.pieces import has_seams
from pullback.compiler.schedule.plan import Schedule, Step, is_float_product
from pullback.compiler.schedule.target import NARROW, WIDE
from pullback.core.graph import Variable

__all__ = ["attach_prologues", "emit_finder", "emit_prologue"]

HIGHEST = max(NARROW.height, WIDE.height)  # of tiles


def attach_prologues(plan: Schedule) -> None:
    """Give products and convolutions the maps that they copy anyway, and nobody else reads."""
    makers = {v: step for step in plan.steps for v in step.outputs}
    uses = Counter(v for step in plan.steps for part in step.parts for v in part.reads)
    done: set[Step] = set()
    for product in plan.steps:
        if not (is_float_product(product.equation) or slides(product.equation)):
            continue
        for i, v in enumerate(product.equation.inputs):
            other = product.equation.inputs[1 - i]
            if not isinstance(v, Variable) or uses[v] > 1 or v in plan.memory_of([other]):
                continue
            step = makers.get(v)
            if step is not None and _is_copied(product, i) and _fits(plan, v, step):
                product.prologues[i] = step
                plan.in_memory.remove(v)
                done.add(step)
        product.reads = plan.memory_of(product.equation.inputs)
    plan.steps = [step for step in plan.steps if step not in done]


def _is_copied(product: Step, i: int) -> bool:
    """Whether a convolution copies its images, or a product its operand, row by row.

    Tiles may be of any height. Products are seen as if they had no deep blocks, which large ones
    have: a copy costs less than memory for the map.
    """
    x1, x2 = product.equation.inputs
    if not is_float_product(product.equation):
        return i == 0 and copies_images(product.equation)
    if len(x1.type.shape) != 2 or len(x2.type.shape) != 2:
        return False
    (m, k), n = x1.type.shape, x2.type.shape[1]
    sizes, layout, item = (m, n, k), Layout(k, n, n, False, False), x1.type.dtype.itemsize
    if min(sizes) < 2:
        return False
    known = sizes, layout, item, blocks_of((0, 0, k), item)
    return needs_copy_of_b(*known, HIGHEST) if i else needs_copy(*known)


def _fits(plan: Schedule, v: Any, step: Step) -> bool:
    """Whether a step is nothing but a map over the elements of ``v``."""
    return (
        step.outputs == [v]
        and step.map_shape == v.type.shape
        and v not in plan.results
        and not any(map(has_seams, plan.fused(step)))
    )


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

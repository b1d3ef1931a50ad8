"""Types and loops of LLVM. The only file that imports ``llvmlite.ir``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from llvmlite import ir

from pullback.compiler.schedule.scalar_types import check_native
from pullback.compiler.schedule.target import Processor
from pullback.errors import CompileError

__all__ = [
    "DOUBLE",
    "FLOAT",
    "I1",
    "I8",
    "I32",
    "I64",
    "POINTER",
    "ZERO",
    "Module",
    "bounds",
    "box",
    "ir",
    "loop",
    "loops",
    "scalar_type",
    "unoptimized",
    "with_whole_vectors",
    "written",
]

I1, I8, I32, I64 = (ir.IntType(n) for n in (1, 8, 32, 64))
POINTER = ir.PointerType()
DOUBLE, FLOAT = ir.DoubleType(), ir.FloatType()
ZERO = ir.Constant(I64, 0)


class Module(ir.Module):  # type: ignore[misc]
    """Functions for a processor."""

    def __init__(self, name: str, processor: Processor) -> None:
        super().__init__(name)
        self.processor = processor


def scalar_type(dtype: np.dtype[Any]) -> Any:
    """LLVM type of a number in memory; a boolean takes a byte."""
    check_native(dtype)
    if dtype.kind == "f":
        return DOUBLE if dtype.itemsize == 8 else FLOAT
    return ir.IntType(8 * dtype.itemsize)


def unoptimized(function: Any) -> None:
    """What runs once for many others is not worth the time to make it faster."""
    for attribute in ("noinline", "optnone"):
        function.attributes.add(attribute)


@contextmanager
def written(builder: ir.IRBuilder) -> Iterator[None]:
    """Ends the function of a builder, or takes it back if it cannot be written."""
    function = builder.function
    try:
        yield
    except CompileError:
        del builder.module.globals[function.name]
        raise
    builder.ret_void()


def with_whole_vectors(function: Any) -> None:
    """Use vectors of 64 bytes where there are, which LLVM avoids since some processors slow down.

    That pays where numbers are computed rather than moved: arrays may start within a vector.
    """
    set.add(function.attributes, '"prefer-vector-width"="512"')  # llvmlite does not know it


class Unrolled(ir.values.MDValue):  # type: ignore[misc]
    """The hint to unroll a loop so many times: metadata whose first operand is itself."""

    def __init__(self, module: ir.Module, count: int) -> None:
        number = ir.Constant(I32, count)
        self.hint = module.add_metadata(["llvm.loop.unroll.count", number])
        super().__init__(module, [], str(len(module.metadata)))

    def descr(self, buf: list[str]) -> None:
        buf += (f"distinct !{{ {self.get_reference()}, {self.hint.get_reference()} }}", "\n")


def unroll(builder: ir.IRBuilder, branch: Any, count: int) -> None:
    """Ask for it at the end of a loop; all loops of a module share one hint for each count."""
    module = builder.module
    hints = (
        m
        for m in module.metadata
        if isinstance(m, Unrolled) and m.hint.operands[1].constant == count
    )
    branch.set_metadata("llvm.loop", next(hints, None) or Unrolled(module, count))


@contextmanager
def loop(
    builder: ir.IRBuilder,
    n: int | Any,
    reverse: bool = False,
    start: Any = ZERO,
    unrolled: int = 0,
    until: Callable[[], Any] | None = None,
) -> Iterator[Any]:
    """``for i in range(start, n)``; yields ``i``. Loops of one step leave no trace.

    After a step they ask whether to end ``until``, which emits a bit.
    """
    if isinstance(n, int) and n == 1 and start is ZERO:
        yield ZERO
        return
    end = ir.Constant(I64, n) if isinstance(n, int) else n
    before = builder.block
    head = builder.append_basic_block("loop")
    after = builder.append_basic_block("after")
    builder.cbranch(builder.icmp_signed("<", start, end), head, after)
    builder.position_at_end(head)
    i = builder.phi(I64)
    i.add_incoming(start, before)
    yield builder.sub(builder.sub(end, ir.Constant(I64, 1)), i) if reverse else i
    following = builder.add(i, ir.Constant(I64, 1), flags=("nsw",))
    goes_on = builder.icmp_signed("<", following, end)
    if until is not None:
        goes_on = builder.and_(goes_on, builder.not_(until()))
    i.add_incoming(following, builder.block)
    branch = builder.cbranch(goes_on, head, after)
    if unrolled:
        unroll(builder, branch, unrolled)
    builder.position_at_end(after)


@contextmanager
def box(builder: ir.IRBuilder, ranges: Sequence[tuple[Any, Any]]) -> Iterator[list[Any]]:
    """A nest of loops, each from a first number to before a last; yields one index per range."""
    if not ranges:
        yield []
        return
    (start, stop), *others = ranges
    if isinstance(start, int) and stop == start + 1:
        with box(builder, others) as inner:
            yield [I64(start) if start else ZERO, *inner]
        return
    first = I64(start) if isinstance(start, int) else start
    with loop(builder, stop, start=first) as i, box(builder, others) as inner:
        yield [i, *inner]


@contextmanager
def loops(
    builder: ir.IRBuilder, shape: Sequence[int], part: tuple[int, Any, Any] | None = None
) -> Iterator[list[Any]]:
    """A nest of loops over ``shape``; yields one index per axis.

    With ``part = (axis, start, stop)`` that axis is run over from ``start`` to ``stop`` only.
    """
    ranges: list[tuple[Any, Any]] = [(0, n) for n in shape]
    if part is not None:
        axis, *ends = part
        ranges[axis] = ends[0], ends[1]
    with box(builder, ranges) as index:
        yield index


def bounds(builder: ir.IRBuilder, n: int, length: int, chunk: Any) -> tuple[Any, Any]:
    """First step of a chunk of ``n`` steps, and the one behind its last."""
    start = builder.mul(chunk, I64(length))
    stop = builder.add(start, I64(length))
    end = I64(n)
    return start, builder.select(builder.icmp_signed("<", stop, end), stop, end)

"""Sorting and searching, in the order of NumPy: NaN last, -0.0 and 0.0 equal.

Numbers of every dtype are mapped to signed 64-bit keys in that order, so that one merge sort and
plain comparisons of integers serve them all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from pullback.compiler.llvm.builder import I64, POINTER, ir, loop, loops
from pullback.compiler.llvm.scalars import Scalar, ScalarEmitter
from pullback.compiler.loops.maps import Kernel

__all__ = ["emit_argsort", "emit_searchsorted"]

ZERO, ONE = ir.Constant(I64, 0), ir.Constant(I64, 1)
PAIR = ir.LiteralStructType([I64, I64])  # a key and the position it comes from
RUN = 8  # as many pairs as insertion sorts faster than merges
SIGN = ir.Constant(I64, -(2**63))
LARGEST = ir.Constant(I64, 2**63 - 1)


def order_key(emit: ScalarEmitter, x: Scalar) -> Any:
    """A signed 64-bit integer; those of two numbers compare as the numbers do."""
    build = emit.builder
    if x.dtype.kind != "f":
        wide = emit.cast(x, np.uint64 if x.dtype.kind == "u" else np.int64).value
        return build.xor(wide, SIGN) if x.dtype.kind == "u" else wide
    x = emit.cast(x, np.float64)
    bits = build.bitcast(emit.add(x, emit.const(0.0, x)).value, I64)  # -0.0 becomes 0.0
    flip = build.and_(build.ashr(bits, ir.Constant(I64, 63)), LARGEST)
    is_nan = emit.compare("!=", x, x).value
    return build.select(is_nan, LARGEST, build.xor(bits, flip))


def emit_argsort(kernel: Kernel) -> None:
    """Each line along the axis: pairs of key and position into working memory, sort, read off."""
    (x,), (out,) = kernel.equation.inputs, kernel.equation.outputs
    axis, shape = kernel.equation.params["axis"], x.type.shape
    build, n = kernel.builder, shape[axis]
    pairs, spare = kernel.working()
    sort = merge_sort(build.module)
    with loops(build, (*shape[:axis], *shape[axis + 1 :])) as others:
        with loop(build, n) as i:
            number = kernel.value(x, [*others[:axis], i, *others[axis:]])
            build.store(order_key(kernel.emit, number), field(build, pairs, i, 0))
            build.store(i, field(build, pairs, i, 1))
        kernel.forget()
        result = build.call(sort, [pairs, spare, ir.Constant(I64, n)])
        with loop(build, n) as i:
            position = build.load(field(build, result, i, 1), typ=I64)
            kernel.store(out, [*others[:axis], i, *others[axis:]], Scalar(position, np.int64))


def emit_searchsorted(kernel: Kernel) -> None:
    """Halve the part of the sorted vector that the place is in; its length is known beforehand."""
    a, v = kernel.equation.inputs
    (out,) = kernel.equation.outputs
    emit, build = kernel.emit, kernel.builder
    dtype = np.result_type(a.type.dtype, v.type.dtype)
    relation = "<" if kernel.equation.params["side"] == "left" else "<="

    def goes_before(i: Any, key: Any) -> Any:
        other = order_key(emit, emit.cast(kernel.value(a, [i]), dtype))
        return build.icmp_signed(relation, other, key)

    with loops(build, out.type.shape) as index:
        key = order_key(emit, emit.cast(kernel.value(v, index), dtype))
        place: Any = ZERO
        length = a.type.size
        while length > 1:
            half = length // 2
            middle = build.add(place, ir.Constant(I64, half))
            last = build.sub(middle, ONE)
            place = build.select(goes_before(last, key), middle, place)
            length -= half
        if length:
            place = build.add(place, build.zext(goes_before(place, key), I64))
        kernel.store(out, index, Scalar(place, np.int64))
    kernel.forget()


# -- merge sort -----------------------------------------------------------------------------------
def field(build: ir.IRBuilder, pairs: Any, i: Any, k: int) -> Any:
    """Address of the key (0) or the position (1) of pair ``i``."""
    return build.gep(pairs, [i, ir.Constant(ir.IntType(32), k)], source_etype=PAIR)


class Place:
    """A mutable number or pointer of a function."""

    def __init__(self, build: ir.IRBuilder, value: Any) -> None:
        self.build = build
        self.type = value.type
        with build.goto_entry_block():
            self.address = build.alloca(value.type)
        self.set(value)

    def get(self) -> Any:
        return self.build.load(self.address, typ=self.type)

    def set(self, value: Any) -> None:
        self.build.store(value, self.address)


@contextmanager
def repeat_while(build: ir.IRBuilder, test: Callable[[], Any]) -> Iterator[None]:
    check, body, after = (build.append_basic_block(name) for name in ("check", "body", "after"))
    build.branch(check)
    build.position_at_end(check)
    build.cbranch(test(), body, after)
    build.position_at_end(body)
    yield
    build.branch(check)
    build.position_at_end(after)


def merge_sort(module: ir.Module) -> Any:
    """``pair *f(pair *pairs, pair *spare, n)``: the sorted pairs, in one of the two places."""
    function = module.globals.get("merge_sort")
    if function is None:
        kind = ir.FunctionType(POINTER, [POINTER, POINTER, I64])
        function = ir.Function(module, kind, "merge_sort")
        function.linkage = "internal"
        MergeSort(function).emit()
    return function


class MergeSort:
    """Bottom-up: insertion sorts of short runs, then merges of runs twice as long each time."""

    def __init__(self, function: Any) -> None:
        self.pairs, self.spare, self.n = function.args
        self.build = ir.IRBuilder(function.append_basic_block("entry"))

    def emit(self) -> None:
        build = self.build
        run = ir.Constant(I64, RUN)
        with self.starts(run) as start:
            self.insertion_sort(start, self.smaller(build.add(start, run), self.n))
        source, target = Place(build, self.pairs), Place(build, self.spare)
        width = Place(build, run)
        with repeat_while(build, lambda: build.icmp_signed("<", width.get(), self.n)):
            old, new, half = source.get(), target.get(), width.get()
            whole = build.add(half, half)
            with self.starts(whole) as start:
                middle = self.smaller(build.add(start, half), self.n)
                self.merge(old, new, (start, middle, self.smaller(build.add(start, whole), self.n)))
            source.set(new)
            target.set(old)
            width.set(whole)
        build.ret(source.get())

    @contextmanager
    def starts(self, step: Any) -> Iterator[Any]:
        """``for start in range(0, n, step)``."""
        build = self.build
        start = Place(build, ZERO)
        with repeat_while(build, lambda: build.icmp_signed("<", start.get(), self.n)):
            value = start.get()
            yield value
            start.set(build.add(value, step))

    def smaller(self, a: Any, b: Any) -> Any:
        return self.build.select(self.build.icmp_signed("<", a, b), a, b)

    def key(self, pairs: Any, i: Any) -> Any:
        return self.build.load(field(self.build, pairs, i, 0), typ=I64)

    def copy(self, source: Any, i: Any, target: Any, k: Any) -> None:
        for part in (0, 1):
            value = self.build.load(field(self.build, source, i, part), typ=I64)
            self.build.store(value, field(self.build, target, k, part))

    def insertion_sort(self, start: Any, stop: Any) -> None:
        """Move every pair down past those with larger keys."""
        build, pairs = self.build, self.pairs
        with loop(build, build.sub(build.sub(stop, start), ONE)) as i:
            first = build.add(build.add(start, i), ONE)
            key = self.key(pairs, first)
            position = build.load(field(build, pairs, first, 1), typ=I64)
            k = Place(build, first)

            def must_move() -> Any:
                below = build.sub(k.get(), ONE)
                # The first pair of a run has none below it: any key inside may be read instead.
                inside = build.icmp_signed(">=", below, start)
                larger = build.icmp_signed(
                    ">", self.key(pairs, build.select(inside, below, start)), key
                )
                return build.and_(inside, larger)

            with repeat_while(build, must_move):
                below = build.sub(k.get(), ONE)
                self.copy(pairs, below, pairs, k.get())
                k.set(below)
            build.store(key, field(build, pairs, k.get(), 0))
            build.store(position, field(build, pairs, k.get(), 1))

    def merge(self, source: Any, target: Any, bounds: tuple[Any, Any, Any]) -> None:
        """Two neighbouring runs into one, without branches on keys; equal ones from the left."""
        build = self.build
        start, middle, stop = bounds
        left, right, k = Place(build, start), Place(build, middle), Place(build, start)

        def both() -> Any:
            return build.and_(
                build.icmp_signed("<", left.get(), middle),
                build.icmp_signed("<", right.get(), stop),
            )

        head = self.key(source, self.smaller(middle, build.sub(stop, ONE)))
        is_unordered = build.icmp_signed("<", head, self.key(source, build.sub(middle, ONE)))
        with build.if_then(is_unordered), repeat_while(build, both):
            i, j = left.get(), right.get()
            is_right = build.icmp_signed("<", self.key(source, j), self.key(source, i))
            self.copy(source, build.select(is_right, j, i), target, k.get())
            step = build.zext(is_right, I64)
            left.set(build.add(i, build.xor(step, ONE)))
            right.set(build.add(j, step))
            k.set(build.add(k.get(), ONE))
        i, first = left.get(), k.get()
        rest = build.select(build.icmp_signed("<", i, middle), i, right.get())
        with loop(build, build.sub(stop, first)) as i:
            self.copy(source, build.add(rest, i), target, build.add(first, i))

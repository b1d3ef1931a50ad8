"""Reductions: loops that fold axes of one operand, with the arithmetic of its maker fused in."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from pullback.compiler.llvm.builder import I8, I64, ZERO, box, ir, loop, loops
from pullback.compiler.llvm.scalars import Scalar, ScalarEmitter
from pullback.compiler.loops.maps import Index, Kernel, Part
from pullback.compiler.schedule.folding import BLOCK, Folding
from pullback.compiler.schedule.questions import is_extreme_of_none
from pullback.compiler.schedule.steps import aligned
from pullback.errors import CompileError

__all__ = ["Reduction", "emit_reduction"]


def emit_reduction(kernel: Kernel) -> None:
    """Fold the reduced axes, innermost where possible, else row by row into the output."""
    Reduction(kernel).run()


class Reduction:
    """A fold of axes of one operand. One flat loop if all axes of a plain operand go."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        equation = kernel.equation
        self.folding = form = Folding(kernel.plan, equation)
        self.x, self.out, self.fold, self.axis = form.x, form.out, form.fold, form.axis
        self.n, self.kept, self.along = form.n, form.kept, form.along
        self.params = {k: v for k, v in equation.params.items() if k != "axis"}
        if is_extreme_of_none(equation):
            raise CompileError(f"{equation.primitive.name} of no elements")  # an error in NumPy
        self.emit = ScalarEmitter(kernel.builder, fold=True)
        # LLVM would skip elements that are -inf by choice of a mask, in a loop of single numbers.
        kernel.emit.hides_infinities = equation.primitive.name in ("max", "min")
        self.start = self.fold.start(self.emit, self.emit.constant(0, form.dtype))
        self.total_start = self.start
        kernel.is_flat = form.is_flat
        self.has_blocks = form.has_blocks
        if self.has_blocks and form.dtype == np.float32:  # many blocks are joined in more digits
            self.total_start = self.fold.start(self.emit, self.emit.constant(0, np.float64))

    def run(self) -> None:
        kernel, out = self.kernel, self.out.type
        if self.folding.form == "few":
            self.without_loop()
            return
        if self.folding.form == "rows":
            self.into_rows()
            return
        if self.folding.form == "whole":
            kernel.split(self.along)
            if kernel.n_chunks > 1:
                self.into_parts()
                return
        kernel.split(out.shape)
        with loops(kernel.builder, out.shape, kernel.part) as outer:
            self.fold_at(outer)

    def fold_at(self, outer: Index) -> None:
        """One number of the output."""
        state = self.over_all(outer, None)
        result = self.fold.finish(self.emit, state, self.n, **self.params)
        self.kernel.store(self.out, outer, result)

    def without_loop(self) -> None:
        """Fold few elements in a row, so that the loops over the output have no other inside."""
        kernel = self.kernel
        kernel.split(self.out.type.shape)
        with loops(kernel.builder, self.out.type.shape, kernel.part) as outer:
            state = self.start
            for inner in itertools.product(*map(range, self.along)):
                state = self.step(state, outer, [I64(i) for i in inner])
            kernel.store(self.out, outer, self.fold.finish(self.emit, state, self.n, **self.params))
        kernel.forget()

    def over_block(self, total: list[Any], first: Any, end: Any) -> None:
        """Fold elements from a first to before a last, and merge what they give."""
        part = self.kernel.state(self.start)
        with loop(self.kernel.builder, end, start=first) as i:
            self.fold_in(part, self.start, [], [i])
        self.kernel.forget()
        self.merge_in(total, part)

    def leave(self, total: list[Any], n_chunks: int, chunk: Any) -> None:
        """Store the result, or what a chunk gives to it."""
        state = self.kernel.read_state(total, self.total_start)
        if n_chunks == 1:
            result = self.fold.finish(self.emit, state, self.n, **self.params)
            self.kernel.store(self.out, [], result)
            return
        self.keep(state, self.parts(n_chunks, chunk))

    def merge_in(self, total: list[Any], part: list[Any]) -> None:
        """Merge the state of a block."""
        state = self.kernel.read_state(total, self.total_start)
        found = [
            self.emit.cast(s, t.dtype)
            for s, t in zip(self.kernel.read_state(part, self.start), state, strict=True)
        ]
        self.write(total, self.fold.merge(self.emit, state, found))

    def into_parts(self) -> None:
        """Every chunk folds its part of the operand; in the end the parts are merged in order."""
        kernel = self.kernel
        n = kernel.n_chunks
        parts = self.parts(n, kernel.chunk)
        self.keep(self.over_all([], kernel.part), parts)
        kernel.finish = lambda last: Reduction(last).merge_parts(n)

    def parts(self, n_chunks: int, chunk: Any) -> list[Any]:
        """Memory for the state of a chunk."""
        memory = self.kernel.scratch(self.folding.state_bytes * n_chunks)
        return self.state_at(memory, chunk)

    def totals(self, group: Kernel, n_channels: int, n_chunks: int) -> Callable[..., list[Any]]:
        """Memory of a group for the states of the channels in every chunk."""
        build = group.builder
        memory = group.scratch(self.folding.state_bytes * n_channels * n_chunks)

        def at(chunk: Any, channel: Any) -> list[Any]:
            return self.state_at(memory, build.add(build.mul(chunk, I64(n_channels)), channel))

        return at

    def state_at(self, memory: Any, number: Any) -> list[Any]:
        """The places of one of the states in memory."""
        build, n = self.kernel.builder, len(self.total_start)
        first = build.mul(number, I64(n))
        places = [build.add(first, I64(k)) for k in range(n)]
        return [build.gep(memory, [place], source_etype=I64) for place in places]

    def keep(self, state: Sequence[Scalar], places: Sequence[Any]) -> None:
        for s, place in zip(state, places, strict=True):
            self.emit.store(s, place, ZERO)

    def loaded(self, places: Sequence[Any]) -> list[Scalar]:
        pairs = zip(places, self.total_start, strict=True)
        return [self.emit.load(place, ZERO, s.dtype) for place, s in pairs]

    def merge_parts(self, n_chunks: int) -> None:
        self.merge_all(n_chunks, partial(self.parts, n_chunks), [])

    def merge_all(self, n_chunks: int, places: Callable[[Any], list[Any]], outer: Index) -> None:
        """One number of the output, from the states of all chunks in order."""
        kernel = self.kernel
        total = kernel.state(self.total_start)
        with loop(kernel.builder, n_chunks) as chunk:
            before = kernel.read_state(total, self.total_start)
            self.write(total, self.fold.merge(self.emit, before, self.loaded(places(chunk))))
        state = kernel.read_state(total, self.total_start)
        kernel.store(self.out, outer, self.fold.finish(self.emit, state, self.n, **self.params))

    def over_plane(self, places: list[Any], channel: Any, image: Any) -> None:
        """Fold the plane of a channel in an image, block by block, into a state in memory."""
        kernel, lengths = self.kernel, self.along[1:]
        total = kernel.state(self.loaded(places))
        axis, inner = len(lengths) - 1, 1
        while axis and inner * lengths[axis] < BLOCK:
            inner *= lengths[axis]
            axis -= 1
        length = min(lengths[axis], max(1, BLOCK // inner))
        with loops(kernel.builder, lengths[:axis]) as rows:
            ranges: list[tuple[Any, Any]] = [(0, n) for n in lengths[axis:]]
            self.over_blocks(total, [[channel], [image, *rows]], ranges, length)
        self.keep(kernel.read_state(total, self.total_start), places)

    def over_all(self, outer: Index, part: Part) -> tuple[Scalar, ...]:
        """The state after all elements that go into one number, or those of a part."""
        kernel = self.kernel
        total = kernel.state(self.total_start)
        ranges: list[tuple[Any, Any]] = [(0, n) for n in self.along or [1]]
        if part is not None:
            ranges[part[0]] = part[1:]
        axis = len(ranges) - 1  # along which to make blocks, of at least one step
        inner = 1
        while self.has_blocks and axis and inner * self.along[axis] < BLOCK:
            inner *= self.along[axis]
            axis -= 1
        with box(kernel.builder, ranges[:axis]) as first:
            self.over_blocks(total, [outer, first], ranges[axis:], max(1, BLOCK // inner))
        kernel.forget()
        return kernel.read_state(total, self.total_start)

    def over_blocks(
        self, total: list[Any], before: list[Index], ranges: list[tuple[Any, Any]], length: int
    ) -> None:
        """Fold blocks, which are merged: less rounding than one by one. Then what is left."""
        kernel, build = self.kernel, self.kernel.builder
        outer, first = before
        (start, stop), *others = ranges
        start, stop = (I64(n) if isinstance(n, int) else n for n in (start, stop))

        def fold(places: list[Any], like: Sequence[Scalar], row: Any) -> None:
            with box(build, others) as rest:
                self.fold_in(places, like, outer, [*first, row, *rest])

        if self.has_blocks:
            n_blocks = build.udiv(build.sub(stop, start), I64(length))
            with loop(build, n_blocks) as block:
                part = kernel.state(self.start)
                row = build.add(start, build.mul(block, I64(length)))
                with loop(build, length) as i:
                    fold(part, self.start, build.add(row, i, flags=("nsw",)))
                kernel.forget()
                self.merge_in(total, part)
            start = build.add(start, build.mul(n_blocks, I64(length)))
        with loop(build, stop, start=start) as row:
            fold(total, self.total_start, row)
        kernel.forget()

    def fold_in(
        self, places: list[Any], like: Sequence[Scalar], outer: Index, inner: Index
    ) -> None:
        state = self.kernel.read_state(places, like)
        self.write(places, self.step(state, outer, inner))

    def write(self, places: list[Any], state: Sequence[Scalar]) -> None:
        for place, s in zip(places, state, strict=True):
            self.kernel.builder.store(s.value, place)

    def step(self, state: tuple[Scalar, ...], outer: Index, inner: Index) -> tuple[Scalar, ...]:
        """The state after the element at ``outer`` of the kept axes and ``inner`` of the others."""
        build = self.kernel.builder
        number: Any = ZERO
        for length, i in zip(self.along, inner, strict=False):
            number = build.add(build.mul(number, ir.Constant(I64, length)), i)
        index: Index = list(inner)
        if not self.kernel.is_flat:
            index = [None] * self.x.type.ndim
            for i, value in zip((*self.kept, *self.axis), (*outer, *inner), strict=False):
                index[i] = value
        element = self.emit.cast(self.kernel.value(self.x, index), state[0].dtype)
        result: tuple[Scalar, ...] = self.fold.step(
            self.emit, state, element, Scalar(number, np.int64)
        )
        return result

    def into_rows(self) -> None:
        """The last axis stays: fold row after row, into the output or for each chunk apart."""
        kernel, out = self.kernel, self.out.type
        kernel.split(self.along)
        n = kernel.n_chunks
        if self.folding.keeps_rows(n):
            self.fold_rows(self.rows(n)(kernel.chunk), kernel.part, None)
            kernel.finish = lambda last: Reduction(last).merge_rows(n)
            return
        kernel.split(out.shape)
        target = kernel.pointer(self.out)
        self.fold_rows(target, None, kernel.part)
        self.finish_rows(target, kernel.part)

    def rows(self, n_chunks: int) -> Callable[[Any], Any]:
        """Memory of the size of the output for every chunk."""
        n_bytes = aligned(self.out.type.nbytes)
        memory, build = self.kernel.scratch(n_bytes * n_chunks), self.kernel.builder

        def of(chunk: Any) -> Any:
            return build.gep(memory, [build.mul(chunk, ir.Constant(I64, n_bytes))], source_etype=I8)

        return of

    def fold_rows(self, target: Any, rows: Part, columns: Part) -> None:
        """Fold rows, or part of them, into memory of the size of the output, or part of it."""
        kernel, out = self.kernel, self.out.type
        with loops(kernel.builder, out.shape, columns) as outer:
            self.emit.store(self.start[0], target, kernel.position(out, outer))
        with (
            loops(kernel.builder, self.along, rows) as inner,
            loops(kernel.builder, out.shape, columns) as outer,
        ):
            before = self.row_element(target, outer)
            self.emit.store(
                self.step((before,), outer, inner)[0], target, kernel.position(out, outer)
            )
        kernel.forget()

    def row_element(self, target: Any, outer: Index) -> Scalar:
        out = self.out.type
        return self.emit.load(target, self.kernel.position(out, outer), out.dtype)

    def finish_rows(self, source: Any, columns: Part) -> None:
        kernel = self.kernel
        with loops(kernel.builder, self.out.type.shape, columns) as outer:
            state = (self.row_element(source, outer),)
            kernel.store(self.out, outer, self.fold.finish(self.emit, state, self.n, **self.params))

    def merge_rows(self, n_chunks: int) -> None:
        """Merge the rows of the chunks into those of the first, in order."""
        kernel, out = self.kernel, self.out.type
        rows_of = self.rows(n_chunks)
        first = rows_of(ZERO)
        with loop(kernel.builder, n_chunks, start=ir.Constant(I64, 1)) as chunk:
            rows = rows_of(chunk)
            with loops(kernel.builder, out.shape) as outer:
                pair = (self.row_element(first, outer),), (self.row_element(rows, outer),)
                (total,) = self.fold.merge(self.emit, *pair)
                self.emit.store(total, first, kernel.position(out, outer))
        self.finish_rows(first, None)

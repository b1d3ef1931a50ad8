"""Convolutions as matrix products whose rows lie somewhere in the images.

An image is copied once, with its padding, so that the values which one kernel value reads at
successive positions are neighbours: a stride sorts them into phases. Then every row of the matrix
of patches is a stretch of that copy, and a table says where it starts; the patches themselves are
never written.

Two forms. Where the positions are many (``Slide``), they are the columns of the product: rows of
the grid are joined by the few values between them, which are computed and dropped. Where the kernel
is large, as for the cotangent of filters (``Sums``), its values are the inner dimension, and every
chunk sums over some channels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from hashlib import sha256
from typing import Any

from pullback.compiler.llvm.builder import I64, ZERO, bounds, ir, loop, loops
from pullback.compiler.llvm.tiles import Tiles, size
from pullback.compiler.loops.maps import Kernel
from pullback.compiler.loops.products import tile_rows
from pullback.compiler.schedule.chunks import chunk_length
from pullback.compiler.schedule.convolutions import ImageTiling, SlideTiling, SumTiling
from pullback.compiler.schedule.stacks import stored
from pullback.compiler.schedule.steps import Product
from pullback.compiler.schedule.tiling import INNER, pieces, split
from pullback.compiler.schedule.windows import Grid, Ints, slides
from pullback.errors import CompileError

__all__ = ["emit_convolution"]

MERGED = 1 << 14  # sums that a chunk adds up


def emit_convolution(kernel: Kernel) -> None:
    """Choose the form with the longer runs."""
    x, w = kernel.equation.inputs
    (out,) = kernel.equation.outputs
    if len({v.type.dtype for v in (x, w, out)}) > 1 or out.type.dtype.kind != "f":
        raise CompileError(f"conv of {x.type.dtype} and {w.type.dtype} has no native form")
    if not out.type.size:
        return
    if not w.type.size or not x.type.size:
        kernel.fill(out, lambda _: kernel.emit.constant(0, out.type.dtype))
    elif slides(kernel.equation):
        Slide(kernel, SlideTiling(kernel.plan, kernel.equation)).run()
    else:
        Sums(kernel, SumTiling(kernel.plan, kernel.equation)).run()


class Convolution:
    """What both forms share: sizes, and the copies of images."""

    def __init__(self, kernel: Kernel, tiling: ImageTiling) -> None:
        self.kernel, self.tiling = kernel, tiling
        self.groups, self.n_rows, self.n_in, self.n_out = (
            tiling.groups,
            tiling.n_rows,
            tiling.n_in,
            tiling.n_out,
        )
        self.window, self.positions, self.reads = tiling.window, tiling.positions, tiling.reads
        self.width, self.n_chunks, self.n_positions = (
            tiling.width,
            tiling.n_chunks,
            tiling.n_positions,
        )
        self.builder = kernel.builder
        self.x, self.w = kernel.equation.inputs
        (self.out,) = kernel.equation.outputs
        (x, x_axes), (w, w_axes) = (stored(kernel.plan, v) for v in (self.x, self.w))
        self.filters, self.result = map(kernel.pointer, (w, self.out))
        step = kernel.step
        is_computed = isinstance(step, Product) and bool(step.prologues)
        self.image = None if is_computed else kernel.pointer(x)
        self.params = kernel.equation.params
        self.tiles = Tiles(kernel.builder.module, self.out.type.dtype)
        self.space: Ints = self.x.type.shape[2:]
        self.row, self.channel = distances(x.type.shape, x_axes)
        self.filter, self.filter_channel = distances(w.type.shape, w_axes)

    # -- memory -------------------------------------------------------------------------------
    def scratch(self, n: int) -> Any:
        """Memory for ``n`` numbers of every chunk; that of this one."""
        memory = self.kernel.scratch(self.tiling.bytes_of(n))
        start = self.builder.mul(self.kernel.chunk, size(self.tiling.lines(n)))
        return self.tiles.at(self.builder, memory, start)

    def at(self, pointer: Any, *terms: tuple[Any, int]) -> Any:
        """``pointer`` moved by the sum of ``index * step``."""
        place: Any = ZERO
        for index, step in terms:
            place = self.builder.add(place, self.builder.mul(index, size(step)))
        return self.tiles.at(self.builder, pointer, place)

    def table(self, values: list[int]) -> Any:
        """A constant array; equal ones are one."""
        module = self.builder.module
        name = "places_" + sha256(repr(values).encode()).hexdigest()[:16]
        if name not in module.globals:
            kind = ir.ArrayType(I64, len(values))
            constant = ir.GlobalVariable(module, kind, name)
            constant.linkage, constant.global_constant = "internal", True
            constant.initializer = ir.Constant(kind, values)
        return module.globals[name]

    def zero(self, target: Any, n: int) -> None:
        with loop(self.builder, n) as i:
            place = self.tiles.at(self.builder, target, i)
            self.builder.store(ir.Constant(self.tiles.real, 0), place)

    # -- copies of images ---------------------------------------------------------------------
    def copy_images(
        self,
        layout: Grid,
        source: Any,
        target: Any,
        count: int,
        distance: int,
        value: Callable[..., Any] | None = None,
    ) -> None:
        """``count`` channels that lie ``distance`` apart; the rest of the copy stays zero.

        Of a prologue, ``value`` computes the number at a channel and a place.
        """
        ranges, steps = [], self.params["input_dilation"]
        for n, (low, _), step, phase, length in zip(
            self.space, self.params["padding"], steps, layout.phases, layout.box, strict=True
        ):
            first = max(0, -(low // step))
            last = min(n - 1, (length * phase - 1 - low) // step)
            ranges.append((first, max(0, last + 1 - first)))
        lengths = [count, *(n for _, n in ranges)]
        build = self.builder
        with loops(build, lengths) as (channel, *index):
            read: list[tuple[Any, int]] = [(channel, distance)]
            write: list[tuple[Any, int]] = [(channel, layout.length)]
            for axis, i in enumerate(index):
                i = build.add(i, size(ranges[axis][0]))
                read.append((i, math.prod(self.space[axis + 1 :])))
                low, phases = self.params["padding"][axis][0], layout.phases[axis]
                t = build.add(build.mul(i, size(steps[axis])), size(low))
                if phases > 1:
                    inner = math.prod(layout.phases[axis + 1 :]) * math.prod(layout.box)
                    write.append((build.urem(t, size(phases)), inner))
                    t = build.udiv(t, size(phases))
                write.append((t, layout.strides[axis]))
            number = (
                build.load(self.at(source, *read), typ=self.tiles.real)
                if value is None
                else value(channel, *(i for i, _ in read[1:]))
            )
            build.store(number, self.at(target, *write))


class Slide(Convolution):
    """The positions are the columns: ``out[n] = w @ patches(x[n])``."""

    def __init__(self, kernel: Kernel, tiling: SlideTiling) -> None:
        super().__init__(kernel, tiling)
        self.sliding = tiling

    def run(self) -> None:
        kernel, tiling, layout = self.kernel, self.sliding, self.sliding.layout
        reads, n_positions = self.n_in * self.reads, self.n_positions
        kernel.n_chunks = self.n_chunks
        run, columns, lanes = tiling.run, tiling.columns, self.tiles.lanes
        image = self.scratch(tiling.image) if tiling.image else None
        if image is not None:
            self.zero(image, tiling.image)
        sums = self.scratch(tiling.sums) if tiling.sums else None
        step = self.channel if image is None else layout.length
        places = self.table([c * step + start for c in range(self.n_in) for start in layout.starts])
        starts = layout.positions(run) if run else range(0, columns, lanes)
        vectors = self.table(list(starts))
        filters = self.n_out * reads
        first, stop = bounds(self.builder, tiling.n_images, tiling.in_chunk, kernel.chunk)
        with loop(self.builder, stop, start=first) as number:
            row, group = (
                f(number, size(self.groups)) for f in (self.builder.udiv, self.builder.urem)
            )
            source = self.image and self.at(
                self.image, (row, self.row), (group, self.n_in * self.channel)
            )
            target = self.at(self.result, (number, self.n_out * n_positions))
            weights = self.at(self.filters, (group, filters))
            if image is not None:
                self.copy_whole(layout, source, image, (row, group))
                source = image
            tables = places, vectors
            sizes = reads, columns, self.width, run or lanes
            self.multiply((weights, source, sums or target), tables, sizes)
            if sums is not None:
                self.drop(layout, sums, columns, target)
            if kernel.tail is not None:
                row = self.builder.mul(number, size(self.n_out))
                kernel.tail(row, self.builder.add(row, size(self.n_out)))

    def copy_whole(self, layout: Grid, source: Any, image: Any, place: tuple[Any, Any]) -> None:
        """Copy the channels of an image that a group reads, or compute them in their copy."""
        kernel, (row, group) = self.kernel, place
        known = layout, source, image, self.n_in, self.channel
        if source is not None:
            self.copy_images(*known)
            return
        first = self.builder.mul(group, size(self.n_in))

        def value(channel: Any, *index: Any) -> Any:
            number = kernel.value(self.x, [row, self.builder.add(first, channel), *index])
            return kernel.emit.cast(number, self.out.type.dtype).value

        def emit_loops() -> None:
            self.copy_images(*known, value)
            kernel.forget()

        kernel.checked(emit_loops)

    def multiply(
        self,
        operands: tuple[Any, Any, Any],
        tables: tuple[Any, Any],
        sizes: tuple[int, int, int, int],
    ) -> None:
        """``c = weights @ rows``, in blocks of the inner dimension and panels of columns."""
        reads, columns, width, run = sizes
        build, (weights, rows, c), (places, vectors) = self.builder, operands, tables
        inner = split(reads, INNER)[0][2]
        with loop(build, -(-reads // inner)) as block:
            p = build.mul(block, size(inner))
            left = build.sub(size(reads), p)
            depth = build.select(build.icmp_signed("<", left, size(inner)), left, size(inner))
            is_more = build.icmp_signed(">", block, ZERO)
            table = build.gep(places, [p], source_etype=I64)
            for start, count, lanes in pieces(columns, width):
                with loop(build, count) as panel:
                    j = build.add(size(start), build.mul(panel, size(lanes)))
                    own = build.gep(vectors, [build.udiv(j, size(run))], source_etype=I64)
                    for row, height in tile_rows(build, self.n_out, self.tiles):
                        tile = self.tiles.tile(height, lanes, run)
                        a = self.at(weights, (row, reads), (p, 1))
                        place = self.at(c, (row, columns), (j, 1))
                        steps = [size(reads), size(1), table, size(columns), depth, is_more, own]
                        build.call(tile, [a, rows, place, *steps])

    def drop(self, layout: Grid, sums: Any, columns: int, target: Any) -> None:
        """Copy what lies at positions; the values between rows of the grid are not wanted."""
        with loops(self.builder, (self.n_out, *self.positions)) as (row, *index):
            steps = list(zip(index, layout.strides, strict=True))
            value = self.builder.load(self.at(sums, (row, columns), *steps), typ=self.tiles.real)
            place = [(i, math.prod(self.positions[axis + 1 :])) for axis, i in enumerate(index)]
            whole = (row, math.prod(self.positions))
            self.builder.store(value, self.at(target, whole, *place))


class Sums(Convolution):
    """The kernel is the inner dimension: ``out[:, o] = sum over c of patches(x[:, c]) @ w[o, c]``.

    The columns are pairs of a row and a position. Every chunk has some rows, and if these are few,
    sums over some channels only.
    """

    def __init__(self, kernel: Kernel, tiling: SumTiling) -> None:
        super().__init__(kernel, tiling)
        self.summing, self.layout = tiling, tiling.layout
        self.parts, self.in_part, self.together = tiling.parts, tiling.in_part, tiling.together
        self.columns = tiling.columns

    def run(self) -> None:
        kernel, build, tiling = self.kernel, self.builder, self.summing
        kernel.n_chunks = self.n_chunks
        sums = self.scratch(tiling.sums)
        self.copy = self.scratch(tiling.copy) if tiling.copy else None
        if self.copy is not None:
            self.zero(self.copy, tiling.copy)
        self.panel = self.scratch(tiling.panel)
        if tiling.block:
            self.block = self.scratch(tiling.block)
        starts, step = self.layout.starts, self.row if self.copy is None else self.layout.length
        self.places = self.table(
            [n * step + start for n in range(self.in_part) for start in starts]
        )
        parts = size(self.parts)
        self.image = self.at(self.image, (build.urem(kernel.chunk, parts), self.in_part * self.row))
        first, stop = bounds(
            build, tiling.n_units, tiling.in_chunk, build.udiv(kernel.chunk, parts)
        )
        with loop(build, stop, start=first) as unit, loop(build, self.groups) as group:
            c = build.mul(unit, size(self.together))
            image = self.images(build.add(build.mul(group, size(self.n_in)), c))
            row = build.mul(group, size(self.n_out))
            a = self.at(self.filters, (row, self.filter), (c, self.filter_channel))
            target = self.at(sums, (row, self.columns))
            self.add_channels(a, image, target, build.icmp_signed(">", unit, first))
        kernel.finish = lambda last: Sums(last, tiling).merge(tiling.n_sums)

    def images(self, channel: Any) -> Any:
        """Some channels, from one on: in place, or their copies."""
        source = self.at(self.image, (channel, self.channel))
        if self.copy is None:
            return source
        with loop(self.builder, self.together) as c:
            image = self.at(source, (c, self.channel))
            target = self.at(self.copy, (c, self.in_part * self.layout.length))
            self.copy_images(self.layout, image, target, self.in_part, self.row)
        return self.copy

    def add_channels(self, a: Any, image: Any, target: Any, is_more: Any) -> None:
        """Blocks of the kernel's values: whole runs, as many as a panel takes, or a part of one."""
        build, run, row = self.builder, self.window[-1], self.filter
        if self.together > 1:
            row = self.together * self.reads
            with loop(build, self.together) as c:
                source = self.at(a, (c, self.filter_channel))
                place = self.at(self.block, (c, self.reads))
                steps = map(size, (self.filter, row, self.reads, self.n_out))
                build.call(self.tiles.gather(), [source, place, *steps])
            a = self.block
        n_runs = self.together * self.reads // run
        for from_, n_blocks, count in pieces(n_runs, max(1, INNER // run)):
            with loop(build, n_blocks) as number:
                first = build.add(size(from_), build.mul(number, size(count)))
                for start, n_parts, length in pieces(run, INNER):
                    with loop(build, n_parts) as part:
                        p = build.add(size(start), build.mul(part, size(length)))
                        place = build.add(build.mul(first, size(run)), p)
                        is_first = build.icmp_signed("==", place, ZERO)
                        add = build.or_(is_more, build.not_(is_first))
                        block = self.at(a, (place, 1)), self.at(image, (p, 1)), target
                        self.add_block(block, first, (count, length, row), add)

    def add_block(
        self, operands: tuple[Any, Any, Any], first: Any, sizes: tuple[int, int, int], add: Any
    ) -> None:
        """``target += a @ b.T`` for ``sizes = (runs, length, distance of rows of a)``."""
        build, (a, image, target), (count, length, a_row) = self.builder, operands, sizes
        for start, n_panels, lanes in pieces(self.columns, self.width):
            with loop(build, n_panels) as number:
                j = build.add(size(start), build.mul(number, size(lanes)))
                table = build.gep(self.places, [j], source_etype=I64)
                with loop(build, count) as i:
                    source = self.run_start(image, build.add(first, i))
                    panel = self.at(self.panel, (i, length * lanes))
                    pack = self.tiles.pack(lanes, has_table=True)
                    build.call(pack, [source, panel, table, size(length)])
                for row, height in tile_rows(build, self.n_out, self.tiles):
                    tile = self.tiles.tile(height, lanes)
                    c = self.at(target, (row, self.columns), (j, 1))
                    steps = map(size, (a_row, 1, lanes, self.columns, count * length))
                    build.call(tile, [self.at(a, (row, a_row)), self.panel, c, *steps, add])

    def run_start(self, image: Any, number: Any) -> Any:
        """Where a run of the kernel's values starts in the images of the channels."""
        terms = []
        for n, step in reversed(list(zip(self.window, self.layout.strides, strict=True))[:-1]):
            terms.append((self.builder.urem(number, size(n)), step))
            number = self.builder.udiv(number, size(n))
        length = self.in_part * self.layout.length
        return self.at(image, (number, self.channel if self.copy is None else length), *terms)

    def merge(self, n_sums: int) -> None:
        """Add the sums over channels in order, and put them where they belong; by filters."""
        kernel, build = self.kernel, self.builder
        chunk, kernel.chunk = kernel.chunk, ZERO
        sums = self.scratch(self.summing.sums)
        n_filters = self.groups * self.n_out
        wanted = max(1, min(n_filters, n_sums * self.out.type.size // MERGED))
        in_chunk = chunk_length(n_filters, wanted, 1)
        kernel.n_chunks = -(-n_filters // in_chunk)
        first, stop = bounds(build, n_filters, in_chunk, chunk)
        step = self.tiling.lines(n_filters * self.columns)
        with loop(build, stop, start=first) as o, loop(build, self.parts) as part:
            row = self.at(sums, (o, self.columns), (part, step))
            others = [size(i * self.parts) for i in range(1, n_sums)]
            self.add_rows(row, [self.at(row, (i, step)) for i in others])
            self.scatter(row, build.mul(part, size(self.in_part)), o)

    def add_rows(self, row: Any, others: list[Any]) -> None:
        build, real = self.builder, self.tiles.real
        with loop(build, self.columns if others else 0) as column:
            place = self.at(row, (column, 1))
            total = build.load(place, typ=real)
            for other in others:
                total = build.fadd(total, build.load(self.at(other, (column, 1)), typ=real))
            build.store(total, place)

    def scatter(self, row: Any, first: Any, o: Any) -> None:
        """The sums of a filter, from a first row of the result on."""
        build, n_positions = self.builder, math.prod(self.positions)
        with loops(build, (self.in_part, n_positions)) as (i, q):
            value = build.load(self.at(row, (i, n_positions), (q, 1)), typ=self.tiles.real)
            n = build.add(first, i)
            place = (n, self.groups * self.n_out * n_positions), (o, n_positions), (q, 1)
            build.store(value, self.at(self.result, *place))


def distances(shape: Ints, axes: Ints) -> tuple[int, int]:
    """Numbers between the indices of the first axis, and of the second, of what has this shape."""
    first, second = (math.prod(shape[axis + 1 :]) for axis in axes[:2])
    return first, second

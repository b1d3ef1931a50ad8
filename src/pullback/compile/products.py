"""Matrix products: tiles in registers.

A product is cut into pieces for the threads, a piece into panels: a few columns of a block of B,
which stay in the nearest cache while all rows of A are multiplied with them. What a tile would read
at large strides is copied first.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Iterator
from typing import Any, NamedTuple

import numpy as np

from pullback.compile.chunks import bounds, chunk_length
from pullback.compile.ir import I8, I64, POINTER, ZERO, ir, loop
from pullback.compile.plan import Schedule, Step, aligned
from pullback.compile.tiles import Tiles, size
from pullback.core.graph import Equation, Operand, Variable

__all__ = ["Stack"]

INNER = 256  # numbers of the inner dimension in a block: a panel takes 16 KiB
HEIGHT = 6  # rows of a tile
ROWS = 24 * HEIGHT  # rows of a block of A, which stays in the second cache
STRIP = 128 << 10  # bytes of the copy of some columns of a block of B
MUCH = 256  # columns that are worth a copy of A
NEAR = 24 << 10  # bytes that are read at any stride without loss
GRAIN = 1 << 17  # multiplications of a chunk
MAX_CHUNKS = 16  # each copies its parts of the operands
MOVE = 4  # multiplications in the time in which a number is moved
READ, COPY = 2, 8  # and is read again, or copied
SHARED = 2.5  # as much for a copy that more pieces share: it is written to memory, and read
MAP = 5  # and in that of an operation of a map
LEAST_COLUMNS = 32  # of a piece of many
SEAM = 1000  # and in that in which a map moves on to another row
PIECE = 1 << 14  # and in that in which a thread takes a piece
BALANCE = 8  # threads wait at the end for a part of a piece


class Layout(NamedTuple):
    """Where the matrices of a product lie: numbers between rows, and whether they are transposed.

    ``a_row`` and ``b_row`` are those of the matrices as they lie in memory.
    """

    a_row: int
    b_row: int
    c_row: int
    a_transposed: bool
    b_transposed: bool


class Product:
    """A product of matrices of fixed sizes; it takes ``scratch_bytes`` of working memory.

    Of A and B, those that are ``shared`` are copies that several products read, made by
    :meth:`share`.
    """

    def __init__(
        self,
        tiles: Tiles,
        sizes: tuple[int, int, int],
        layout: Layout,
        shared: tuple[bool, bool] = (False, False),
    ) -> None:
        self.tiles = tiles
        self.sizes = m, n, k = sizes
        self.layout = layout
        self.shared = shares_a, shares_b = shared
        self.a_row, self.a_step = (1, layout.a_row) if layout.a_transposed else (layout.a_row, 1)
        item = tiles.dtype.itemsize
        self.inner = inner_block(k)
        self.rows = part(m, -(-m // ROWS), HEIGHT)  # of a block
        self.width = panel_width(tiles, HEIGHT if shares_b else m)
        self.copies_a = shares_a or needs_copy(sizes, layout, tiles)
        self.copies_b = shares_b or needs_copy_of_b(sizes, layout, tiles)
        self.is_dots = m == self.a_step == 1 and layout.b_transposed and not any(shared)
        self.strip = self.width * max(1, STRIP // (self.width * self.inner * item))
        strip = min(n, self.strip) * self.inner
        self.strip_bytes = strip * item if self.copies_b and not shares_b else 0
        a_bytes = self.rows * self.inner * item if self.copies_a and not shares_a else 0
        self.scratch_bytes = 0 if self.is_dots else self.strip_bytes + a_bytes

    def new(self, name: str, n_pointers: int, others: list[Any]) -> tuple[Any, bool]:
        """A function of this product, and whether it is new."""
        parts = [*self.sizes, *map(int, self.layout), *map(int, self.shared)]
        function, is_new = self.tiles.function(
            f"{name}_{'_'.join(map(str, parts))}", n_pointers, others
        )
        if is_new:
            self.builder = ir.IRBuilder(function.append_basic_block("entry"))
        return function, is_new

    def function(self) -> Any:
        """``product(a, b, c, scratch)``."""
        function, is_new = self.new("product", 4, [])
        if is_new:
            self.a, self.b, self.c, self.panel = function.args
            self.block_a = self.builder.gep(self.panel, [size(self.strip_bytes)], source_etype=I8)
            if self.is_dots:
                self.emit_dots()
            else:
                self.emit_blocks()
            self.builder.ret_void()
        return function

    def parts(self, operand: int) -> tuple[int, int]:
        """Rows of A, or columns of B, and how many of them are a part of its copy."""
        m, n, _ = self.sizes
        return (n, self.strip) if operand else (m, self.rows)

    def n_shares(self, operand: int) -> int:
        """Parts of the copy of A or B."""
        length, most = self.parts(operand)
        return -(-length // most) * -(-self.sizes[2] // self.inner)

    def share(self, operand: int) -> Any:
        """``share(a, copy, number)``: one of the parts of the copy of A, or of B."""
        function, is_new = self.new(f"share_{'ab'[operand]}", 2, [I64])
        if is_new:
            build, (length, most) = self.builder, self.parts(operand)
            source, copy, number = function.args
            self.a = self.b = source
            blocks = size(-(-length // most))
            self.enter_block(build.udiv(number, blocks))
            i = build.mul(build.urem(number, blocks), size(most))
            target = self.copied(operand, copy, i)
            for start, count, height in pieces(length, most):
                is_here = build.icmp_signed(">=", i, size(start))
                is_before = build.icmp_signed("<", i, size(start + count * height))
                with build.if_then(build.and_(is_here, is_before)):
                    (self.copy_b if operand else self.copy_a)(i, height, target)
            build.ret_void()
        return function

    def copied(self, operand: int, copy: Any, i: Any) -> Any:
        """Where a row of A, or a column of B, is in its copy: blocks lie one behind the other."""
        build, (length, _) = self.builder, self.parts(operand)
        place = build.add(build.mul(self.p, size(length)), build.mul(i, self.depth))
        return self.tiles.at(build, copy, place)

    def at(self, pointer: Any, row: Any, step: int, column: Any) -> Any:
        place = self.builder.add(self.builder.mul(row, size(step)), column)
        return self.tiles.at(self.builder, pointer, place)

    def emit_dots(self) -> None:
        """A row vector with the columns of B, which lie in memory as rows."""
        _, n, k = self.sizes
        b_row = self.layout.b_row
        for start, count, rows in split(n, 8):
            with loop(self.builder, count) as i:
                j = self.builder.add(size(start), self.builder.mul(i, size(rows)))
                self.builder.call(
                    self.tiles.dots(rows),
                    [
                        self.a,
                        self.at(self.b, j, b_row, size(0)),
                        self.at(self.c, j, 1, size(0)),
                        size(b_row),
                        size(k),
                    ],
                )

    def emit_blocks(self) -> None:
        """Blocks of the inner dimension, strips of columns, blocks of rows, then panels."""
        build, (m, n, k) = self.builder, self.sizes
        with loop(build, max(-(-k // self.inner), 1)) as block:
            self.enter_block(block)
            for first, n_strips, columns in pieces(n, self.strip if self.copies_b else n):
                with loop(build, n_strips) as strip:
                    j = build.add(size(first), build.mul(strip, size(columns)))
                    if self.copies_b and not self.shared[1]:
                        self.copy_b(j, columns, self.panel)
                    for start, count, height in pieces(m, self.rows):
                        with loop(build, count) as number:
                            i = build.add(size(start), build.mul(number, size(height)))
                            if self.copies_a and not self.shared[0]:
                                self.copy_a(i, height, self.block_a)
                            self.emit_panels((i, height), (j, columns))

    def enter_block(self, block: Any) -> None:
        """Set the place and the depth of a block of the inner dimension."""
        build, k = self.builder, self.sizes[2]
        self.p = build.mul(block, size(self.inner))
        left = build.sub(size(k), self.p)
        is_last = build.icmp_signed("<", left, size(self.inner))
        self.depth = build.select(is_last, left, size(self.inner))
        self.add = build.icmp_signed(">", block, size(0))

    def copy_a(self, i: Any, height: int, target: Any) -> None:
        """Rows of A one behind the other; of a transposed A, the rows of a tile side by side."""
        build = self.builder
        if not self.layout.a_transposed:
            source = self.at(self.a, i, self.a_row, self.p)
            sizes = size(self.a_row), self.depth, self.depth, size(height)
            build.call(self.tiles.gather(), [source, target, *sizes])
            return
        for start, count, rows in split(height, HEIGHT):
            source = self.at(self.a, self.p, self.a_step, build.add(i, size(start)))
            place = self.tiles.at(build, target, build.mul(self.depth, size(start)))
            steps = size(self.a_step), self.depth, size(count)
            build.call(self.tiles.copy(rows), [source, place, *steps])

    def copy_b(self, j: Any, columns: int, target: Any) -> None:
        """The columns of each panel, side by side."""
        build, b_row = self.builder, self.layout.b_row
        for start, count, width in pieces(columns, self.width):
            first = build.add(j, size(start))
            panels = self.tiles.at(build, target, build.mul(self.depth, size(start)))
            if self.layout.b_transposed:
                with loop(build, count) as number:
                    column = build.mul(number, size(width))
                    place = self.tiles.at(build, panels, build.mul(column, self.depth))
                    source = self.at(self.b, build.add(first, column), b_row, self.p)
                    build.call(self.tiles.pack(width), [source, place, size(b_row), self.depth])
            else:
                source = self.at(self.b, self.p, b_row, first)
                steps = size(b_row), self.depth, size(count)
                build.call(self.tiles.copy(width), [source, panels, *steps])

    def emit_panels(self, rows: tuple[Any, int], columns: tuple[Any, int]) -> None:
        build, b_row, (j, n) = self.builder, self.layout.b_row, columns
        for start, count, width in pieces(n, self.width):
            with loop(build, count) as number:
                column = build.add(size(start), build.mul(number, size(width)))
                first, step = build.add(j, column), width
                if self.shared[1]:
                    panel = self.copied(1, self.b, first)
                elif self.copies_b:
                    panel = self.tiles.at(build, self.panel, build.mul(column, self.depth))
                else:
                    panel, step = self.at(self.b, self.p, b_row, first), b_row
                self.emit_tiles(rows, (first, width), (panel, step))

    def emit_tiles(
        self, block: tuple[Any, int], columns: tuple[Any, int], panel: tuple[Any, int]
    ) -> None:
        build, c_row, (i, height), (j, width) = self.builder, self.layout.c_row, block, columns
        for row, rows in tile_rows(build, height):
            a, strides = self.rows_of_a(i, row, rows)
            c = self.at(self.c, build.add(i, row), c_row, j)
            steps = *strides, size(panel[1]), size(c_row)
            tile = self.tiles.tile(rows, width)
            build.call(tile, [a, panel[0], c, *steps, self.depth, self.add])

    def rows_of_a(self, i: Any, row: Any, rows: int) -> tuple[Any, tuple[Any, Any]]:
        """Where a tile reads A: the place, and the strides of rows and of columns."""
        build = self.builder
        if not self.copies_a:
            place = build.mul(self.p, size(self.a_step))
            a = self.at(self.a, build.add(i, row), self.a_row, place)
            return a, (size(self.a_row), size(self.a_step))
        if self.shared[0]:
            a = self.copied(0, self.a, build.add(i, row))
        else:
            a = self.tiles.at(build, self.block_a, build.mul(row, self.depth))
        return a, ((size(1), size(rows)) if self.layout.a_transposed else (self.depth, size(1)))


def inner_block(k: int) -> int:
    """Numbers of the inner dimension in a block."""
    return split(k, INNER)[0][2] if k else 1


def needs_copy(sizes: tuple[int, int, int], layout: Layout, tiles: Tiles) -> bool:
    """Whether reading A in place is slower: what a tile reads of it lies apart."""
    m, n, k = sizes
    is_apart = n > 32 if layout.a_transposed else inner_block(k) < k and n > MUCH
    return is_apart and m * inner_block(k) * tiles.dtype.itemsize > NEAR


def needs_copy_of_b(sizes: tuple[int, int, int], layout: Layout, tiles: Tiles) -> bool:
    """Whether the rows of a panel of B lie too far apart to stay in the nearest cache."""
    m, _, k = sizes
    is_apart = inner_block(k) * layout.b_row * tiles.dtype.itemsize > NEAR
    return layout.b_transposed or (is_apart and m > 4 * HEIGHT)


def split(n: int, most: int) -> list[tuple[int, int, int]]:
    """Parts of nearly equal size that are no larger than ``most``: (start, count, size)."""
    parts = -(-n // most)
    small, n_large = divmod(n, parts)
    groups = [(0, n_large, small + 1), (n_large * (small + 1), parts - n_large, small)]
    return [group for group in groups if group[1]]


def tile_rows(builder: ir.IRBuilder, n: int) -> Iterator[tuple[Any, int]]:
    """Loops over the tiles of ``n`` rows: (first row, rows)."""
    for start, count, height in split(n, HEIGHT):
        with loop(builder, count) as number:
            yield builder.add(size(start), builder.mul(number, size(height))), height


def pieces(n: int, most: int) -> list[tuple[int, int, int]]:
    """Parts of size ``most`` and the rest: (start, count, size)."""
    whole, rest = divmod(n, most)
    groups = [(0, whole, most), (whole * most, 1, rest)]
    return [group for group in groups if group[1] and group[2]]


# -- pieces -----------------------------------------------------------------------------------
class Pieces(NamedTuple):
    """How a stack of products is cut: rows and columns of a piece, and pieces in a chunk."""

    rows: int
    columns: int
    in_chunk: int


def cut_product(
    count: int, sizes: tuple[int, int, int], layout: Layout, tiles: Tiles, tail_work: int
) -> Pieces:
    """Pieces of rows and columns: many, if what they copy of the operands costs less.

    Pieces of the same rows share a copy of A, those of the same columns one of B.
    """
    m, n, k = sizes
    work = m * n * k + MOVE * (m * k + k * n + m * n)
    n_chunks = max(1, min((count * work + MAP * tail_work) // GRAIN, MAX_CHUNKS))
    most = -(-n_chunks // count)
    copied_a = m * k if needs_copy(sizes, layout, tiles) else 0
    copied_b = k * n if needs_copy_of_b(sizes, layout, tiles) else 0

    def cost(grid: tuple[int, int]) -> float:
        height, width = grid
        read = width * m * k + height * k * n
        copied = copied_a * min(width, SHARED) + copied_b * min(height, SHARED)
        rows = m * (width - 1) if tail_work else 0
        n_pieces = height * width
        waiting = work / (2 + BALANCE * (n_pieces - 1))
        return READ * read + COPY * copied + SEAM * rows + PIECE * n_pieces + waiting

    halved = [1 << i for i in range(most.bit_length())]
    grids = [
        (height, width)
        for height, width in itertools.product(halved, halved)
        if height * width <= most
        if height <= max(1, m // HEIGHT) and width <= max(1, n // LEAST_COLUMNS)
    ]
    height, width = min(grids, key=cost)
    rows = part(m, height, HEIGHT)
    columns = part(n, width, panel_width(tiles, rows))
    pieces = count * -(-m // rows) * -(-n // columns)
    return Pieces(rows, columns, -(-pieces // n_chunks))


def part(n: int, count: int, multiple: int) -> int:
    """The length of ``count`` parts: of equal ones if they can be, which share their code."""
    return chunk_length(n, count, multiple) if n % count else n // count


def panel_width(tiles: Tiles, m: int) -> int:
    """Columns of a panel: few rows leave registers for more of them."""
    return tiles.lanes * {1: 8, 2: 4, 3: 3}.get(split(m, HEIGHT)[0][2], 2)


# -- equations --------------------------------------------------------------------------------
class Stack:
    """The products of an equation: ``count`` of them, of the same sizes.

    A transposed operand that has no memory is read in place, from what it transposes.
    """

    def __init__(
        self, module: ir.Module, equation: Equation, plan: Schedule, tail: Step | None
    ) -> None:
        x1, x2 = equation.inputs
        (self.out,) = equation.outputs
        self.tiles = Tiles(module, self.out.type.dtype)
        left, right = view(plan, x1), view(plan, x2)
        m, k = (1, x1.type.shape[0]) if x1.type.ndim == 1 else x1.type.shape[-2:]
        n = 1 if x2.type.ndim == 1 else x2.type.shape[-1]
        self.shape = np.broadcast_shapes(x1.type.shape[:-2], x2.type.shape[:-2])
        self.count = int(np.prod(self.shape))
        is_joint = self.count == x1.type.size // max(m * k, 1) and x2.type.ndim <= 2
        if is_joint and x1 in plan.in_memory:
            m, self.count = m * self.count, 1  # one matrix for the whole stack
        if n == 1:  # a row vector times the transposed matrix
            left, right = (v._replace(is_transposed=not v.is_transposed) for v in (right, left))
            x1, x2, m, n = x2, x1, n, m
        self.types, self.strides = (x1.type, x2.type), (left.strides, right.strides)
        self.operands = [left.source, right.source]
        self.sizes = m, n, k
        self.layout = Layout(left.row, right.row, n, left.is_transposed, right.is_transposed)
        tail_work = plan.work(tail) if tail else 0
        self.pieces = cut_product(self.count, self.sizes, self.layout, self.tiles, tail_work)
        self.is_flat = tail is not None and tail.is_flat
        self.height = -(-m // self.pieces.rows)
        self.width = -(-n // self.pieces.columns)
        self.n_pieces = self.count * self.height * self.width
        self.n_chunks = -(-self.n_pieces // self.pieces.in_chunk)
        self.is_shared = (
            self.width > SHARED and needs_copy(self.sizes, self.layout, self.tiles),
            self.height > SHARED and needs_copy_of_b(self.sizes, self.layout, self.tiles),
        )
        self.products = self.kinds_of_pieces()
        most = max(p.scratch_bytes for p, *_ in self.products)
        self.chunk_bytes = aligned(most) if most else 0
        item = self.tiles.dtype.itemsize
        self.shared_bytes = [
            aligned(self.count * length * k * item) if is_shared else 0
            for length, is_shared in zip((m, n), self.is_shared, strict=True)
        ]
        self.scratch_bytes = sum(self.shared_bytes) + self.chunk_bytes * self.n_chunks

    @property
    def key(self) -> Hashable:
        """Equal for two equations if their functions are."""
        return "product", self.types, self.strides, self.sizes, self.layout

    def stages(self, tail: Any, n_tail: int) -> list[tuple[Any, int]]:
        """Functions, one after the other, and their numbers of chunks.

        ``f(status, a, b, c, *operands of the tail, working memory, chunk)``;
        ``tail(status, *operands, first row, stop, first column, stop)`` follows each piece.
        """
        stages = [(self.emit_shares(n_tail), sum(self.n_shares))] if any(self.is_shared) else []
        return [*stages, (self.emit_products(tail, n_tail), self.n_chunks)]

    def enter(self, name: str, n_tail: int) -> tuple[Any, Any]:
        """Begin a function; it and its chunk."""
        module = self.tiles.module
        kind = ir.FunctionType(ir.VoidType(), [POINTER] * (5 + n_tail) + [I64])
        function = ir.Function(module, kind, module.get_unique_name(name))
        function.linkage = "internal"
        self.builder = ir.IRBuilder(function.append_basic_block("entry"))
        self.status, *self.places, self.shared, chunk = function.args
        return function, chunk

    def emit_products(self, tail: Any, n_tail: int) -> Any:
        function, chunk = self.enter("products", n_tail)
        self.tail, self.tail_operands = tail, [self.status, *self.places[3:]]
        start = self.builder.mul(chunk, size(self.chunk_bytes))
        start = self.builder.add(start, size(sum(self.shared_bytes)))
        self.scratch = self.builder.gep(self.shared, [start], source_etype=I8)
        first, stop = bounds(self.builder, self.n_pieces, self.pieces.in_chunk, chunk)
        if self.n_chunks == 1:
            first, stop = ZERO, self.n_pieces
        with loop(self.builder, stop, start=first) as number:
            self.emit_piece(number)
        self.builder.ret_void()
        return function

    @property
    def n_shares(self) -> list[int]:
        """Parts in which A and B are copied."""
        product, *_ = self.products[0]
        return [
            self.count * n * product.n_shares(operand) if self.is_shared[operand] else 0
            for operand, n in enumerate((self.height, self.width))
        ]

    def emit_shares(self, n_tail: int) -> Any:
        """Copy parts of A, then of B."""
        function, number = self.enter("shares", n_tail)
        build, (of_a, _) = self.builder, self.n_shares
        is_a = build.icmp_signed("<", number, size(of_a))
        for operand in (0, 1):
            if self.is_shared[operand]:
                first = size(operand * of_a)
                with build.if_then(build.not_(is_a) if operand else is_a):
                    self.emit_share(operand, build.sub(number, first))
        build.ret_void()
        return function

    def emit_share(self, operand: int, number: Any) -> None:
        build = self.builder
        most, n = self.products[0][0].n_shares(operand), (self.height, self.width)[operand]
        piece, part = self.divided(number, most)
        i, place = self.divided(piece, n)
        is_end = build.icmp_signed("==", place, size(n - 1))
        for product, *is_last in self.products:
            is_here = is_end if is_last[operand] else build.not_(is_end)
            if is_last[1 - operand]:  # one of those that share the copy
                is_part = build.icmp_signed("<", part, size(product.n_shares(operand)))
                with build.if_then(build.and_(is_here, is_part)):
                    operands = self.piece_of(operand, i, place), self.copied(operand, i, place)
                    build.call(product.share(operand), [*operands, part])

    def piece_of(self, operand: int, i: Any, place: Any) -> Any:
        """Where the rows of A, or the columns of B, start that a piece multiplies."""
        layout, most = self.layout, self.pieces[operand]
        row, is_row = (
            (layout.b_row, layout.b_transposed)
            if operand
            else (layout.a_row, not layout.a_transposed)
        )
        first = self.builder.mul(place, size(most))
        return self.at(self.member(operand, i), first, row if is_row else 1)

    def copied(self, operand: int, i: Any, place: Any) -> Any:
        """Where these are in the copy that pieces share."""
        build, (*lengths, k) = self.builder, self.sizes
        first = build.mul(place, size(self.pieces[operand]))
        place = build.add(build.mul(i, size(lengths[operand])), first)
        start = build.gep(self.shared, [size(operand * self.shared_bytes[0])], source_etype=I8)
        return self.at(start, place, k)

    def kinds_of_pieces(self) -> list[tuple[Product, bool, bool]]:
        """The products of whole pieces and of those at the ends: (product, last row, column)."""
        m, n, k = self.sizes
        rows, columns, _ = self.pieces
        heights = [(rows, False)] * (self.height > 1) + [(m - (self.height - 1) * rows, True)]
        widths = [(columns, False)] * (self.width > 1) + [(n - (self.width - 1) * columns, True)]
        return [
            (Product(self.tiles, (height, width, k), self.layout, self.is_shared), bottom, right)
            for height, bottom in heights
            for width, right in widths
        ]

    def emit_piece(self, number: Any) -> None:
        build, (m, n, _), layout = self.builder, self.sizes, self.layout
        item = self.tiles.dtype.itemsize
        i, piece = self.divided(number, self.height * self.width)
        row, column = self.divided(piece, self.width)
        operands = [
            (self.copied if is_shared else self.piece_of)(operand, i, place)
            for operand, (is_shared, place) in enumerate(
                zip(self.is_shared, (row, column), strict=True)
            )
        ]
        c = build.gep(self.places[2], [build.mul(i, size(m * n * item))], source_etype=I8)
        first_row = build.mul(row, size(self.pieces.rows))
        first_column = build.mul(column, size(self.pieces.columns))
        c = self.tiles.at(build, self.at(c, first_row, layout.c_row), first_column)
        is_bottom = build.icmp_signed("==", row, size(self.height - 1))
        is_right = build.icmp_signed("==", column, size(self.width - 1))
        for product, bottom, right in self.products:
            flags = [
                is_last if wanted else build.not_(is_last)
                for is_last, wanted in ((is_bottom, bottom), (is_right, right))
            ]
            with build.if_then(build.and_(*flags)):
                build.call(product.function(), [*operands, c, self.scratch])
                if self.tail is not None:
                    top = build.add(build.mul(i, size(m)), first_row)
                    self.follow(top, first_column, product.sizes[0], product.sizes[1])

    def follow(self, row: Any, column: Any, height: int, width: int) -> None:
        """Call the tail for a piece; whole rows are one, where the tail is flat."""
        build, n = self.builder, self.sizes[1]
        if self.is_flat and width == n:
            row, column = ZERO, build.mul(row, size(n))
            height, width = 1, height * n
        rows = [row, build.add(row, size(height))]
        columns = [column, build.add(column, size(width))]
        build.call(self.tail, [*self.tail_operands, *rows, *columns])

    def divided(self, number: Any, divisor: int) -> tuple[Any, Any]:
        """Quotient and rest."""
        if divisor == 1:
            return number, ZERO
        n = size(divisor)
        return self.builder.udiv(number, n), self.builder.urem(number, n)

    def at(self, pointer: Any, i: Any, step: int) -> Any:
        return self.tiles.at(self.builder, pointer, self.builder.mul(i, size(step)))

    def member(self, operand: int, i: Any) -> Any:
        """Pointer to the matrix of an operand for number ``i`` of the broadcast stack."""
        builder, base, shape = self.builder, self.places[operand], self.types[operand].shape[:-2]
        if int(np.prod(shape)) == 1 or self.count == 1:
            return base
        position, rest, indices = ZERO, i, []
        for n in reversed(self.shape):
            rest, index = self.divided(rest, n)
            indices.append(index)
        own = indices[::-1][len(self.shape) - len(shape) :]
        for n, stride, k in zip(shape, self.strides[operand], own, strict=True):
            if n != 1:
                position = builder.add(position, builder.mul(k, size(stride)))
        return self.tiles.at(builder, base, position)


class View(NamedTuple):
    """Where matrices are in memory: ``strides`` of a stack of them, numbers between their rows.

    Of a transposed matrix, ``row`` is the distance of its columns.
    """

    source: Variable
    strides: tuple[int, ...]
    row: int
    is_transposed: bool


def view(plan: Schedule, operand: Operand) -> View:
    """How a matrix, or a stack, is read in place; it may be a transposition of an array."""
    source, axes = stored(plan, operand)
    shape = source.type.shape
    strides = [math.prod(shape[axis + 1 :]) for axis in axes]
    if len(axes) == 1:
        return View(source, (), strides[0], False)
    is_transposed = axes[-1] != len(axes) - 1
    return View(source, tuple(strides[:-2]), strides[-1 if is_transposed else -2], is_transposed)


def stored(plan: Schedule, operand: Operand) -> tuple[Variable, tuple[int, ...]]:
    """Where an operand is in memory, and which axis each of its axes is there."""
    assert isinstance(operand, Variable), "literals are scalars"
    if operand in plan.in_memory:
        return operand, tuple(range(operand.type.ndim))
    maker = plan.makers[operand]
    (source,) = maker.inputs
    assert isinstance(source, Variable), "literals are scalars"
    return source, tuple(maker.params["axes"])

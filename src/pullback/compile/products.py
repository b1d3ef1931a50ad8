"""Matrix products: tiles in registers.

A product is cut into pieces for the threads, a piece into panels: a few columns of a block of B,
which stay in the nearest cache while all rows of A are multiplied with them. What a tile would read
at large strides is copied first.
"""

from __future__ import annotations

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
ROWS = 16 * HEIGHT  # rows of a block of a transposed A, which is copied
NEAR = 24 << 10  # bytes that are read at any stride without loss
FAR = 256 << 10  # bytes of A that are read again and again
GRAIN = 1 << 19  # multiplications of a chunk
MAX_CHUNKS = 24  # each copies its parts of the operands
ENOUGH = 8  # pieces of whole rows, which copies and tails prefer
MOVE = 4  # multiplications in the time in which a number is moved
MAP = 5  # and in that of an operation of a map
LEAST_ROWS, LEAST_COLUMNS = 96, 128  # of a piece of many: what it copies must be worth it


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
    """A product of matrices of fixed sizes; it takes ``scratch_bytes`` of working memory."""

    def __init__(self, tiles: Tiles, sizes: tuple[int, int, int], layout: Layout) -> None:
        self.tiles = tiles
        self.sizes = m, n, k = sizes
        self.layout = layout
        self.a_row, self.a_step = (1, layout.a_row) if layout.a_transposed else (layout.a_row, 1)
        item = tiles.dtype.itemsize
        self.inner = split(k, INNER)[0][2] if k else 1
        self.width = panel_width(tiles, m)
        self.copies_a = layout.a_transposed and m * self.inner * item > NEAR and n > 2 * self.width
        self.copies_b = layout.b_transposed or (
            self.inner * layout.b_row * item > NEAR and m > 4 * HEIGHT
        )
        self.is_dots = m == 1 and layout.b_transposed
        self.panel_bytes = self.width * self.inner * item if self.copies_b else 0
        a_bytes = min(m, ROWS) * self.inner * item if self.copies_a else 0
        self.scratch_bytes = 0 if self.is_dots else self.panel_bytes + a_bytes

    def function(self) -> Any:
        """``product(a, b, c, scratch)``."""
        name = "_".join(map(str, (*self.sizes, *map(int, self.layout))))
        function, is_new = self.tiles.function(f"product_{name}", 4, [])
        if is_new:
            self.builder = ir.IRBuilder(function.append_basic_block("entry"))
            self.a, self.b, self.c, self.panel = function.args
            self.block_a = self.builder.gep(self.panel, [size(self.panel_bytes)], source_etype=I8)
            if self.is_dots:
                self.emit_dots()
            else:
                self.emit_blocks()
            self.builder.ret_void()
        return function

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
        """Blocks of the inner dimension, of rows, then panels of columns."""
        build, (m, _, k) = self.builder, self.sizes
        with loop(build, max(-(-k // self.inner), 1)) as block:
            self.p = build.mul(block, size(self.inner))
            left = build.sub(size(k), self.p)
            is_last = build.icmp_signed("<", left, size(self.inner))
            self.depth = build.select(is_last, left, size(self.inner))
            self.add = build.icmp_signed(">", block, size(0))
            for start, count, height in pieces(m, ROWS if self.copies_a else m):
                with loop(build, count) as number:
                    i = build.add(size(start), build.mul(number, size(height)))
                    if self.copies_a:
                        self.copy_a(i, height)
                    self.emit_panels(i, height)

    def tile_rows(self, height: int) -> Iterator[tuple[Any, int]]:
        """Loops over the tiles of a block of rows: (first row, rows)."""
        for start, count, rows in split(height, HEIGHT):
            with loop(self.builder, count) as number:
                yield self.builder.add(size(start), self.builder.mul(number, size(rows))), rows

    def copy_a(self, i: Any, height: int) -> None:
        """The rows of each tile, side by side."""
        for row, rows in self.tile_rows(height):
            source = self.at(self.a, self.p, self.a_step, self.builder.add(i, row))
            target = self.tiles.at(self.builder, self.block_a, self.builder.mul(row, self.depth))
            self.builder.call(
                self.tiles.copy(rows), [source, target, size(self.a_step), self.depth]
            )

    def emit_panels(self, i: Any, height: int) -> None:
        build, b_row = self.builder, self.layout.b_row
        for start, count, columns in pieces(self.sizes[1], self.width):
            with loop(build, count) as number:
                j = build.add(size(start), build.mul(number, size(columns)))
                step = b_row
                if self.layout.b_transposed:
                    panel = self.at(self.b, j, b_row, self.p)
                else:
                    panel = self.at(self.b, self.p, b_row, j)
                if self.copies_b:
                    copy = self.tiles.pack if self.layout.b_transposed else self.tiles.copy
                    build.call(copy(columns), [panel, self.panel, size(b_row), self.depth])
                    panel, step = self.panel, columns
                for row, rows in self.tile_rows(height):
                    self.emit_tile(i, row, j, (rows, columns), (panel, step))

    def emit_tile(
        self, i: Any, row: Any, j: Any, shape: tuple[int, int], panel: tuple[Any, int]
    ) -> None:
        build, c_row = self.builder, self.layout.c_row
        if self.copies_a:
            a = self.tiles.at(build, self.block_a, build.mul(row, self.depth))
            strides = (1, shape[0])
        else:
            start = build.mul(self.p, size(self.a_step))
            a = self.at(self.a, build.add(i, row), self.a_row, start)
            strides = (self.a_row, self.a_step)
        c = self.at(self.c, build.add(i, row), c_row, j)
        steps = map(size, (*strides, panel[1], c_row))
        build.call(self.tiles.tile(*shape), [a, panel[0], c, *steps, self.depth, self.add])


def split(n: int, most: int) -> list[tuple[int, int, int]]:
    """Parts of nearly equal size that are no larger than ``most``: (start, count, size)."""
    parts = -(-n // most)
    small, n_large = divmod(n, parts)
    groups = [(0, n_large, small + 1), (n_large * (small + 1), parts - n_large, small)]
    return [group for group in groups if group[1]]


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
    count: int, sizes: tuple[int, int, int], tiles: Tiles, a_transposed: bool, tail_work: int = 0
) -> Pieces:
    """Pieces whose part of A stays in the second cache; chunks of some 10 us.

    The longer side is cut first; but a transposed A is copied for each of the columns of pieces.
    """
    m, n, k = sizes
    item = tiles.dtype.itemsize
    work = m * n * k + MOVE * (m * k + k * n + m * n)
    n_chunks = max(1, min((count * work + MAP * tail_work) // GRAIN, MAX_CHUNKS))
    wanted = -(-n_chunks // count)
    height = max(1, -(-m * min(k, INNER) * item // FAR))  # rows of pieces, and columns of them
    most = max(height, m // LEAST_ROWS), max(1, n // LEAST_COLUMNS)
    if (a_transposed or tail_work) and most[0] >= ENOUGH:
        most = most[0], 1
    if n >= m and not a_transposed:
        width = min(-(-wanted // height), most[1])
        height = max(height, min(-(-wanted // width), most[0]))
    else:
        height = max(height, min(wanted, most[0]))
        width = min(-(-wanted // height), most[1])
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
        left, a_transposed = matrix(plan, x1)
        right, b_transposed = matrix(plan, x2)
        m, k = (1, x1.type.shape[0]) if x1.type.ndim == 1 else x1.type.shape[-2:]
        n = 1 if x2.type.ndim == 1 else x2.type.shape[-1]
        self.shape = np.broadcast_shapes(x1.type.shape[:-2], x2.type.shape[:-2])
        self.count = int(np.prod(self.shape))
        is_joint = self.count == x1.type.size // max(m * k, 1) and x2.type.ndim <= 2
        if is_joint and not a_transposed:
            m, self.count = m * self.count, 1  # one matrix for the whole stack
        if n == 1:  # a row vector times the transposed matrix
            left, a_transposed, right, b_transposed = (
                right,
                not b_transposed,
                left,
                not a_transposed,
            )
            x1, x2, m, n = x2, x1, n, m
        self.types = x1.type, x2.type
        self.operands = [left, right]
        self.sizes = m, n, k
        self.layout = Layout(
            m if a_transposed else k, k if b_transposed else n, n, a_transposed, b_transposed
        )
        tail_work = plan.work(tail) if tail else 0
        self.pieces = cut_product(self.count, self.sizes, self.tiles, a_transposed, tail_work)
        self.is_flat = tail is not None and tail.is_flat
        self.height = -(-m // self.pieces.rows)
        self.width = -(-n // self.pieces.columns)
        self.n_pieces = self.count * self.height * self.width
        self.n_chunks = -(-self.n_pieces // self.pieces.in_chunk)
        self.products = self.kinds_of_pieces()
        most = max(p.scratch_bytes for p, *_ in self.products)
        self.chunk_bytes = aligned(most) if most else 0
        self.scratch_bytes = self.chunk_bytes * self.n_chunks

    @property
    def key(self) -> Hashable:
        """Equal for two equations if their functions are."""
        return "product", self.types, self.sizes, self.layout

    def function(self, tail: Any, n_tail: int) -> Any:
        """``f(status, a, b, c, *operands of the tail, working memory, chunk)``.

        ``tail(status, *operands, first row, stop, first column, stop)`` follows each piece.
        """
        module = self.tiles.module
        kind = ir.FunctionType(ir.VoidType(), [POINTER] * (5 + n_tail) + [I64])
        function = ir.Function(module, kind, module.get_unique_name("products"))
        function.linkage = "internal"
        self.builder = ir.IRBuilder(function.append_basic_block("entry"))
        status, *self.places, scratch, chunk = function.args
        self.tail, self.tail_operands = tail, [status, *self.places[3:]]
        start = self.builder.mul(chunk, size(self.chunk_bytes))
        self.scratch = self.builder.gep(scratch, [start], source_etype=I8)
        first, stop = bounds(self.builder, self.n_pieces, self.pieces.in_chunk, chunk)
        if self.n_chunks == 1:
            first, stop = ZERO, self.n_pieces
        with loop(self.builder, stop, start=first) as number:
            self.emit_piece(number)
        self.builder.ret_void()
        return function

    def kinds_of_pieces(self) -> list[tuple[Product, bool, bool]]:
        """The products of whole pieces and of those at the ends: (product, last row, column)."""
        m, n, k = self.sizes
        rows, columns, _ = self.pieces
        heights = [(rows, False)] * (self.height > 1) + [(m - (self.height - 1) * rows, True)]
        widths = [(columns, False)] * (self.width > 1) + [(n - (self.width - 1) * columns, True)]
        return [
            (Product(self.tiles, (height, width, k), self.layout), is_bottom, is_right)
            for height, is_bottom in heights
            for width, is_right in widths
        ]

    def emit_piece(self, number: Any) -> None:
        build, (m, n, k), layout = self.builder, self.sizes, self.layout
        item = self.tiles.dtype.itemsize
        i, piece = self.divided(number, self.height * self.width)
        row, column = self.divided(piece, self.width)
        a = self.member(0, i, m * k * item)
        b = self.member(1, i, k * n * item)
        c = build.gep(self.places[2], [build.mul(i, size(m * n * item))], source_etype=I8)
        first_row = build.mul(row, size(self.pieces.rows))
        first_column = build.mul(column, size(self.pieces.columns))
        a = self.at(a, first_row, 1 if layout.a_transposed else layout.a_row)
        b = self.at(b, first_column, layout.b_row if layout.b_transposed else 1)
        c = self.tiles.at(build, self.at(c, first_row, layout.c_row), first_column)
        is_bottom = build.icmp_signed("==", row, size(self.height - 1))
        is_right = build.icmp_signed("==", column, size(self.width - 1))
        for product, bottom, right in self.products:
            flags = [
                is_last if wanted else build.not_(is_last)
                for is_last, wanted in ((is_bottom, bottom), (is_right, right))
            ]
            with build.if_then(build.and_(*flags)):
                build.call(product.function(), [a, b, c, self.scratch])
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

    def member(self, operand: int, i: Any, n_bytes: int) -> Any:
        """Pointer to the matrix of an operand for number ``i`` of the broadcast stack."""
        builder, base, shape = self.builder, self.places[operand], self.types[operand].shape[:-2]
        if int(np.prod(shape)) == 1 or self.count == 1:
            return base
        position: Any = ZERO
        rest, strides = i, np.cumprod((1, *shape[::-1]))[:-1][::-1]
        indices = []
        for n in reversed(self.shape):
            rest, index = self.divided(rest, n)
            indices.append(index)
        own = indices[::-1][len(self.shape) - len(shape) :]
        for n, stride, k in zip(shape, strides, own, strict=True):
            if n != 1:
                position = builder.add(position, builder.mul(k, size(int(stride))))
        return builder.gep(base, [builder.mul(position, size(n_bytes))], source_etype=I8)


def matrix(plan: Schedule, operand: Operand) -> tuple[Variable, bool]:
    """Where an operand is in memory, and whether that is the transposed matrix."""
    assert isinstance(operand, Variable), "literals are scalars"
    if operand in plan.in_memory:
        return operand, False
    source = plan.makers[operand].inputs[0]
    assert isinstance(source, Variable), "literals are scalars"
    return source, True

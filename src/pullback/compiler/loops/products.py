"""Matrix products: tiles in registers.

A product is cut into panels: a few columns of a block of B, which stay in the nearest cache while
all rows of A are multiplied with them. What a tile would read at large strides is copied first.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from pullback.compiler.llvm.builder import I8, I64, ir, loop, unoptimized
from pullback.compiler.llvm.tiles import Tiles, size
from pullback.compiler.schedule.chunks import chunk_length

__all__ = [
    "FEW",
    "INNER",
    "STRIP",
    "Blocks",
    "Layout",
    "Product",
    "blocks_of",
    "needs_copy",
    "needs_copy_of_b",
    "panel_width",
    "part",
    "pieces",
    "split",
    "tile_rows",
]

INNER = 256  # numbers of the inner dimension in a block: a panel takes two vectors for each
ROWS = 144  # of a block of A with so many numbers in a row
FEW = 4  # rows of C, for which memory is the limit: its pages are read from end to end
STRIP = 32  # rows of B that are read together for them
LARGE = 1 << 18  # bytes of C, for which deeper blocks pay
MUCH = 256  # columns that are worth a copy of A
NEAR = 24 << 10  # bytes that are read at any stride without loss
SPREAD_A = 1 << 17  # bytes of rows, of each of which a tile reads a few numbers without loss
SPREAD_B = 1 << 16  # and a panel some vectors, if there are fewer


class Layout(NamedTuple):
    """Where the matrices of a product lie: numbers between rows, and whether they are transposed.

    ``a_row`` and ``b_row`` are those of the matrices as they lie in memory.
    """

    a_row: int
    b_row: int
    c_row: int
    a_transposed: bool
    b_transposed: bool


class Blocks(NamedTuple):
    """How a product is cut for the caches.

    Numbers of the inner dimension, rows of A, which stay in the second cache, and bytes of the copy
    of some columns of B.
    """

    inner: int
    rows: int
    strip_bytes: int


def blocks_of(sizes: tuple[int, int, int], item: int) -> Blocks:
    """Blocks of a product of these sizes: deeper where C is large, which each of them adds to."""
    m, n, k = sizes
    if m <= FEW and n > MUCH:
        return Blocks(split(k, STRIP)[0][2] if k else 1, ROWS, 1 << 17)
    is_large = m > ROWS and m * n * item >= LARGE
    depth, *others = (8 * INNER, 48, 1 << 20) if is_large else (INNER, ROWS, 1 << 17)
    return Blocks(split(k, depth)[0][2] if k else 1, *others)


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
        blocks: Blocks,
        shared: tuple[bool, bool] = (False, False),
    ) -> None:
        self.tiles = tiles
        self.sizes = sizes
        m, n, _ = sizes
        self.layout = layout
        self.shared = shares_a, shares_b = shared
        self.a_row, self.a_step = (1, layout.a_row) if layout.a_transposed else (layout.a_row, 1)
        item = tiles.dtype.itemsize
        self.blocks, self.inner = blocks, blocks.inner
        self.rows = part(m, -(-m // blocks.rows), tiles.height)  # of a block
        self.width = panel_width(tiles, tiles.height if shares_b else m)
        self.copies_a = shares_a or needs_copy(sizes, layout, item, blocks)
        self.copies_b = shares_b or needs_copy_of_b(sizes, layout, item, blocks, tiles.height)
        self.is_dots = m == self.a_step == 1 and layout.b_transposed and not any(shared)
        is_read_once = self.rows == m and not any(shared) and not self.copies_a
        at_once = 1 if is_read_once else blocks.strip_bytes // (self.width * self.inner * item)
        self.strip = self.width * max(1, at_once)
        strip = min(n, self.strip) * self.inner
        self.strip_bytes = strip * item if self.copies_b and not shares_b else 0
        a_bytes = self.rows * self.inner * item if self.copies_a and not shares_a else 0
        self.scratch_bytes = 0 if self.is_dots else self.strip_bytes + a_bytes

    def new(self, name: str, n_pointers: int, others: list[Any]) -> tuple[Any, bool]:
        """A function of this product, and whether it is new."""
        parts = [*self.sizes, *map(int, (*self.layout, *self.shared)), *self.blocks]
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
        """Rows of A, or columns of B, and how many of them are a part of its copy: not all."""
        m, n, _ = self.sizes
        if operand:
            return n, min(self.strip, chunk_length(n, 2, self.width))
        return m, self.rows

    def n_shares(self, operand: int) -> int:
        """Parts of the copy of A or B."""
        length, most = self.parts(operand)
        return -(-length // most) * -(-self.sizes[2] // self.inner)

    def share(self, operand: int, prologue: Any = None) -> Any:
        """``share(a, copy, number)``: one of the parts of the copy of A, or of B.

        A ``prologue`` computes what is copied: a function of where it finds its operands, here
        ``a``, the first row and column, how many of either, and the copy.
        """
        name = f"share_{'ab'[operand]}{f'_{prologue.name}' if prologue else ''}"
        function, is_new = self.new(name, 2, [I64])
        if is_new:
            unoptimized(function)
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
                    (self.copy_b if operand else self.copy_a)(i, height, target, prologue)
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
        for start, count, rows in pieces(n, 8):
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

    def copy_a(self, i: Any, height: int, target: Any, prologue: Any = None) -> None:
        """Rows of A one behind the other; of a transposed A, the rows of a tile side by side."""
        build = self.builder
        if prologue:
            build.call(prologue, [self.a, i, self.p, size(height), self.depth, target])
            return
        if not self.layout.a_transposed:
            source = self.at(self.a, i, self.a_row, self.p)
            sizes = size(self.a_row), self.depth, self.depth, size(height)
            build.call(self.tiles.gather(), [source, target, *sizes])
            return
        for start, count, rows in split(height, self.tiles.height):
            source = self.at(self.a, self.p, self.a_step, build.add(i, size(start)))
            place = self.tiles.at(build, target, build.mul(self.depth, size(start)))
            steps = size(self.a_step), self.depth, size(count)
            build.call(self.tiles.copy(rows), [source, place, *steps])

    def copy_b(self, j: Any, columns: int, target: Any, prologue: Any = None) -> None:
        """The columns of each panel, side by side."""
        build, b_row = self.builder, self.layout.b_row
        for start, count, width in pieces(columns, self.width):
            first = build.add(j, size(start))
            panels = self.tiles.at(build, target, build.mul(self.depth, size(start)))
            if prologue or self.layout.b_transposed:
                with loop(build, count) as number:
                    column = build.mul(number, size(width))
                    place = self.tiles.at(build, panels, build.mul(column, self.depth))
                    column = build.add(first, column)
                    if prologue:
                        where = self.p, column, self.depth, size(width)
                        build.call(prologue, [self.b, *where, place])
                    else:
                        source = self.at(self.b, column, b_row, self.p)
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
        for row, rows in tile_rows(build, height, self.tiles):
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


def needs_copy(sizes: tuple[int, int, int], layout: Layout, item: int, blocks: Blocks) -> bool:
    """Whether reading A in place is slower: what a tile reads of it lies apart."""
    m, n, k = sizes
    if layout.a_transposed and n <= MUCH:
        return n > 32 and blocks.inner * layout.a_row * item > SPREAD_A
    is_apart = n > MUCH and (layout.a_transposed or blocks.inner < k)
    return is_apart and m * blocks.inner * item > NEAR


def needs_copy_of_b(
    sizes: tuple[int, int, int], layout: Layout, item: int, blocks: Blocks, height: int
) -> bool:
    """Whether the rows of a panel of B lie too far apart to stay in the nearest cache."""
    is_apart = blocks.inner * layout.b_row * item >= SPREAD_B
    return layout.b_transposed or (is_apart and sizes[0] > 4 * height)


def split(n: int, most: int) -> list[tuple[int, int, int]]:
    """Parts of nearly equal size that are no larger than ``most``: (start, count, size)."""
    parts = -(-n // most)
    small, n_large = divmod(n, parts)
    groups = [(0, n_large, small + 1), (n_large * (small + 1), parts - n_large, small)]
    return [group for group in groups if group[1]]


def tile_rows(builder: ir.IRBuilder, n: int, tiles: Tiles) -> Iterator[tuple[Any, int]]:
    """Loops over the tiles of ``n`` rows: (first row, rows)."""
    for start, count, height in split(n, tiles.height):
        with loop(builder, count) as number:
            yield builder.add(size(start), builder.mul(number, size(height))), height


def pieces(n: int, most: int) -> list[tuple[int, int, int]]:
    """Parts of size ``most`` and the rest: (start, count, size)."""
    whole, rest = divmod(n, most)
    groups = [(0, whole, most), (whole * most, 1, rest)]
    return [group for group in groups if group[1] and group[2]]


def part(n: int, count: int, multiple: int) -> int:
    """The length of ``count`` parts: of equal ones if they can be, which share their code."""
    return chunk_length(n, count, multiple) if n % count else n // count


def panel_width(tiles: Tiles, m: int) -> int:
    """Columns of a panel: few rows leave registers for more of them."""
    rows = split(m, tiles.height)[0][2]
    return tiles.lanes * tiles.processor.tiles[rows - 1]

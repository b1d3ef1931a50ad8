"""Matrix products: loops over blocks and panels, around tiles in registers; see ``tiling.py``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pullback.compiler.llvm.builder import I8, I64, ir, loop, unoptimized
from pullback.compiler.llvm.tiles import Tiles, size
from pullback.compiler.schedule.tiling import ProductTiling, pieces, split

__all__ = ["Product", "tile_rows"]


class Product:
    """A product of matrices, as its tiling says.

    :meth:`share` makes the copies that several products read.
    """

    def __init__(self, tiles: Tiles, tiling: ProductTiling) -> None:
        self.tiles = tiles
        self.tiling = tiling
        self.sizes, self.layout, self.inner = tiling.sizes, tiling.layout, tiling.inner

    def new(self, name: str, n_pointers: int, others: list[Any]) -> tuple[Any, bool]:
        """A function of this product, and whether it is new."""
        parts = [*self.sizes, *map(int, (*self.layout, *self.tiling.shared)), *self.tiling.blocks]
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
            self.block_a = self.builder.gep(
                self.panel, [size(self.tiling.strip_bytes)], source_etype=I8
            )
            if self.tiling.is_dots:
                self.emit_dots()
            else:
                self.emit_blocks()
            self.builder.ret_void()
        return function

    def share(self, operand: int, prologue: Any = None) -> Any:
        """``share(a, copy, number)``: one of the parts of the copy of A, or of B.

        A ``prologue`` computes what is copied: a function of where it finds its operands, here
        ``a``, the first row and column, how many of either, and the copy.
        """
        name = f"share_{'ab'[operand]}{f'_{prologue.name}' if prologue else ''}"
        function, is_new = self.new(name, 2, [I64])
        if is_new:
            unoptimized(function)
            build, (length, most) = self.builder, self.tiling.parts(operand)
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
        build, (length, _) = self.builder, self.tiling.parts(operand)
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
            for first, n_strips, columns in pieces(
                n, self.tiling.strip if self.tiling.copies_b else n
            ):
                with loop(build, n_strips) as strip:
                    j = build.add(size(first), build.mul(strip, size(columns)))
                    if self.tiling.copies_b and not self.tiling.shared[1]:
                        self.copy_b(j, columns, self.panel)
                    for start, count, height in pieces(m, self.tiling.rows):
                        with loop(build, count) as number:
                            i = build.add(size(start), build.mul(number, size(height)))
                            if self.tiling.copies_a and not self.tiling.shared[0]:
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
            source = self.at(self.a, i, self.tiling.a_row, self.p)
            sizes = size(self.tiling.a_row), self.depth, self.depth, size(height)
            build.call(self.tiles.gather(), [source, target, *sizes])
            return
        for start, count, rows in split(height, self.tiles.height):
            source = self.at(self.a, self.p, self.tiling.a_step, build.add(i, size(start)))
            place = self.tiles.at(build, target, build.mul(self.depth, size(start)))
            steps = size(self.tiling.a_step), self.depth, size(count)
            build.call(self.tiles.copy(rows), [source, place, *steps])

    def copy_b(self, j: Any, columns: int, target: Any, prologue: Any = None) -> None:
        """The columns of each panel, side by side."""
        build, b_row = self.builder, self.layout.b_row
        for start, count, width in pieces(columns, self.tiling.width):
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
        for start, count, width in pieces(n, self.tiling.width):
            with loop(build, count) as number:
                column = build.add(size(start), build.mul(number, size(width)))
                first, step = build.add(j, column), width
                if self.tiling.shared[1]:
                    panel = self.copied(1, self.b, first)
                elif self.tiling.copies_b:
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
        if not self.tiling.copies_a:
            place = build.mul(self.p, size(self.tiling.a_step))
            a = self.at(self.a, build.add(i, row), self.tiling.a_row, place)
            return a, (size(self.tiling.a_row), size(self.tiling.a_step))
        if self.tiling.shared[0]:
            a = self.copied(0, self.a, build.add(i, row))
        else:
            a = self.tiles.at(build, self.block_a, build.mul(row, self.depth))
        return a, ((size(1), size(rows)) if self.layout.a_transposed else (self.depth, size(1)))


def tile_rows(builder: ir.IRBuilder, n: int, tiles: Tiles) -> Iterator[tuple[Any, int]]:
    """Loops over the tiles of ``n`` rows: (first row, rows)."""
    for start, count, height in split(n, tiles.height):
        with loop(builder, count) as number:
            yield builder.add(size(start), builder.mul(number, size(height))), height

"""Matrix products: tiles in registers for small matrices, OpenBLAS for large ones.

A product is cut into panels: a few columns of a block of B, which stay in the nearest cache while
all rows of A are multiplied with them. What a tile would read at large strides is copied first.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from pullback.compile.ir import I8, I32, I64, POINTER, ir, loop, scalar_type
from pullback.compile.tiles import Tiles, size
from pullback.core.graph import Equation, Literal, Variable
from pullback.core.types import ArrayType

if TYPE_CHECKING:
    from pullback.compile.program import FunctionEmitter

__all__ = ["emit_matmul"]

INNER = 256  # numbers of the inner dimension in a block: a panel takes 16 KiB
HEIGHT = 6  # rows of a tile
ROWS = 16 * HEIGHT  # rows of a block of a transposed A, which is copied
LARGE = 1 << 23  # multiplications
NEAR = 24 << 10  # bytes that are read at any stride without loss


class Product:
    """A product of matrices of fixed sizes; it takes ``scratch_bytes`` of working memory."""

    def __init__(
        self,
        tiles: Tiles,
        sizes: tuple[int, int, int],
        a_transposed: bool,
        b_transposed: bool,
    ) -> None:
        self.tiles = tiles
        self.sizes = m, n, k = sizes
        self.a_transposed, self.b_transposed = a_transposed, b_transposed
        self.a_row, self.a_step = (1, m) if a_transposed else (k, 1)
        item = tiles.dtype.itemsize
        self.inner = split(k, INNER)[0][2] if k else 1
        height = split(m, HEIGHT)[0][2]
        self.width = tiles.lanes * {1: 8, 2: 4, 3: 3}.get(height, 2)
        self.copies_a = a_transposed and m * self.inner * item > NEAR and n > 2 * self.width
        self.copies_b = b_transposed or (self.inner * n * item > NEAR and m > 4 * HEIGHT)
        self.is_dots = m == 1 and b_transposed
        self.panel_bytes = self.width * self.inner * item if self.copies_b else 0
        a_bytes = min(m, ROWS) * self.inner * item if self.copies_a else 0
        self.scratch_bytes = 0 if self.is_dots else self.panel_bytes + a_bytes

    def function(self) -> Any:
        """``product(a, b, c, scratch)``."""
        m, n, k = self.sizes
        layout = "nt"[self.a_transposed] + "nt"[self.b_transposed]
        function, is_new = self.tiles.function(f"product_{m}_{n}_{k}_{layout}", 4, [])
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
        for start, count, rows in split(n, 8):
            with loop(self.builder, count) as i:
                j = self.builder.add(size(start), self.builder.mul(i, size(rows)))
                self.builder.call(
                    self.tiles.dots(rows),
                    [
                        self.a,
                        self.at(self.b, j, k, size(0)),
                        self.at(self.c, j, 1, size(0)),
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
        m = self.sizes[0]
        for row, rows in self.tile_rows(height):
            source = self.at(self.a, self.p, m, self.builder.add(i, row))
            target = self.tiles.at(self.builder, self.block_a, self.builder.mul(row, self.depth))
            self.builder.call(self.tiles.copy(rows), [source, target, size(m), self.depth])

    def emit_panels(self, i: Any, height: int) -> None:
        build, (_, n, k) = self.builder, self.sizes
        for start, count, columns in pieces(n, self.width):
            with loop(build, count) as number:
                j = build.add(size(start), build.mul(number, size(columns)))
                if self.b_transposed:
                    panel, step = self.at(self.b, j, k, self.p), k
                else:
                    panel, step = self.at(self.b, self.p, n, j), n
                if self.copies_b:
                    copy = self.tiles.pack if self.b_transposed else self.tiles.copy
                    build.call(copy(columns), [panel, self.panel, size(step), self.depth])
                    panel, step = self.panel, columns
                for row, rows in self.tile_rows(height):
                    self.emit_tile(i, row, j, (rows, columns), (panel, step))

    def emit_tile(
        self, i: Any, row: Any, j: Any, shape: tuple[int, int], panel: tuple[Any, int]
    ) -> None:
        build, n = self.builder, self.sizes[1]
        if self.copies_a:
            a = self.tiles.at(build, self.block_a, build.mul(row, self.depth))
            strides = (1, shape[0])
        else:
            start = build.mul(self.p, size(self.a_step))
            a = self.at(self.a, build.add(i, row), self.a_row, start)
            strides = (self.a_row, self.a_step)
        c = self.at(self.c, build.add(i, row), n, j)
        steps = map(size, (*strides, panel[1], n))
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


# -- equations --------------------------------------------------------------------------------
def emit_matmul(emitter: FunctionEmitter, equation: Equation) -> None:
    """A product for every matrix of the stack; transposed operands are read in place."""
    x1, x2 = equation.inputs
    (out,) = equation.outputs
    left, a_transposed = matrix(emitter, x1)
    right, b_transposed = matrix(emitter, x2)
    m, k = (1, x1.type.shape[0]) if x1.type.ndim == 1 else x1.type.shape[-2:]
    n = 1 if x2.type.ndim == 1 else x2.type.shape[-1]
    stack = np.broadcast_shapes(x1.type.shape[:-2], x2.type.shape[:-2])
    count, small = int(np.prod(stack)), is_small(m, n, k)
    if count == x1.type.size // max(m * k, 1) and not a_transposed and x2.type.ndim <= 2:
        m, count = m * count, 1  # one matrix for the whole stack
    if n == 1:  # a row vector times the transposed matrix
        left, a_transposed, right, b_transposed = right, b_transposed, left, not a_transposed
        x1, x2, m, n = x2, x1, n, m
    item = out.type.dtype.itemsize
    if not out.type.size:
        return
    builder = emitter.builder
    with loop(builder, count) as i:
        c = emitter.offset(emitter.address(out), builder.mul(i, size(m * n * item)))
        a = member(emitter, left, x1.type, stack, i, m * k * item) if count > 1 else left
        b = member(emitter, right, x2.type, stack, i, k * n * item) if count > 1 else right
        sizes = (m, n, k)
        if small:
            tiles = Tiles(emitter.program.module, out.type.dtype)
            product = Product(tiles, sizes, a_transposed, b_transposed)
            scratch = emitter.scratch(product.scratch_bytes)
            builder.call(product.function(), [a, b, c, scratch])
        else:
            gemm(builder, out.type.dtype, sizes, (a, a_transposed), (b, b_transposed), c)


def is_small(m: int, n: int, k: int) -> bool:
    """Whether tiles are used rather than BLAS, which has threads.

    Threads that spin for each other cost more than they save in products of 0.1 ms, above all where
    another process needs the processor. A vector waits for the matrix, which BLAS copies first.
    """
    return min(m, n) <= HEIGHT or m * n * k <= LARGE


def matrix(emitter: FunctionEmitter, operand: Variable | Literal) -> tuple[Any, bool]:
    """Memory of an operand, and whether it holds the transposed matrix."""
    plan = emitter.plan
    if isinstance(operand, Variable) and operand not in plan.in_memory:
        return emitter.address(plan.makers[operand].inputs[0]), True
    return emitter.address(operand), False


def member(
    emitter: FunctionEmitter,
    base: Any,
    type: ArrayType,
    stack: tuple[int, ...],
    i: Any,
    n_bytes: int,
) -> Any:
    """Pointer to the matrix of an operand for number ``i`` of the broadcast stack."""
    builder, shape = emitter.builder, type.shape[:-2]
    if int(np.prod(shape)) == 1:
        return base
    position: Any = size(0)
    rest, strides = i, np.cumprod((1, *shape[::-1]))[:-1][::-1]
    indices = []
    for n in reversed(stack):
        indices.append(builder.srem(rest, size(n)))
        rest = builder.sdiv(rest, size(n))
    for n, stride, k in zip(shape, strides, indices[::-1][len(stack) - len(shape) :], strict=True):
        if n != 1:
            position = builder.add(position, builder.mul(k, size(int(stride))))
    return emitter.offset(base, builder.mul(position, size(n_bytes)))


def gemm(
    builder: ir.IRBuilder,
    dtype: np.dtype[Any],
    sizes: tuple[int, int, int],
    a: tuple[Any, bool],
    b: tuple[Any, bool],
    c: Any,
) -> None:
    """Call ``cblas_?gemm``."""
    real, (m, n, k) = scalar_type(dtype), sizes
    name = "cblas_dgemm" if dtype.itemsize == 8 else "cblas_sgemm"
    matrix, scalar = [POINTER, I64], [real]
    kinds = [*[I32] * 3, *[I64] * 3, *scalar, *matrix, *matrix, *scalar, *matrix]
    module = builder.module
    target = module.globals.get(name) or ir.Function(
        module, ir.FunctionType(ir.VoidType(), kinds), name
    )
    row_major, plain, transposed = (ir.Constant(I32, code) for code in (101, 111, 112))
    flags = [transposed if is_transposed else plain for _, is_transposed in (a, b)]
    steps = [size(m if a[1] else k), size(k if b[1] else n)]
    one, zero = (ir.Constant(real, value) for value in (1.0, 0.0))
    operands = [one, a[0], steps[0], b[0], steps[1], zero, c, size(n)]
    builder.call(target, [row_major, *flags, *map(size, sizes), *operands])

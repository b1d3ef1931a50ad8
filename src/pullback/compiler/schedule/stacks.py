"""How a stack of matrix products is cut into pieces, for the threads.

Operands are read where they lie, also if they are transposed there, or heads of one matrix. What
several pieces read at large strides is copied once for all of them, before the first.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from pullback.compiler.schedule.chunks import chunk_length
from pullback.compiler.schedule.convolutions import image_tiling
from pullback.compiler.schedule.questions import is_float_product
from pullback.compiler.schedule.steps import Chain, Product, Schedule, Step, aligned
from pullback.compiler.schedule.tiling import (
    FEW,
    MAX_COPYING,
    STRIP,
    Layout,
    ProductTiling,
    TileShape,
    blocks_of,
    needs_copy,
    needs_copy_of_b,
    part,
    tile_shape,
)
from pullback.core.graph import Operand, Variable

__all__ = ["StackTiling", "stored", "tile_products"]

GRAIN = 1 << 17  # multiplications of a chunk
MOVE = 4  # multiplications in the time in which a number is moved
READ, COPY = 2, 8  # and is read again, or copied
SHARED = 2.5  # as much for a copy that more pieces share: it is written to memory, and read
MAP = 5  # and in that of an operation of a map
LEAST_COLUMNS = 32  # of a piece of many
LONG = 512  # columns of a piece with few rows
FAR = 1 << 21  # bytes that are no longer in the second cache
LEAST_DEPTH, PARTS = 128, 8  # of a long inner dimension
SEAM = 1000  # and in that in which a map moves on to another row
PIECE = 1 << 14  # and in that in which a thread takes a piece
BALANCE = 8  # threads wait at the end for a part of a piece


class Pieces(NamedTuple):
    """How a stack of products is cut: rows, columns and depth of a piece, and pieces in a chunk."""

    rows: int
    columns: int
    depth: int
    in_chunk: int


def cut_product(
    count: int,
    sizes: tuple[int, int, int],
    layout: Layout,
    tiles: TileShape,
    item: int,
    tail_work: int,
    has_prologue: bool = False,
) -> Pieces:
    """Pieces of rows and columns: many, if what they copy of the operands costs less.

    Pieces of the same rows share a copy of A, those of the same columns one of B.
    """
    m, n, k = sizes
    work = m * n * k + MOVE * (m * k + k * n + m * n)
    n_chunks = max(1, min((count * work + MAP * tail_work) // GRAIN, MAX_COPYING))
    most = -(-n_chunks // count)
    may_split = count == 1 and not has_prologue
    depth = cut_inner(sizes, layout, item, n_chunks) if may_split else k
    if depth < k:
        return Pieces(m, n, depth, 1)
    blocks = blocks_of(sizes, item)
    copied_a = m * k if needs_copy(sizes, layout, item, blocks) else 0
    copied_b = k * n if needs_copy_of_b(sizes, layout, item, blocks, tiles.height) else 0

    def cost(grid: tuple[int, int]) -> float:
        height, width = grid
        read = width * m * k + height * k * n
        copied = copied_a * min(width, SHARED) + copied_b * min(height, SHARED)
        rows = m * (width - 1) if tail_work else 0
        n_pieces = height * width
        waiting = work / (2 + BALANCE * (n_pieces - 1))
        return READ * read + COPY * copied + SEAM * rows + PIECE * n_pieces + waiting

    least = LEAST_COLUMNS if m > FEW else max(LEAST_COLUMNS, min(LONG, n // 2))
    halved = [1 << i for i in range(most.bit_length())]
    grids = [
        (height, width)
        for height, width in itertools.product(halved, halved)
        if height * width <= most
        if height <= max(1, m // tiles.height) and width <= max(1, n // least)
    ]
    height, width = min(grids, key=cost)
    rows = part(m, height, tiles.height)
    columns = n if width == 1 else chunk_length(n, width, tiles.lanes)
    pieces = count * -(-m // rows) * -(-n // columns)
    return Pieces(rows, columns, k, -(-pieces // n_chunks))


def cut_inner(sizes: tuple[int, int, int], layout: Layout, item: int, n_chunks: int) -> int:
    """The depth of pieces of a product, if adding them up costs less than others would.

    Few rows of C need every number of B once: pieces of columns would read parts of its rows. And
    few numbers of C cannot be cut.
    """
    m, n, k = sizes
    reads_rows = m <= FEW and not layout.b_transposed and k * n * item > FAR
    if reads_rows or (m == 1 and n < 2 * LEAST_COLUMNS):
        return part(k, max(1, min(n_chunks, PARTS, k // LEAST_DEPTH)), STRIP)
    return k


class StackTiling:
    """The products of an equation: ``count`` of them, of the same sizes, and how they are cut.

    A transposed operand that has no memory is read in place, from what it transposes. A member of a
    chain is cut into the ``n_chunks`` of that.
    """

    def __init__(self, plan: Schedule, step: Product, n_chunks: int = 0) -> None:
        x1, x2 = step.equation.inputs
        (self.out,) = step.equation.outputs
        tail = step.tail
        left, right = view(plan, x1), view(plan, x2)
        m, k = (1, x1.type.shape[0]) if x1.type.ndim == 1 else x1.type.shape[-2:]
        item = self.out.type.dtype.itemsize
        self.tiles = tile_shape(plan.processor, item, k)
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
        if plan.is_alone:
            self.pieces = Pieces(m, n, k, self.count)
        elif not n_chunks:
            kind = self.sizes, self.layout, self.tiles, item
            self.pieces = cut_product(self.count, *kind, tail_work, bool(step.prologues))
        elif self.count == 1:  # rows of a matrix; times a vector, they are columns by now
            rows, columns = (m // n_chunks, n) if m > 1 else (m, n // n_chunks)
            self.pieces = Pieces(rows, columns, k, 1)
        else:
            self.pieces = Pieces(m, n, k, self.count // n_chunks)
        self.has_prologue = 0 in step.prologues, 1 in step.prologues
        self.is_flat = tail is not None and tail.is_flat
        self.height = -(-m // self.pieces.rows)
        self.width = -(-n // self.pieces.columns)
        self.depth = -(-k // self.pieces.depth) if k else 1
        self.n_pieces = self.count * self.height * self.width * self.depth
        self.n_chunks = -(-self.n_pieces // self.pieces.in_chunk)
        may_wait = not n_chunks  # the chunks of a chain do not, for each other's copies
        of_a, of_b = self.has_prologue
        self.blocks = blocks_of(self.sizes, item)
        known = self.sizes, self.layout, item, self.blocks
        copies_a = needs_copy(*known)
        copies_b = needs_copy_of_b(*known, self.tiles.height)
        self.is_shared = (
            of_a or (may_wait and self.width > SHARED and copies_a),
            of_b or (may_wait and self.height > SHARED and copies_b),
        )
        self.products = self.kinds_of_pieces()
        most = max(p.scratch_bytes for p, *_ in self.products)
        self.chunk_bytes = aligned(most) if most else 0
        self.shared_bytes = [
            aligned(self.count * length * k * item) if is_shared else 0
            for length, is_shared in zip((m, n), self.is_shared, strict=True)
        ]
        self.scratch_bytes = sum(self.shared_bytes) + self.chunk_bytes * self.n_chunks
        if self.depth > 1:
            self.scratch_bytes += aligned(self.depth * m * n * item)

    @property
    def copies(self) -> list[str]:
        """The operands that are copied, and whether it is once for all pieces."""
        product, *_ = self.products[0]
        copied = ("A", product.copies_a), ("B", product.copies_b)
        return [
            f"{name} once" if is_shared else name
            for (name, is_copied), is_shared in zip(copied, self.is_shared, strict=True)
            if is_copied and not product.is_dots
        ]

    @property
    def key(self) -> Hashable:
        """Equal for two equations if their functions are."""
        return "product", self.types, self.strides, self.sizes, self.layout, self.pieces

    def tiling(
        self, sizes: tuple[int, int, int], shared: tuple[bool, bool] = (False, False)
    ) -> ProductTiling:
        """How a piece of these sizes is multiplied."""
        item = self.out.type.dtype.itemsize
        return ProductTiling(self.tiles, sizes, self.layout, self.blocks, item, shared)

    @property
    def n_shares(self) -> list[int]:
        """Parts in which A and B are copied."""
        product, *_ = self.products[0]
        return [
            self.count * n * product.n_shares(operand) if self.is_shared[operand] else 0
            for operand, n in enumerate((self.height, self.width))
        ]

    def kinds_of_pieces(self) -> list[tuple[ProductTiling, bool, bool]]:
        """The products of whole pieces and of those at the ends: (product, last row, column)."""
        m, n, k = self.sizes
        rows, columns, depth, _ = self.pieces
        if self.depth > 1:
            depths = (depth, False), (k - (self.depth - 1) * depth, True)
            return [(self.tiling((m, n, length)), is_last, is_last) for length, is_last in depths]
        heights = [(rows, False)] * (self.height > 1) + [(m - (self.height - 1) * rows, True)]
        widths = [(columns, False)] * (self.width > 1) + [(n - (self.width - 1) * columns, True)]
        return [
            (
                self.tiling((height, width, k), self.is_shared),
                bottom,
                right,
            )
            for height, bottom in heights
            for width, right in widths
        ]


def tile_products(plan: Schedule) -> Schedule:
    """Choose how matrix products are cut, those of chains into the chunks of these."""

    def tiled(step: Step, n_chunks: int = 0) -> Step:
        if isinstance(step, Chain):
            members = [tiled(member, step.n_chunks) for member in step.members]
            return replace(step, members=tuple(members))
        if not isinstance(step, Product) or not step.outputs[0].type.size:
            return step
        if is_float_product(step.equation):
            return replace(step, tiling=StackTiling(plan, step, n_chunks))
        return replace(step, tiling=image_tiling(plan, step.equation))

    plan.steps = [tiled(step) for step in plan.steps]
    return plan


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
    axes = tuple(range(operand.type.ndim))
    if operand in plan.in_memory:
        return operand, axes
    maker = plan.makers[operand]
    if maker.primitive.name != "transpose":  # a prologue, which has operands of its own
        return operand, axes
    (source,) = maker.inputs
    assert isinstance(source, Variable), "literals are scalars"
    return source, tuple(maker.params["axes"])

"""Matrix products of an equation: how a stack of them is cut into pieces, for the threads.

Operands are read where they lie, also if they are transposed there, or heads of one matrix. What
several pieces read at large strides is copied once for all of them, before the first.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable
from typing import Any, NamedTuple

import numpy as np

from pullback.compiler.llvm.builder import I1, I8, I64, POINTER, ZERO, Module, ir, loop, unoptimized
from pullback.compiler.llvm.tiles import Tiles, size
from pullback.compiler.loops.products import (
    FEW,
    STRIP,
    Layout,
    Product,
    blocks_of,
    needs_copy,
    needs_copy_of_b,
    panel_width,
    part,
    pieces,
)
from pullback.compiler.schedule.chunks import bounds, chunk_length
from pullback.compiler.schedule.plan import Schedule, Step, aligned
from pullback.core.graph import Operand, Variable

__all__ = ["MAX_CHUNKS", "Stack", "stored"]

GRAIN = 1 << 17  # multiplications of a chunk
MAX_CHUNKS = 16  # each copies its parts of the operands
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
    tiles: Tiles,
    tail_work: int,
    has_prologue: bool = False,
) -> Pieces:
    """Pieces of rows and columns: many, if what they copy of the operands costs less.

    Pieces of the same rows share a copy of A, those of the same columns one of B.
    """
    m, n, k = sizes
    work = m * n * k + MOVE * (m * k + k * n + m * n)
    n_chunks = max(1, min((count * work + MAP * tail_work) // GRAIN, MAX_CHUNKS))
    most = -(-n_chunks // count)
    item = tiles.dtype.itemsize
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


class Stack:
    """The products of an equation: ``count`` of them, of the same sizes.

    A transposed operand that has no memory is read in place, from what it transposes.
    """

    def __init__(self, module: Module, step: Step, plan: Schedule) -> None:
        x1, x2 = step.equation.inputs
        (self.out,) = step.equation.outputs
        tail = step.tail
        left, right = view(plan, x1), view(plan, x2)
        m, k = (1, x1.type.shape[0]) if x1.type.ndim == 1 else x1.type.shape[-2:]
        self.tiles = Tiles(module, self.out.type.dtype, k)
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
        elif not step.n_chunks:
            kind = self.sizes, self.layout, self.tiles
            self.pieces = cut_product(self.count, *kind, tail_work, bool(step.prologues))
        elif self.count == 1:  # rows of a matrix; times a vector, they are columns by now
            rows, columns = (m // step.n_chunks, n) if m > 1 else (m, n // step.n_chunks)
            self.pieces = Pieces(rows, columns, k, 1)
        else:
            self.pieces = Pieces(m, n, k, self.count // step.n_chunks)
        self.has_prologue = 0 in step.prologues, 1 in step.prologues
        self.is_flat = tail is not None and tail.is_flat
        self.height = -(-m // self.pieces.rows)
        self.width = -(-n // self.pieces.columns)
        self.depth = -(-k // self.pieces.depth) if k else 1
        self.n_pieces = self.count * self.height * self.width * self.depth
        self.n_chunks = -(-self.n_pieces // self.pieces.in_chunk)
        may_wait = not step.n_chunks  # the chunks of a chain do not, for each other's copies
        item, of_a, of_b = self.tiles.dtype.itemsize, *self.has_prologue
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

    def stages(
        self, tail: Any, n_tail: int, prologues: dict[int, tuple[Any, int]]
    ) -> list[tuple[Any, int]]:
        """Functions, one after the other, and their numbers of chunks.

        ``f(status, a, b, c, *operands of the tail, *of prologues, working memory, chunk)``;
        ``tail(status, *operands, first row, stop, first column, stop)`` follows each piece.
        ``prologues`` are functions and the numbers of their operands, by that of the product's.
        """
        n_others = n_tail + sum(n for _, n in prologues.values())
        self.tail, self.n_tail = tail, n_tail
        if self.depth > 1:
            return [(self.emit_parts(n_others), self.n_chunks), (self.emit_total(n_others), 1)]
        stages: list[tuple[Any, int]] = []
        if any(self.is_shared):
            self.prologues = {operand: function for operand, (function, _) in prologues.items()}
            stages.append((self.emit_shares(n_others, prologues), sum(self.n_shares)))
        return [*stages, (self.emit_products(n_others), self.n_chunks)]

    def enter(self, name: str, n_others: int) -> tuple[Any, Any]:
        """Begin a function; it and its chunk."""
        module = self.tiles.module
        kind = ir.FunctionType(ir.VoidType(), [POINTER] * (5 + n_others) + [I64])
        function = ir.Function(module, kind, module.get_unique_name(name))
        function.linkage = "internal"
        unoptimized(function)
        self.builder = ir.IRBuilder(function.append_basic_block("entry"))
        self.status, *self.places, self.shared, chunk = function.args
        return function, chunk

    def emit_products(self, n_others: int) -> Any:
        function, chunk = self.enter("products", n_others)
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

    def emit_parts(self, n_others: int) -> Any:
        """Pieces of the inner dimension, one after the other behind what these need."""
        function, part = self.enter("parts", n_others)
        build, (m, n, _), layout = self.builder, self.sizes, self.layout
        first = build.mul(part, size(self.pieces.depth))
        a = self.at(self.places[0], first, self.products[0][0].a_step)
        b = self.at(self.places[1], first, 1 if layout.b_transposed else layout.b_row)
        start = build.mul(part, size(self.chunk_bytes))
        operands = [a, b, self.at(self.partial, part, m * n)]
        operands.append(build.gep(self.shared, [start], source_etype=I8))
        is_last = build.icmp_signed("==", part, size(self.depth - 1))
        for product, is_rest, _ in self.products:
            with build.if_then(is_last if is_rest else build.not_(is_last)):
                build.call(product.function(), operands)
        build.ret_void()
        return function

    def emit_total(self, n_others: int) -> Any:
        """The sum of the pieces of the inner dimension."""
        function, _ = self.enter("total", n_others)
        m, n, _ = self.sizes
        self.emit_sums(m * n)
        if self.tail is not None:
            self.follow(ZERO, ZERO, m, n)
        self.builder.ret_void()
        return function

    def emit_sums(self, n: int) -> None:
        """Add up the rows of n numbers, as a product with ones."""
        build, module, kind = self.builder, self.tiles.module, ir.ArrayType(self.tiles.real, 1)
        one = ir.GlobalVariable(module, kind, module.get_unique_name("one"))
        one.linkage, one.global_constant, one.initializer = "internal", True, kind([1.0])
        for start, count, width in pieces(n, panel_width(self.tiles, 1)):
            with loop(build, count) as number:
                j = build.add(size(start), build.mul(number, size(width)))
                rows, c = (self.tiles.at(build, p, j) for p in (self.partial, self.places[2]))
                steps = ZERO, ZERO, size(n), ZERO, size(self.depth)
                build.call(self.tiles.tile(1, width), [one, rows, c, *steps, ir.Constant(I1, 0)])

    @property
    def partial(self) -> Any:
        """Where the pieces of the inner dimension are, one after the other."""
        start = size(self.chunk_bytes * self.n_chunks)
        return self.builder.gep(self.shared, [start], source_etype=I8)

    @property
    def n_shares(self) -> list[int]:
        """Parts in which A and B are copied."""
        product, *_ = self.products[0]
        return [
            self.count * n * product.n_shares(operand) if self.is_shared[operand] else 0
            for operand, n in enumerate((self.height, self.width))
        ]

    def emit_shares(self, n_others: int, prologues: dict[int, tuple[Any, int]]) -> Any:
        """Copy parts of A, then of B."""
        function, number = self.enter("shares", n_others)
        build, (of_a, _) = self.builder, self.n_shares
        self.contexts: dict[int, Any] = {}
        start = 3 + self.n_tail
        for operand, (_, n) in prologues.items():
            self.contexts[operand] = self.emit_context(self.places[start : start + n])
            start += n
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
                    build.call(
                        product.share(operand, self.prologues.get(operand)), [*operands, part]
                    )

    def emit_context(self, pointers: list[Any]) -> Any:
        """What a prologue is called with: the piece, the status, and its operands."""
        context = self.builder.alloca(POINTER, 2 + len(pointers))
        for k, pointer in enumerate((self.status, *pointers), 1):
            place = self.builder.gep(context, [size(k)], source_etype=POINTER)
            self.builder.store(pointer, place)
        return context

    def piece_of(self, operand: int, i: Any, place: Any) -> Any:
        """Where the rows of A, or the columns of B, start that a piece multiplies.

        Of a prologue, its context, in which their number is.
        """
        layout, most = self.layout, self.pieces[operand]
        if self.has_prologue[operand]:
            self.builder.store(self.builder.mul(place, size(most)), self.contexts[operand])
            return self.contexts[operand]
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
        rows, columns, depth, _ = self.pieces
        if self.depth > 1:
            depths = (depth, False), (k - (self.depth - 1) * depth, True)
            return [
                (Product(self.tiles, (m, n, length), self.layout, self.blocks), is_last, is_last)
                for length, is_last in depths
            ]
        heights = [(rows, False)] * (self.height > 1) + [(m - (self.height - 1) * rows, True)]
        widths = [(columns, False)] * (self.width > 1) + [(n - (self.width - 1) * columns, True)]
        return [
            (
                Product(self.tiles, (height, width, k), self.layout, self.blocks, self.is_shared),
                bottom,
                right,
            )
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
        operands = self.places[3 : 3 + self.n_tail]
        build.call(self.tail, [self.status, *operands, *rows, *columns])

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
    axes = tuple(range(operand.type.ndim))
    if operand in plan.in_memory:
        return operand, axes
    maker = plan.makers[operand]
    if maker.primitive.name != "transpose":  # a prologue, which has operands of its own
        return operand, axes
    (source,) = maker.inputs
    assert isinstance(source, Variable), "literals are scalars"
    return source, tuple(maker.params["axes"])

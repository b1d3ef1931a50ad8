"""Matrix products of an equation: the functions of their pieces, and of copies that these share."""

from __future__ import annotations

from typing import Any

import numpy as np

from pullback.compiler.llvm.builder import (
    I1,
    I8,
    I64,
    POINTER,
    ZERO,
    Module,
    bounds,
    ir,
    loop,
    unoptimized,
)
from pullback.compiler.llvm.tiles import Tiles, size
from pullback.compiler.loops.products import Product
from pullback.compiler.schedule.stacks import StackTiling
from pullback.compiler.schedule.tiling import panel_width, pieces

__all__ = ["Stack"]


class Stack:
    """The products of an equation, as their tiling says."""

    def __init__(self, module: Module, tiling: StackTiling) -> None:
        self.tiling = tiling
        self.tiles = Tiles(module, tiling.out.type.dtype, tiling.sizes[2])
        self.products = [
            (Product(self.tiles, one), bottom, right) for one, bottom, right in tiling.products
        ]

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
        if self.tiling.depth > 1:
            return [
                (self.emit_parts(n_others), self.tiling.n_chunks),
                (self.emit_total(n_others), 1),
            ]
        stages: list[tuple[Any, int]] = []
        if any(self.tiling.is_shared):
            self.prologues = {operand: function for operand, (function, _) in prologues.items()}
            stages.append((self.emit_shares(n_others, prologues), sum(self.tiling.n_shares)))
        return [*stages, (self.emit_products(n_others), self.tiling.n_chunks)]

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
        start = self.builder.mul(chunk, size(self.tiling.chunk_bytes))
        start = self.builder.add(start, size(sum(self.tiling.shared_bytes)))
        self.scratch = self.builder.gep(self.shared, [start], source_etype=I8)
        first, stop = bounds(self.builder, self.tiling.n_pieces, self.tiling.pieces.in_chunk, chunk)
        if self.tiling.n_chunks == 1:
            first, stop = ZERO, self.tiling.n_pieces
        with loop(self.builder, stop, start=first) as number:
            self.emit_piece(number)
        self.builder.ret_void()
        return function

    def emit_parts(self, n_others: int) -> Any:
        """Pieces of the inner dimension, one after the other behind what these need."""
        function, part = self.enter("parts", n_others)
        build, (m, n, _), layout = self.builder, self.tiling.sizes, self.tiling.layout
        first = build.mul(part, size(self.tiling.pieces.depth))
        a = self.at(self.places[0], first, self.products[0][0].tiling.a_step)
        b = self.at(self.places[1], first, 1 if layout.b_transposed else layout.b_row)
        start = build.mul(part, size(self.tiling.chunk_bytes))
        operands = [a, b, self.at(self.partial, part, m * n)]
        operands.append(build.gep(self.shared, [start], source_etype=I8))
        is_last = build.icmp_signed("==", part, size(self.tiling.depth - 1))
        for product, is_rest, _ in self.products:
            with build.if_then(is_last if is_rest else build.not_(is_last)):
                build.call(product.function(), operands)
        build.ret_void()
        return function

    def emit_total(self, n_others: int) -> Any:
        """The sum of the pieces of the inner dimension."""
        function, _ = self.enter("total", n_others)
        m, n, _ = self.tiling.sizes
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
        for start, count, width in pieces(n, panel_width(self.tiles.shape, 1)):
            with loop(build, count) as number:
                j = build.add(size(start), build.mul(number, size(width)))
                rows, c = (self.tiles.at(build, p, j) for p in (self.partial, self.places[2]))
                steps = ZERO, ZERO, size(n), ZERO, size(self.tiling.depth)
                build.call(self.tiles.tile(1, width), [one, rows, c, *steps, ir.Constant(I1, 0)])

    @property
    def partial(self) -> Any:
        """Where the pieces of the inner dimension are, one after the other."""
        start = size(self.tiling.chunk_bytes * self.tiling.n_chunks)
        return self.builder.gep(self.shared, [start], source_etype=I8)

    def emit_shares(self, n_others: int, prologues: dict[int, tuple[Any, int]]) -> Any:
        """Copy parts of A, then of B."""
        function, number = self.enter("shares", n_others)
        build, (of_a, _) = self.builder, self.tiling.n_shares
        self.contexts: dict[int, Any] = {}
        start = 3 + self.n_tail
        for operand, (_, n) in prologues.items():
            self.contexts[operand] = self.emit_context(self.places[start : start + n])
            start += n
        is_a = build.icmp_signed("<", number, size(of_a))
        for operand in (0, 1):
            if self.tiling.is_shared[operand]:
                first = size(operand * of_a)
                with build.if_then(build.not_(is_a) if operand else is_a):
                    self.emit_share(operand, build.sub(number, first))
        build.ret_void()
        return function

    def emit_share(self, operand: int, number: Any) -> None:
        build = self.builder
        most, n = (
            self.products[0][0].tiling.n_shares(operand),
            (self.tiling.height, self.tiling.width)[operand],
        )
        piece, part = self.divided(number, most)
        i, place = self.divided(piece, n)
        is_end = build.icmp_signed("==", place, size(n - 1))
        for product, *is_last in self.products:
            is_here = is_end if is_last[operand] else build.not_(is_end)
            if is_last[1 - operand]:  # one of those that share the copy
                is_part = build.icmp_signed("<", part, size(product.tiling.n_shares(operand)))
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
        layout, most = self.tiling.layout, self.tiling.pieces[operand]
        if self.tiling.has_prologue[operand]:
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
        build, (*lengths, k) = self.builder, self.tiling.sizes
        first = build.mul(place, size(self.tiling.pieces[operand]))
        place = build.add(build.mul(i, size(lengths[operand])), first)
        start = build.gep(
            self.shared, [size(operand * self.tiling.shared_bytes[0])], source_etype=I8
        )
        return self.at(start, place, k)

    def emit_piece(self, number: Any) -> None:
        build, (m, n, _), layout = self.builder, self.tiling.sizes, self.tiling.layout
        item = self.tiles.dtype.itemsize
        i, piece = self.divided(number, self.tiling.height * self.tiling.width)
        row, column = self.divided(piece, self.tiling.width)
        operands = [
            (self.copied if is_shared else self.piece_of)(operand, i, place)
            for operand, (is_shared, place) in enumerate(
                zip(self.tiling.is_shared, (row, column), strict=True)
            )
        ]
        c = build.gep(self.places[2], [build.mul(i, size(m * n * item))], source_etype=I8)
        first_row = build.mul(row, size(self.tiling.pieces.rows))
        first_column = build.mul(column, size(self.tiling.pieces.columns))
        c = self.tiles.at(build, self.at(c, first_row, layout.c_row), first_column)
        is_bottom = build.icmp_signed("==", row, size(self.tiling.height - 1))
        is_right = build.icmp_signed("==", column, size(self.tiling.width - 1))
        for product, bottom, right in self.products:
            flags = [
                is_last if wanted else build.not_(is_last)
                for is_last, wanted in ((is_bottom, bottom), (is_right, right))
            ]
            with build.if_then(build.and_(*flags)):
                build.call(product.function(), [*operands, c, self.scratch])
                if self.tail is not None:
                    top = build.add(build.mul(i, size(m)), first_row)
                    self.follow(top, first_column, *product.sizes[:2])

    def follow(self, row: Any, column: Any, height: int, width: int) -> None:
        """Call the tail for a piece; whole rows are one, where the tail is flat."""
        build, n = self.builder, self.tiling.sizes[1]
        if self.tiling.is_flat and width == n:
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
        builder, base, shape = (
            self.builder,
            self.places[operand],
            self.tiling.types[operand].shape[:-2],
        )
        if int(np.prod(shape)) == 1 or self.tiling.count == 1:
            return base
        position, rest, indices = ZERO, i, []
        for n in reversed(self.tiling.shape):
            rest, index = self.divided(rest, n)
            indices.append(index)
        own = indices[::-1][len(self.tiling.shape) - len(shape) :]
        for n, stride, k in zip(shape, self.tiling.strides[operand], own, strict=True):
            if n != 1:
                position = builder.add(position, builder.mul(k, size(stride)))
        return self.tiles.at(builder, base, position)

"""Small matrix products: register-blocked kernels made for their shapes.

A block of the result stays in vector registers while the inner axis is run through: for every step
a row piece of the right matrix is loaded once and each of the block's left elements multiplies it
(Goto and van de Geijn, 2008, section 4). A right matrix that is stored transposed is turned first.
Large products go to BLAS.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from pullback.compile.ir import I32, I64, POINTER, ir, loop

__all__ = ["is_small", "product"]

ZERO = ir.Constant(I64, 0)
VECTOR_BYTES, ALIGNMENT = 32, 64
ROWS, VECTORS = 6, 2  # of a block: 12 sums in registers, and room for what they are made of
ROW_VECTORS = 8  # of a block that is one row
MAX_MULTIPLICATIONS = 1 << 23
MAX_COPIED = 1 << 16  # numbers that are packed or turned on the stack


def is_small(m: int, n: int, k: int, a_is_transposed: bool) -> bool:
    """Whether the kernels made here are used rather than BLAS, which has threads.

    Threads that spin for each other cost more than they save in products of 0.1 ms, above all where
    another process needs the processor. A matrix times a vector waits for memory in any case.
    """
    copied = k * (32 + (m if a_is_transposed else 0))  # two panels, and the left matrix if turned
    return m == 1 or n == 1 or (m * n * k <= MAX_MULTIPLICATIONS and copied <= MAX_COPIED)


def product(
    module: ir.Module, dtype: np.dtype[Any], m: int, n: int, k: int, transposed: tuple[bool, bool]
) -> ir.Function:
    """``void f(a, b, c)``: c[m, n] = a[m, k] b[k, n]; ``transposed`` tells how a, b are stored."""
    marks = "".join("t" if t else "n" for t in transposed)
    name = f"product_{dtype.name}_{m}_{n}_{k}_{marks}"
    function = module.globals.get(name)
    if function is None:
        kind = ir.FunctionType(ir.VoidType(), [POINTER] * 3)
        function = ir.Function(module, kind, name)
        function.linkage = "internal"
        function.attributes.add("noinline")
        for argument in function.args:
            argument.add_attribute("noalias")
        Product(function, dtype, (m, n, k), transposed).emit()
    return function


def pieces(length: int, most: int) -> list[int]:
    """``length`` as a sum of powers of two up to ``most``, the largest first."""
    found = []
    while most:
        found += [most] * (length // most)
        length, most = length % most, most // 2
    return found


class Matrix(NamedTuple):
    """A part of a row-major matrix: where, the width of its rows, and its first row and column."""

    base: Any
    width: int
    row: Any = ZERO
    column: Any = ZERO


class Product:
    """The body of one product."""

    def __init__(
        self,
        function: ir.Function,
        dtype: np.dtype[Any],
        sizes: tuple[int, int, int],
        transposed: tuple[bool, bool],
    ) -> None:
        self.build = ir.IRBuilder(function.append_basic_block("entry"))
        self.real = ir.DoubleType() if dtype.itemsize == 8 else ir.FloatType()
        self.item = dtype.itemsize
        self.lanes = VECTOR_BYTES // dtype.itemsize
        self.m, self.n, self.k = sizes
        self.a, self.b, self.c = function.args
        self.a_is_transposed, self.b_is_transposed = transposed

    def emit(self) -> None:
        if self.n == 1 and not self.a_is_transposed:
            self.dots(self.m, self.a, self.b)
        elif self.m == 1 and self.b_is_transposed:
            self.dots(self.n, self.b, self.a)
        else:
            if self.n == 1:  # the transposed problem: a row times a matrix
                self.m, self.n = 1, self.m
                self.a, self.b = self.b, self.a
                self.a_is_transposed = self.b_is_transposed = False
            elif self.a_is_transposed and self.n > 2 * VECTORS * self.lanes:
                turned = self.scratch(self.m * self.k)
                self.turn(Matrix(self.a, self.m), self.k, self.m, Matrix(turned, self.k))
                self.a, self.a_is_transposed = turned, False
            self.blocks()
        self.build.ret_void()

    # -- memory -------------------------------------------------------------------------------
    def at(self, matrix: Matrix, i: Any, j: Any = ZERO) -> Any:
        """Address of the element at row ``i``, column ``j`` of the part."""
        build = self.build
        start = build.mul(build.add(matrix.row, i), ir.Constant(I64, matrix.width))
        position = build.add(build.add(start, matrix.column), j)
        return build.gep(matrix.base, [position], source_etype=self.real)

    def along(self, matrix: Matrix, i: Any, widths: Sequence[int]) -> Iterator[tuple[Any, int]]:
        """Addresses and lengths of the consecutive vectors of row ``i``."""
        start = self.at(matrix, i)
        offset = 0
        for lanes in widths:
            yield self.build.gep(start, [ir.Constant(I64, offset)], source_etype=self.real), lanes
            offset += lanes

    def store(self, value: Any, address: Any) -> None:
        place = self.build.bitcast(address, value.type.as_pointer())
        self.build.store(value, place, align=self.item)

    def load(self, address: Any, lanes: int) -> Any:
        return self.build.load(address, typ=ir.VectorType(self.real, lanes), align=self.item)

    def scratch(self, n: int) -> Any:
        with self.build.goto_entry_block():
            place = self.build.alloca(self.real, n)
            place.align = ALIGNMENT
        return place

    def place(self, first: int, i: Any, step: int) -> Any:
        build = self.build
        return build.add(build.mul(i, ir.Constant(I64, step)), ir.Constant(I64, first))

    # -- vectors ------------------------------------------------------------------------------
    def zero(self, lanes: int) -> Any:
        return ir.Constant(ir.VectorType(self.real, lanes), [0.0] * lanes)

    def splat(self, scalar: Any, lanes: int) -> Any:
        undefined = ir.Constant(ir.VectorType(self.real, lanes), ir.Undefined)
        vector = self.build.insert_element(undefined, scalar, ir.Constant(I32, 0))
        return self.mix(vector, undefined, [0] * lanes)

    def mix(self, x: Any, y: Any, lanes: Sequence[int]) -> Any:
        mask = ir.Constant(ir.VectorType(I32, len(lanes)), list(lanes))
        return self.build.shuffle_vector(x, y, mask)

    def intrinsic(self, name: str, result: Any, *operands: Any, flags: Sequence[str] = ()) -> Any:
        module = self.build.module
        kind = ir.FunctionType(result, [x.type for x in operands])
        function = module.globals.get(name) or ir.Function(module, kind, name)
        return self.build.call(function, operands, fastmath=flags)

    def multiply_add(self, x: Any, y: Any, total: Any) -> Any:
        name = f"llvm.fmuladd.v{x.type.count}f{8 * self.item}"
        return self.intrinsic(name, x.type, x, y, total)

    def fold(
        self, n: int, start: Sequence[Any], step: Callable[[Any, Sequence[Any]], list[Any]]
    ) -> list[Any]:
        """Run ``step`` for i below ``n`` with running values in registers."""
        build = self.build
        before = build.block
        body, after = (build.append_basic_block(name) for name in ("inner", "sum"))
        build.branch(body)
        build.position_at_end(body)
        i = build.phi(I64)
        running = [build.phi(value.type) for value in start]
        found = step(i, running)
        following = build.add(i, ir.Constant(I64, 1), flags=("nsw",))
        for phi, first, new in zip([i, *running], [ZERO, *start], [following, *found], strict=True):
            phi.add_incoming(first, before)
            phi.add_incoming(new, body)
        build.cbranch(build.icmp_signed("<", following, ir.Constant(I64, n)), body, after)
        build.position_at_end(after)
        return found

    # -- matrix times matrix ------------------------------------------------------------------
    def blocks(self) -> None:
        """All blocks of the result, panel of columns by panel of columns."""
        width = self.lanes * (ROW_VECTORS if self.m == 1 else VECTORS)
        is_packed = self.b_is_transposed or self.m > 2 * ROWS
        for first, count, columns in parts(self.n, width):
            packed = Matrix(self.scratch(self.k * columns), columns) if is_packed else None
            with loop(self.build, count) as panel:
                column = self.place(first, panel, columns)
                if packed is not None:
                    self.pack(packed, column)
                right = packed or Matrix(self.b, self.n, ZERO, column)
                for top, n_blocks, rows in parts(self.m, ROWS):
                    with loop(self.build, n_blocks) as block:
                        row = self.place(top, block, rows)
                        result = Matrix(self.c, self.n, row, column)
                        self.block(result, rows, right, pieces(columns, self.lanes))

    def pack(self, panel: Matrix, column: Any) -> None:
        """Copy columns of the right matrix to contiguous rows."""
        if self.b_is_transposed:
            self.turn(Matrix(self.b, self.k, column), panel.width, self.k, panel)
            return
        widths = pieces(panel.width, self.lanes)
        with loop(self.build, self.k) as i:
            sources = self.along(Matrix(self.b, self.n, ZERO, column), i, widths)
            for (source, lanes), (target, _) in zip(
                sources, self.along(panel, i, widths), strict=True
            ):
                self.store(self.load(source, lanes), target)

    def block(self, result: Matrix, rows: int, right: Matrix, widths: Sequence[int]) -> None:
        """``rows`` of the result, each of vectors of these ``widths``."""
        build = self.build
        numbers = [ir.Constant(I64, r) for r in range(rows)]
        left = Matrix(self.a, self.k, result.row)
        if self.a_is_transposed:
            left = Matrix(self.a, self.m, ZERO, result.row)

        def step(i: Any, sums: Sequence[Any]) -> list[Any]:
            vectors = [self.load(address, lanes) for address, lanes in self.along(right, i, widths)]
            totals, found = iter(sums), []
            for r in numbers:
                where = self.at(left, i, r) if self.a_is_transposed else self.at(left, r, i)
                factor = build.load(where, typ=self.real)
                found += [
                    self.multiply_add(self.splat(factor, v.type.count), v, next(totals))
                    for v in vectors
                ]
            return found

        start = [self.zero(width) for _ in range(rows) for width in widths]
        sums = iter(self.fold(self.k, start, step))
        for r in numbers:
            for address, _ in self.along(result, r, widths):
                self.store(next(sums), address)

    # -- transposed operands ------------------------------------------------------------------
    def turn(self, source: Matrix, n_rows: int, n_columns: int, target: Matrix) -> None:
        """target[c, r] = source[r, c], square of vectors by square of vectors."""
        for top, count, height in parts(n_rows, self.lanes):
            for first, n_blocks, width in parts(n_columns, self.lanes):
                with loop(self.build, count) as i, loop(self.build, n_blocks) as j:
                    row, column = self.place(top, i, height), self.place(first, j, width)
                    self.turn_block(source, target, (row, height), (column, width))

    def turn_block(
        self, source: Matrix, target: Matrix, rows: tuple[Any, int], columns: tuple[Any, int]
    ) -> None:
        build = self.build
        (row, height), (column, width) = rows, columns
        at_row = [build.add(row, ir.Constant(I64, r)) for r in range(height)]
        at_column = [build.add(column, ir.Constant(I64, c)) for c in range(width)]
        if height == width == self.lanes:
            vectors = [self.load(self.at(source, r, column), width) for r in at_row]
            for c, vector in zip(at_column, self.transposed(vectors), strict=True):
                self.store(vector, self.at(target, c, row))
            return
        for r in at_row:
            for c in at_column:
                value = build.load(self.at(source, r, c), typ=self.real)
                self.build.store(value, self.at(target, c, r))

    def transposed(self, vectors: list[Any]) -> list[Any]:
        """A square of vectors, transposed by exchanging ever smaller quarters."""
        n = len(vectors)
        half = n // 2
        while half:
            low = [i if not i & half else i - half + n for i in range(n)]
            high = [i + half if not i & half else i + n for i in range(n)]
            for i in range(n):
                if not i & half:
                    x, y = vectors[i], vectors[i + half]
                    vectors[i], vectors[i + half] = self.mix(x, y, low), self.mix(x, y, high)
            half //= 2
        return vectors

    # -- matrix times vector ------------------------------------------------------------------
    def dots(self, n_rows: int, matrix: Any, vector: Any) -> None:
        """c[i] = sum of matrix[i, :] * vector: rows of ``k`` contiguous elements."""
        build = self.build
        for first, count, rows in parts(n_rows, 4):
            with loop(build, count) as i:
                row = self.place(first, i, rows)
                totals = [ir.Constant(self.real, 0.0)] * rows
                for left, n_steps, width in parts(self.k, self.lanes):
                    totals = self.dot_piece(totals, matrix, vector, row, (left, n_steps, width))
                for r, total in enumerate(totals):
                    build.store(total, self.at(Matrix(self.c, 1, row), ir.Constant(I64, r)))

    def dot_piece(
        self, totals: list[Any], matrix: Any, vector: Any, row: Any, part: tuple[int, int, int]
    ) -> list[Any]:
        left, n_steps, width = part
        rows = Matrix(matrix, self.k, row)

        def step(i: Any, sums: Sequence[Any]) -> list[Any]:
            column = self.place(left, i, width)
            right = self.load(self.at(Matrix(vector, self.k), ZERO, column), width)
            return [
                self.multiply_add(
                    self.load(self.at(rows, ir.Constant(I64, r), column), width), right, s
                )
                for r, s in enumerate(sums)
            ]

        sums = self.fold(n_steps, [self.zero(width)] * len(totals), step)
        name = f"llvm.vector.reduce.fadd.v{width}f{8 * self.item}"
        return [
            self.intrinsic(name, self.real, total, s, flags=("reassoc",))
            for total, s in zip(totals, sums, strict=True)
        ]


def parts(length: int, step: int) -> list[tuple[int, int, int]]:
    """``length`` as (first, count, width): whole steps, then what is left."""
    whole, rest = divmod(length, step)
    found = [(0, whole, step)] if whole else []
    return [*found, (whole * step, 1, rest)] if rest else found

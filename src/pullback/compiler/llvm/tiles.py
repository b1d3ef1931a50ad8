"""Tiles: the innermost parts of matrix products, in vector registers.

A tile is some rows and columns of C. It runs over a block of the inner dimension: it loads a row of
a panel of B and adds it, times a number of each row of A, to its own rows. Tiles take their strides
at run time, so that products of all sizes share them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pullback.compiler.llvm.builder import I1, I32, I64, POINTER, Module, ir, loop, scalar_type
from pullback.compiler.schedule.tiling import tile_shape

__all__ = ["Tiles", "size"]

FUSED = ("contract",)


def size(value: int) -> Any:
    """A number of elements or bytes, as an operand."""
    return ir.Constant(I64, value)


class Tiles:
    """Emits the shared parts of products of one dtype into a module, once each."""

    def __init__(self, module: Module, dtype: np.dtype[Any], depth: int | None = None) -> None:
        self.module = module
        self.dtype = dtype
        self.real = scalar_type(dtype)
        self.processor = module.processor
        self.shape = tile_shape(self.processor, dtype.itemsize, depth)
        self.height, self.lanes = self.shape.height, self.shape.lanes

    # -- pieces -------------------------------------------------------------------------------
    def function(self, name: str, n_pointers: int, others: list[Any]) -> tuple[Any, bool]:
        """The internal function of this name, and whether it is new; its pointers do not alias."""
        name = f"{name}_f{8 * self.dtype.itemsize}"
        if name in self.module.globals:
            return self.module.globals[name], False
        kind = ir.FunctionType(ir.VoidType(), [POINTER] * n_pointers + others)
        function = ir.Function(self.module, kind, name)
        function.linkage = "internal"
        function.attributes.add("noinline")
        for argument in function.args[:n_pointers]:
            argument.add_attribute("noalias")
        return function, True

    def at(self, builder: ir.IRBuilder, pointer: Any, position: Any) -> Any:
        return builder.gep(pointer, [position], source_etype=self.real)

    def load(self, builder: ir.IRBuilder, pointer: Any, lanes: int) -> Any:
        return builder.load(pointer, align=self.dtype.itemsize, typ=ir.VectorType(self.real, lanes))

    def splat(self, builder: ir.IRBuilder, value: Any, lanes: int) -> Any:
        kind = ir.VectorType(self.real, lanes)
        one = builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(I32, 0))
        mask = ir.Constant(ir.VectorType(I32, lanes), None)
        return builder.shuffle_vector(one, ir.Constant(kind, ir.Undefined), mask)

    def widths(self, columns: int) -> list[tuple[int, int]]:
        """The vectors that cover so many columns: (first column, lanes)."""
        return [(j, min(self.lanes, columns - j)) for j in range(0, columns, self.lanes)]

    def row(self, builder: ir.IRBuilder, start: Any, step: Any, i: Any) -> Any:
        """Where row ``i`` is: ``step`` is the distance of rows, or a table of their places."""
        if step.type == POINTER:
            place = builder.load(builder.gep(step, [i], source_etype=I64), typ=I64)
        else:
            place = builder.mul(i, step)
        return self.at(builder, start, place)

    # -- tiles --------------------------------------------------------------------------------
    def tile(self, rows: int, columns: int, run: int = 0) -> Any:
        """``tile(a, b, c, a_row, a_step, b_step, c_row, k, add)``: rows x columns of C.

        With a ``run`` of neighbours in a row of B, ``b_step`` is the table of the places where the
        rows start, and ``columns``, behind all others, that of the distances of runs in a row.
        """
        others = [I64, I64, POINTER if run else I64, I64, I64, I1, *[POINTER] * bool(run)]
        name = f"tile_{rows}x{columns}{f'_runs_{run}' if run else ''}"
        function, is_new = self.function(name, 3, others)
        if not is_new:
            return function
        builder = ir.IRBuilder(function.append_basic_block("entry"))
        a, b, c, a_row, a_step, b_step, c_row, k, add, *table = function.args
        widths = self.widths(columns)
        run = run or self.lanes
        places = {
            j: builder.load(builder.gep(table[0], [size(j // run)], source_etype=I64), typ=I64)
            if table
            else size(j)
            for j in range(0, columns, run)
        }
        sums = {
            (i, j): builder.alloca(ir.VectorType(self.real, w))
            for i in range(rows)
            for j, w in widths
        }
        for place in sums.values():
            builder.store(ir.Constant(place.allocated_type, None), place)
        with loop(builder, k, unrolled=self.processor.unrolled) as p:
            row = self.row(builder, b, b_step, p)
            parts = [(j, w, self.joined(builder, row, places, (j, w), run)) for j, w in widths]
            column = self.at(builder, a, builder.mul(p, a_step))
            for i in range(rows):
                place = self.at(builder, column, builder.mul(size(i), a_row))
                factor = builder.load(place, typ=self.real)
                for j, w, part in parts:
                    term = builder.fmul(self.splat(builder, factor, w), part, flags=FUSED)
                    total = builder.load(sums[i, j], typ=part.type)
                    builder.store(builder.fadd(total, term, flags=FUSED), sums[i, j])
        targets = {
            (i, j): self.at(builder, c, builder.add(builder.mul(size(i), c_row), size(j)))
            for i, j in sums
        }
        with builder.if_else(add) as (more, new):
            with more:
                for place, total in sums.items():  # in turn: rows may evict each other
                    kind = total.allocated_type
                    before = builder.load(targets[place], align=self.dtype.itemsize, typ=kind)
                    now = builder.fadd(builder.load(total, typ=kind), before)
                    builder.store(now, targets[place], align=self.dtype.itemsize)
            with new:
                for place, total in sums.items():
                    value = builder.load(total, typ=total.allocated_type)
                    builder.store(value, targets[place], align=self.dtype.itemsize)
        builder.ret_void()
        return function

    def joined(
        self,
        builder: ir.IRBuilder,
        row: Any,
        places: dict[int, Any],
        vector: tuple[int, int],
        run: int,
    ) -> Any:
        """The numbers of a vector (first column, lanes) of a row, from one run or from two."""
        first, lanes = vector
        parts = [
            self.load(builder, self.at(builder, row, places[j]), min(run, first + lanes - j))
            for j in range(first, first + lanes, run)
        ]
        if len(parts) == 1:
            return parts[0]
        mask = ir.Constant(ir.VectorType(I32, lanes), list(range(lanes)))
        return builder.shuffle_vector(*parts, mask)

    def dots(self, rows: int) -> Any:
        """``dots(a, b, c, b_row, k)``: the products of a vector with rows of a matrix."""
        function, is_new = self.function(f"dots_{rows}", 3, [I64] * 2)
        if not is_new:
            return function
        builder = ir.IRBuilder(function.append_basic_block("entry"))
        a, b, c, b_row, k = function.args
        lanes = self.lanes
        kind = ir.VectorType(self.real, lanes)
        sums = [builder.alloca(kind) for _ in range(rows)]
        tails = [builder.alloca(self.real) for _ in range(rows)]
        for place in (*sums, *tails):
            builder.store(ir.Constant(place.allocated_type, None), place)
        starts = [self.at(builder, b, builder.mul(size(i), b_row)) for i in range(rows)]
        blocks = builder.udiv(k, size(lanes))
        with loop(builder, blocks) as block:
            p = builder.mul(block, size(lanes))
            factor = self.load(builder, self.at(builder, a, p), lanes)
            for start, place in zip(starts, sums, strict=True):
                term = builder.fmul(
                    factor, self.load(builder, self.at(builder, start, p), lanes), flags=FUSED
                )
                builder.store(builder.fadd(builder.load(place, typ=kind), term, flags=FUSED), place)
        done = builder.mul(blocks, size(lanes))
        with loop(builder, builder.sub(k, done)) as rest:
            p = builder.add(done, rest)
            factor = builder.load(self.at(builder, a, p), typ=self.real)
            for start, place in zip(starts, tails, strict=True):
                other = builder.load(self.at(builder, start, p), typ=self.real)
                term = builder.fmul(factor, other, flags=FUSED)
                total = builder.load(place, typ=self.real)
                builder.store(builder.fadd(total, term, flags=FUSED), place)
        for i, (place, tail) in enumerate(zip(sums, tails, strict=True)):
            total = self.sum(builder, builder.load(place, typ=kind), lanes)
            total = builder.fadd(total, builder.load(tail, typ=self.real))
            builder.store(total, self.at(builder, c, size(i)))
        builder.ret_void()
        return function

    def sum(self, builder: ir.IRBuilder, vector: Any, lanes: int) -> Any:
        """The sum of the lanes, by halves."""
        while lanes > 1:
            lanes //= 2
            low, high = (
                builder.shuffle_vector(vector, vector, ir.Constant(ir.VectorType(I32, lanes), part))
                for part in (list(range(lanes)), list(range(lanes, 2 * lanes)))
            )
            vector = builder.fadd(low, high)
        return builder.extract_element(vector, ir.Constant(I32, 0))

    def copy(self, columns: int) -> Any:
        """``copy(b, panels, b_step, k, n)``: n panels of k rows of B, one behind the other.

        All numbers of a row are read at once.
        """
        function, is_new = self.function(f"copy_{columns}", 2, [I64] * 3)
        if not is_new:
            return function
        builder = ir.IRBuilder(function.append_basic_block("entry"))
        b, panels, b_step, k, n = function.args
        pitch = builder.mul(k, size(columns))
        with loop(builder, k) as p:
            row = self.at(builder, b, builder.mul(p, b_step))
            first = self.at(builder, panels, builder.mul(p, size(columns)))
            with loop(builder, n) as number:
                source = self.at(builder, row, builder.mul(number, size(columns)))
                target = self.at(builder, first, builder.mul(number, pitch))
                for j, w in self.widths(columns):
                    part = self.load(builder, self.at(builder, source, size(j)), w)
                    place = self.at(builder, target, size(j))
                    builder.store(part, place, align=self.dtype.itemsize)
        builder.ret_void()
        return function

    def gather(self) -> Any:
        """``gather(a, rows, a_row, row, k, n)``: n rows of k numbers, to a distance of ``row``."""
        function, is_new = self.function("gather", 2, [I64] * 4)
        if not is_new:
            return function
        builder = ir.IRBuilder(function.append_basic_block("entry"))
        a, rows, a_row, row, k, n = function.args
        n_bytes = builder.mul(k, size(self.dtype.itemsize))
        kind = ir.FunctionType(ir.VoidType(), [POINTER, POINTER, I64, I1])
        name = "llvm.memcpy.p0.p0.i64"
        memcpy = self.module.globals.get(name) or ir.Function(self.module, kind, name)
        with loop(builder, n) as i:
            source = self.at(builder, a, builder.mul(i, a_row))
            target = self.at(builder, rows, builder.mul(i, row))
            builder.call(memcpy, [target, source, n_bytes, I1(0)])
        builder.ret_void()
        return function

    def pack(self, columns: int, has_table: bool = False) -> Any:
        """``pack(b, panel, b_step, k)``: a panel of rows of k numbers, transposed.

        With a table, ``b_step`` is that of the places where the rows start.
        """
        others = [POINTER if has_table else I64, I64]
        function, is_new = self.function(f"pack_{columns}{'_table' * has_table}", 2, others)
        if not is_new:
            return function
        builder = ir.IRBuilder(function.append_basic_block("entry"))
        b, panel, b_step, k = function.args
        whole = columns // self.lanes
        blocks = builder.udiv(k, size(self.lanes)) if whole else size(0)
        with loop(builder, blocks) as block, loop(builder, whole) as part:
            p, j = (builder.mul(n, size(self.lanes)) for n in (block, part))
            starts = (
                self.row(builder, b, b_step, builder.add(j, size(i))) for i in range(self.lanes)
            )
            rows = [self.load(builder, self.at(builder, s, p), self.lanes) for s in starts]
            for i, row in enumerate(self.transposed(builder, rows)):
                place = builder.mul(builder.add(p, size(i)), size(columns))
                target = self.at(builder, panel, builder.add(place, j))
                builder.store(row, target, align=self.dtype.itemsize)
        done = builder.mul(blocks, size(self.lanes))
        self.move(builder, function, (0, whole * self.lanes), done, k)
        self.move(builder, function, (whole * self.lanes, columns), size(0), k)
        builder.ret_void()
        return function

    def move(
        self, builder: ir.IRBuilder, pack: Any, columns: tuple[int, int], start: Any, end: Any
    ) -> None:
        """Pack columns one number at a time."""
        b, panel, b_step, _ = pack.args
        if columns[0] == columns[1]:
            return
        width = int(pack.name.split("_")[1])
        first, stop = map(size, columns)
        with (
            loop(builder, end, start=start) as p,
            loop(builder, stop, start=first, unrolled=4) as j,
        ):
            source = self.at(builder, self.row(builder, b, b_step, j), p)
            target = self.at(builder, panel, builder.add(builder.mul(p, size(width)), j))
            builder.store(builder.load(source, typ=self.real), target)

    def transposed(self, builder: ir.IRBuilder, rows: list[Any]) -> list[Any]:
        """A square of numbers, transposed by swapping ever smaller blocks."""
        n = len(rows)
        distance = n // 2
        while distance:
            masks = [
                ir.Constant(
                    ir.VectorType(I32, n),
                    [j if not j & distance else n + j - distance for j in range(n)],
                ),
                ir.Constant(
                    ir.VectorType(I32, n),
                    [j + distance if not j & distance else n + j for j in range(n)],
                ),
            ]
            for i in range(n):
                if not i & distance:
                    pair = rows[i], rows[i + distance]
                    rows[i], rows[i + distance] = (
                        builder.shuffle_vector(*pair, mask) for mask in masks
                    )
            distance //= 2
        return rows

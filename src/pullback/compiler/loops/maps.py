"""Kernels: one LLVM function per step of a schedule, with the arithmetic of its readers fused in.

Values without memory are expressions: :meth:`Kernel.value` emits the scalar at an index by asking
its operands for theirs, so transpositions, broadcasts and slices turn into index arithmetic.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pullback.compiler.llvm.builder import I8, I32, I64, ZERO, bounds, box, ir, loop, loops
from pullback.compiler.llvm.scalars import Scalar, ScalarEmitter, scalar_form
from pullback.compiler.schedule.axes import Axis, access_of, joined, joints
from pullback.compiler.schedule.chunks import MAX_CHUNKS
from pullback.compiler.schedule.folding import cut_of
from pullback.compiler.schedule.pieces import Region, has_seams, piece_at, regions
from pullback.compiler.schedule.questions import full_key, is_squeeze
from pullback.compiler.schedule.scratch import scratch_sizes
from pullback.compiler.schedule.steps import Map, Schedule, Step, aligned
from pullback.core.graph import Equation, Literal, Operand, Variable
from pullback.core.types import ArrayType

__all__ = [
    "Index",
    "Kernel",
    "Part",
    "emit_concatenate",
    "emit_gather",
    "emit_map",
    "emit_place",
    "emit_running",
    "emit_scatter",
    "emit_tail",
    "emit_tail_of_images",
    "emit_update",
    "unraveled",
]

SHORT = 4  # steps of an innermost loop that are written out

Index = list[Any]
Part = tuple[int, Any, Any] | None  # of a nest of loops: axis, start, stop


class Kernel:
    """The body of one kernel: pointers to its memory, and scalars at indices."""

    def __init__(
        self,
        plan: Schedule,
        step: Step,
        builder: ir.IRBuilder,
        pointers: dict[Variable, Any],
        fail: Callable[[ir.IRBuilder], None],
        wanted: int = 0,
    ) -> None:
        self.plan = plan
        self.step = step
        self.equation = step.equation
        self.equations = step.equations
        self.builder = builder
        self.pointers = pointers
        self.emit = ScalarEmitter(builder)
        self.report = fail
        self.may_fail = False
        self.working_memory: Any = None
        self.scratch_bytes = 0
        self.chunk: Any = None
        self.wanted = wanted  # chunks, of a member of a chain
        self.n_chunks = 1
        self.part: Part = None
        self.finish: Callable[[Kernel], None] | None = None  # emits what follows all chunks
        self.tail: Callable[..., None] | None = None  # calls the tail of the step for some rows
        self.is_flat = False
        self.first: Any = 0  # element of the block that local values have
        self.region: Region = {}  # of a map, in which arrays with seams are one of their pieces
        self.known: dict[tuple[int, ...], Scalar] = {}

    def pointer(self, operand: Operand) -> Any:
        """The memory in which a value is."""
        assert isinstance(operand, Variable), "a literal has no memory"
        return self.pointers[self.plan.owner(operand)]

    # -- reading ------------------------------------------------------------------------------
    def value(self, operand: Variable | Literal, index: Index) -> Scalar:
        """The element of ``operand`` at ``index``: loaded, or computed on the spot."""
        if isinstance(operand, Literal):
            return self.emit.constant(operand.value, operand.type.dtype)
        key = (id(operand), *map(id, index))
        if key not in self.known:
            if operand in self.plan.in_memory:
                self.known[key] = self.emit.load(
                    self.pointer(operand),
                    self.place(operand, index),
                    operand.type.dtype,
                )
            else:
                self.known[key] = self.expression(self.plan.makers[operand], index)
        return self.known[key]

    def place(self, variable: Variable, index: Index) -> Any:
        """The position of an element in the memory of a value."""
        if self.plan.owner(variable) in self.plan.local:
            return self.shifted(index[-1], self.first)
        return self.position(variable.type, index)

    def position(self, type: ArrayType, index: Index) -> Any:
        """Row-major position of ``index``."""
        if type.size == 1:
            return ZERO
        if self.is_flat:
            return index[0]
        position: Any = None
        for n, i in zip(type.shape, index, strict=True):
            if n != 1 or position is not None:
                position = (
                    i
                    if position is None
                    else self.builder.add(self.builder.mul(position, ir.Constant(I64, n)), i)
                )
        return position

    def expression(self, equation: Equation, index: Index) -> Scalar:
        """The scalar that an inlined equation computes at ``index`` of its output."""
        name, params = equation.primitive.name, equation.params
        out = equation.outputs[0].type
        x = equation.inputs[0]
        if name == "transpose":
            source = [ZERO] * len(index)
            for i, axis in zip(index, params["axes"], strict=True):
                source[axis] = i
            return self.value(x, source)
        if name == "broadcast_to":
            return self.value(x, self.aligned(x.type, index))
        if name == "reshape":
            kept = iter([i for i, n in zip(index, out.shape, strict=True) if n != 1])
            return self.value(x, [ZERO if n == 1 else next(kept) for n in x.type.shape])
        if name == "index":
            return self.value(x, self.selected(x.type, params["key"], index))
        if has_seams(equation):
            piece = piece_at(equation, self.region, index, self.shifted)
            return self.emit.constant(0, out.dtype) if piece is None else self.value(*piece)
        if name == "astype":
            return self.emit.cast(self.value(x, index), params["dtype"])
        operands = [
            v if isinstance(v, Literal) else self.value(v, self.aligned(v.type, index))
            for v in equation.inputs
        ]
        return scalar_form(self.emit, equation, operands)

    def shifted(self, i: Any, n: Any) -> Any:
        """``i - n``."""
        if isinstance(n, int):
            return self.builder.sub(i, I64(n)) if n else i
        return self.builder.sub(i, n)

    def aligned(self, type: ArrayType, index: Index) -> Index:
        """The index into an operand that is broadcast to the output."""
        if self.is_flat:
            return index
        return [
            ZERO if n == 1 else i
            for n, i in zip(type.shape, index[len(index) - type.ndim :], strict=True)
        ]

    def selected(self, type: ArrayType, key: tuple[Any, ...], index: Index) -> Index:
        """The index into an array of the element ``index`` of ``array[key]``."""
        given, result, axis = iter(index), [], 0
        for k in full_key(key, type.ndim):
            if k is None:
                next(given)
                continue
            if isinstance(k, tuple):
                start, _, step = slice(*k).indices(type.shape[axis])
                i = next(given)
                if step != 1:
                    i = self.builder.mul(i, ir.Constant(I64, step))
                result.append(self.builder.add(i, ir.Constant(I64, start)) if start else i)
            else:
                result.append(ir.Constant(I64, k % type.shape[axis]))
            axis += 1
        return result

    def fail(self, builder: ir.IRBuilder) -> None:
        """Report that the equation has failed."""
        self.may_fail = True
        self.report(builder)

    def joints(self) -> set[int]:
        """The axes of a map that can be joined to the next one."""
        shape = self.equation.outputs[0].type.shape
        whole = [Axis(i) for i in range(len(shape))]
        reads = [(v, access_of(e, v, whole)) for e in self.equations for v in e.inputs]
        written = [(e.outputs[0], whole) for e in self.equations]
        return joints(self.plan, [*written, *reads], shape)

    # -- chunks -------------------------------------------------------------------------------
    def split(self, shape: Sequence[int], most: int = MAX_CHUNKS) -> None:
        """Let each chunk run over a part of ``shape`` only, if there is enough work."""
        self.part = None
        axis, length, self.n_chunks = cut_of(self.plan, self.step, shape, most, self.wanted)
        if self.n_chunks > 1:
            self.part = (axis, *bounds(self.builder, shape[axis], length, self.chunk))

    # -- writing ------------------------------------------------------------------------------
    def store(self, variable: Variable, index: Index, value: Scalar) -> None:
        value = self.emit.cast(value, variable.type.dtype)
        self.emit.store(value, self.pointer(variable), self.place(variable, index))

    def map_over(self, shape: Sequence[int]) -> None:
        """Compute and store every element of every output."""
        assert isinstance(self.step, Map)
        for region in regions(self.plan, self.step):
            self.region = region
            ranges: list[tuple[Any, Any]] = [(0, n) for n in shape]
            for axis, ends in region.items():
                ranges[axis] = ends
            if self.part is not None:
                axis, start, stop = self.part
                if axis in region:
                    start, stop = self.within(start, stop, *ranges[axis])
                ranges[axis] = start, stop
            inside = [] if self.is_flat else short_ends(ranges)
            with box(self.builder, ranges[: len(ranges) - len(inside)]) as index:
                for end in itertools.product(*inside):
                    self.map_at([*index, *end])

    def within(self, start: Any, stop: Any, first: int, last: int) -> tuple[Any, Any]:
        """The part of a range that is inside another one."""
        build = self.builder
        low = build.select(build.icmp_signed("<", start, I64(first)), I64(first), start)
        high = build.select(build.icmp_signed(">", stop, I64(last)), I64(last), stop)
        return low, high

    def map_at(self, index: Index) -> None:
        for equation in self.equations:
            (out,) = equation.outputs
            value = self.emit.cast(self.expression(equation, index), out.type.dtype)
            self.known[(id(out), *map(id, index))] = value
            self.store(out, index, value)
        self.forget()

    def checked(self, emit_loops: Callable[[], None]) -> None:
        """Loops; again with functions that are right everywhere if an argument was too large.

        Loops that write over their operands cannot be run again: they have these functions at once.
        """
        if len(self.pointers) < len(self.step.reads) + len(self.step.outputs):
            emit_loops()
            return
        with self.builder.goto_entry_block():
            doubt = self.builder.alloca(I32)
        self.builder.store(ir.Constant(I32, 0), doubt)
        self.emit.doubt = doubt
        emit_loops()
        self.emit.doubt = None
        if self.emit.is_doubted:
            flag = self.builder.load(doubt, typ=I32)
            is_set = self.builder.icmp_unsigned("!=", flag, ir.Constant(I32, 0))
            with self.builder.if_then(is_set, likely=False):
                emit_loops()

    def forget(self) -> None:
        """Drop values that belong to a loop that has ended."""
        self.known.clear()

    def fill(self, variable: Variable, element: Callable[[Index], Scalar]) -> None:
        with loops(self.builder, variable.type.shape, self.part) as index:
            self.store(variable, index, element(index))
        self.forget()

    def copy(self, operand: Operand, variable: Variable) -> None:
        """All elements, but where they are there already."""
        is_stored = isinstance(operand, Variable) and operand in self.plan.in_memory
        if not is_stored or self.pointer(operand) is not self.pointer(variable):
            self.fill(variable, lambda index: self.value(operand, index))

    def state(self, start: Sequence[Scalar]) -> list[Any]:
        """Mutable places for the running values of a fold, at the head of the function."""
        with self.builder.goto_entry_block():
            places = [self.builder.alloca(s.value.type) for s in start]
        for s, place in zip(start, places, strict=True):
            self.builder.store(s.value, place)
        return places

    def scratch(self, n_bytes: int) -> Any:
        """Aligned memory that is the kernel's own while it runs."""
        start = ir.Constant(I64, self.scratch_bytes)
        self.scratch_bytes += aligned(n_bytes)
        return self.builder.gep(self.working_memory, [start], source_etype=I8)

    def working(self) -> list[Any]:
        """The pieces of working memory that the operation has declared."""
        return [self.scratch(n) for n in scratch_sizes(self.equation)]

    def keep_local(self, n: int) -> None:
        """Working memory of every chunk for ``n`` elements of each local value of the step."""
        for part in self.step.parts:
            for v in part.outputs:
                if v in self.plan.local:
                    n_bytes = aligned(n * v.type.dtype.itemsize)
                    memory = self.scratch(n_bytes * self.n_chunks)
                    start = self.builder.mul(self.chunk, I64(n_bytes))
                    self.pointers[v] = self.builder.gep(memory, [start], source_etype=I8)

    def read_state(self, places: Sequence[Any], like: Sequence[Scalar]) -> tuple[Scalar, ...]:
        return tuple(
            Scalar(self.builder.load(place, typ=s.value.type), s.dtype)
            for place, s in zip(places, like, strict=True)
        )


def short_ends(ranges: Sequence[tuple[Any, Any]]) -> list[list[Any]]:
    """The indices along the last axes, where these are so short that they need no loop.

    The loop around them then is one that vectorizes.
    """
    start, stop = ranges[-1] if len(ranges) > 1 else (0, 0)
    if isinstance(start, int) and isinstance(stop, int) and 1 < stop - start <= SHORT:
        return [[I64(i) for i in range(start, stop)]]
    return []


def emit_map(kernel: Kernel) -> None:
    """``out[i] = expression(i)`` for every element."""
    equation = kernel.equation
    (out,) = equation.outputs
    if isinstance(kernel.step, Map) and kernel.step.is_flat:
        kernel.is_flat = True
        kernel.split([out.type.size])
        kernel.checked(lambda: kernel.map_over([out.type.size]))
        return
    if equation.primitive.name == "reshape" and not is_squeeze(equation.inputs[0].type, out.type):
        (x,) = equation.inputs  # in memory: elements in the same order
        kernel.is_flat = True
        kernel.split([out.type.size])
        with loops(kernel.builder, [out.type.size], kernel.part) as index:
            kernel.store(out, index, kernel.value(x, index))
        return
    lengths = joined(out.type.shape, kernel.joints())
    kernel.split(lengths)
    kernel.checked(lambda: kernel.map_over(lengths))


def emit_tail(kernel: Kernel, rows: Sequence[Any], columns: Sequence[Any], length: int) -> None:
    """A map over rows and columns, each from a first to before a last, of a matrix.

    ``length`` is that of its rows; the axes but the last are those of the rows.
    """
    build, shape = kernel.builder, kernel.equation.outputs[0].type.shape
    kernel.is_flat = isinstance(kernel.step, Map) and kernel.step.is_flat

    def index(row: Any, column: Any) -> Index:
        if kernel.is_flat:
            return [build.add(build.mul(row, I64(length)), column)]
        return [*unraveled(build, row, shape[:-1]), column]

    def emit_loops() -> None:
        with (
            loop(build, rows[1], start=rows[0]) as row,
            loop(build, columns[1], start=columns[0]) as column,
        ):
            kernel.map_at(index(row, column))

    kernel.checked(emit_loops)


def emit_tail_of_images(kernel: Kernel, rows: Sequence[Any], volume: int) -> None:
    """A map over channels of images of ``volume`` elements, from a first to before a last.

    The channels of all images are the first two axes, unless the map is flat.
    """
    build, shape = kernel.builder, kernel.equation.outputs[0].type.shape
    kernel.is_flat = isinstance(kernel.step, Map) and kernel.step.is_flat
    lengths = joined(shape, {i for i in kernel.joints() if i >= 2})[2:]

    def emit_loops() -> None:
        if kernel.is_flat:
            start, stop = (build.mul(row, I64(volume)) for row in rows)
            with loop(build, stop, start=start) as i:
                kernel.map_at([i])
            return
        with loop(build, rows[1], start=rows[0]) as row, loops(build, lengths) as place:
            kernel.map_at([*unraveled(build, row, shape[:2]), *place])

    kernel.checked(emit_loops)


def unraveled(build: ir.IRBuilder, i: Any, shape: Sequence[int]) -> Index:
    """The index behind a row-major position."""
    found: Index = []
    for n in reversed(shape[1:]):
        found.insert(0, build.urem(i, I64(n)))
        i = build.udiv(i, I64(n))
    return [i, *found]


def emit_running(kernel: Kernel) -> None:
    """``out[..., i, ...]`` is the fold of the first ``i + 1`` elements along the axis, in order."""
    (x,), (out,) = kernel.equation.inputs, kernel.equation.outputs
    axis, step = kernel.equation.params["axis"], kernel.equation.primitive.scalar.step
    shape, build, emit = out.type.shape, kernel.builder, kernel.emit
    if not out.type.size:
        return
    others = (*shape[:axis], *shape[axis + 1 :])
    kernel.split(others)
    with loops(build, others, kernel.part) as outer:

        def element(i: Any) -> tuple[Index, Scalar]:
            index = [*outer[:axis], i, *outer[axis:]]
            return index, emit.cast(kernel.value(x, index), out.type.dtype)

        index, first = element(ZERO)
        kernel.store(out, index, first)
        places = kernel.state([first])
        with loop(build, shape[axis], start=I64(1)) as i:
            index, x_i = element(i)
            (total,) = step(emit, kernel.read_state(places, [first]), x_i, None)
            build.store(total.value, places[0])
            kernel.store(out, index, total)
        kernel.forget()


def emit_place(kernel: Kernel) -> None:
    """Zeros with an array at a key."""
    (x,), (out,) = kernel.equation.inputs, kernel.equation.outputs
    kernel.fill(out, lambda _: kernel.emit.constant(0, out.type.dtype))
    emit_selected(kernel, x, out)


def emit_update(kernel: Kernel) -> None:
    """A copy with another array at a key."""
    x, v = kernel.equation.inputs
    (out,) = kernel.equation.outputs
    kernel.copy(x, out)
    emit_selected(kernel, v, out)


def emit_selected(kernel: Kernel, v: Variable | Literal, out: Variable) -> None:
    """``out[key] = v``."""
    with loops(kernel.builder, v.type.shape) as index:
        place = kernel.selected(out.type, kernel.equation.params["key"], index)
        kernel.store(out, place, kernel.value(v, index))
    kernel.forget()


def emit_concatenate(kernel: Kernel) -> None:
    """Each operand behind the others along the axis."""
    (out,) = kernel.equation.outputs
    axis, start = kernel.equation.params["axis"], 0
    for x in kernel.equation.inputs:
        with loops(kernel.builder, x.type.shape) as index:
            place = list(index)
            place[axis] = kernel.builder.add(index[axis], ir.Constant(I64, start))
            kernel.store(out, place, kernel.value(x, index))
        kernel.forget()
        start += x.type.shape[axis]


def picked(
    kernel: Kernel, array: ArrayType, indices: Sequence[Variable | Literal], at: Index, shape: Any
) -> tuple[Index, Any]:
    """Checked positions along the leading axes, and whether all are inside."""
    build, inside = kernel.builder, ir.Constant(ir.IntType(1), 1)
    found = []
    for axis, i in enumerate(indices):
        own = [
            ZERO if n == 1 else k
            for n, k in zip(i.type.shape, at[len(shape) - i.type.ndim : len(shape)], strict=True)
        ]
        k = kernel.emit.cast(kernel.value(i, own), np.int64).value
        length = ir.Constant(I64, array.shape[axis])
        k = build.select(build.icmp_signed("<", k, ZERO), build.add(k, length), k)
        good = build.and_(build.icmp_signed(">=", k, ZERO), build.icmp_signed("<", k, length))
        inside = build.and_(inside, good)
        found.append(build.select(good, k, ZERO))
    with build.if_then(build.not_(inside), likely=False):
        kernel.fail(build)
    return found, inside


def emit_gather(kernel: Kernel) -> None:
    """``x[indices]``; an index out of bounds fails."""
    x, *indices = kernel.equation.inputs
    (out,) = kernel.equation.outputs
    shape = np.broadcast_shapes(*[i.type.shape for i in indices])
    if not x.type.size and out.type.size:
        kernel.fail(kernel.builder)
        return
    kernel.split(shape)
    with loops(kernel.builder, shape, kernel.part) as at:
        places, _ = picked(kernel, x.type, indices, at, shape)
        kernel.forget()
        with loops(kernel.builder, out.type.shape[len(shape) :]) as rest:
            kernel.store(out, [*at, *rest], kernel.value(x, [*places, *rest]))
        kernel.forget()


def emit_scatter(kernel: Kernel) -> None:
    """``x[indices] = v`` on a copy, or ``+=`` on zeros; an index out of bounds fails."""
    add = kernel.equation.primitive.name == "scatter_add"
    (out,) = kernel.equation.outputs
    if add:
        v, *indices = kernel.equation.inputs
        kernel.fill(out, lambda _: kernel.emit.constant(0, out.type.dtype))
    else:
        x, v, *indices = kernel.equation.inputs
        kernel.copy(x, out)
    shape = np.broadcast_shapes(*[i.type.shape for i in indices])
    with loops(kernel.builder, shape) as at:
        places, inside = picked(kernel, out.type, indices, at, shape)
        kernel.forget()
        with (
            kernel.builder.if_then(inside, likely=True),
            loops(kernel.builder, out.type.shape[len(indices) :]) as rest,
        ):
            place = [*places, *rest]
            value = kernel.emit.cast(kernel.value(v, [*at, *rest]), out.type.dtype)
            if add:
                position = kernel.position(out.type, place)
                before = kernel.emit.load(kernel.pointer(out), position, out.type.dtype)
                value = kernel.emit.add(before, value)
            kernel.store(out, place, value)
        kernel.forget()

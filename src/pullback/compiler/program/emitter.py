"""Programs: a graph as a table of steps that run in order over one arena.

A program is a function ``void f(pointers, arena, status)``: a table of pointers to inputs and
outputs, working memory, and a place for the number of an equation that failed, followed by the
addresses of the pool's ``run``, of the pool and of the callbacks. Bodies of loops and branches are
programs too, called with tables of their own. Nothing of the running process is written into the
text, so that its object code can be kept and used again.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from typing import Any, NamedTuple

from pullback.compiler.llvm.builder import (
    I32,
    I64,
    POINTER,
    Module,
    ir,
    with_whole_vectors,
    written,
)
from pullback.compiler.loops.forms import kernel_for
from pullback.compiler.loops.fused import emit_group
from pullback.compiler.loops.maps import Kernel, emit_tail, emit_tail_of_images
from pullback.compiler.loops.prologues import emit_finder, emit_prologue
from pullback.compiler.loops.stacks import Stack
from pullback.compiler.passes.split_complex import asked_for
from pullback.compiler.pipeline import Check, planned, rewritten, unchecked
from pullback.compiler.program.control import CONTROL, Code, emit_callback, emit_copies
from pullback.compiler.program.entry import MAIN
from pullback.compiler.program.iterations import emit_iterations
from pullback.compiler.program.table import Member, Row, at_entry, emit_chain, emit_rows
from pullback.compiler.schedule.bodies import is_independent
from pullback.compiler.schedule.kernel_key import kernel_key, structure
from pullback.compiler.schedule.questions import is_computing, is_float_product
from pullback.compiler.schedule.scratch import chain_scratch
from pullback.compiler.schedule.stacks import StackTiling
from pullback.compiler.schedule.steps import Chain, Group, Product, Room, Schedule, Step
from pullback.compiler.schedule.target import Processor
from pullback.core.graph import Equation, Graph, Literal, Variable
from pullback.errors import CompileError

__all__ = ["Program", "emit_program"]


class Compiled(NamedTuple):
    """The functions of a kernel, which equal steps share: ``stages`` with numbers of chunks.

    A stage starts when all chunks of the one before it are done.
    """

    stages: list[tuple[Any, int]]
    scratch_bytes: int


class Made(NamedTuple):
    """A kernel for the values of one step."""

    stages: list[tuple[Any, int]]
    variables: list[Variable]
    scratch_bytes: int


def require_declared(declared: int, taken: int, step: Step) -> None:
    """Memory is placed before kernels are written, so none may take more than was declared.

    Raises:
        CompileError: if a step does.
    """
    if taken > declared:
        raise CompileError(
            f"{step.equation.primitive.name} takes {taken} bytes of working memory, and has "
            f"declared {declared}",
            fix="report this, with the program; until then, run the function without compile",
        )


class Program:
    """LLVM text of a graph with what it needs at run time.

    ``checked`` has equations that may fail, each with the status that stands for it, from 1;
    ``callbacks`` are the equations that NumPy evaluates, which the program reaches through the
    addresses behind the status; ``donations`` are pairs of an input and the output that takes its
    memory. ``passes`` are the graphs that were made on the way, by name.
    """

    def __init__(
        self,
        schedule: Schedule,
        allow_callbacks: bool,
        donated: Collection[int],
        passes: Mapping[str, Graph],
    ) -> None:
        self.module = Module("pullback", schedule.processor)
        self.passes = passes
        self.schedule = schedule
        self.allow_callbacks = allow_callbacks
        self.checked: dict[Equation, int] = {}
        self.callbacks: list[Equation] = []
        self.kernels: dict[Hashable, Compiled] = {}
        self.has_jobs = False  # for several threads
        self.notes: dict[str, tuple[Schedule, Step]] = {}  # by the names of functions
        self.n_chunks: list[int] = []  # of each step
        graph, alias = schedule.graph, schedule.alias
        self.donations = [
            (i, graph.outputs.index(alias[graph.inputs[i]]))
            for i in donated
            if graph.inputs[i] in alias
        ]

    @property
    def arena_bytes(self) -> int:
        """Working memory of a call, that of bodies included."""
        return self.schedule.total_bytes

    @property
    def text(self) -> str:
        return str(self.module)

    @property
    def in_numpy(self) -> list[str]:
        """What NumPy evaluates, and where the user asks for it."""
        return [f"{asked_for(e)[0]}  # {e.source}" for e in self.callbacks]

    @property
    def listing(self) -> str:
        """The text, and above each kernel what it computes, with the user's lines."""

        def with_note(definition: re.Match[str]) -> str:
            if definition[1] not in self.notes:
                return definition[0]
            plan, step = self.notes[definition[1]]
            notes = "".join(f"; {plan.described(part)}\n" for part in step.parts)
            return f"{notes}{definition[0]}"

        return re.sub(r'^define .*@"([^"]*)"', with_note, self.text, flags=re.MULTILINE)


def emit_program(
    graph: Graph,
    processor: Processor,
    allow_callbacks: bool = True,
    donated: Collection[int] = (),
    check: Check = unchecked,
) -> Program:
    """Turn ``graph`` into LLVM; the function is called ``main``.

    Results may be written over the ``donated`` inputs, which are numbers; ``check`` is called with
    what each stage makes.

    Raises:
        CompileError: if an equation has no native form and ``allow_callbacks`` is false.
    """
    arranged, shown = rewritten(graph, check)
    results = set(arranged.outputs)
    room: Room = {arranged.inputs[i]: results for i in donated}
    schedule = planned(arranged, room, False, processor, check)
    program = Program(schedule, allow_callbacks, donated, shown)
    program.n_chunks = FunctionEmitter(program, schedule, "main").emit()
    return program


class FunctionEmitter:
    """Writes one schedule as one program: its kernels, and the table of rows that calls them."""

    def __init__(self, program: Program, plan: Schedule, name: str) -> None:
        self.program = program
        self.plan = plan
        self.graph = plan.graph
        self.own_bytes = plan.arena_bytes
        self.function = ir.Function(program.module, MAIN, name)
        if name != "main":
            self.function.linkage = "internal"
        self.rows: list[Row] = []
        self.places: dict[Variable, int] = {}
        self.copies: list[tuple[Variable | Literal, int]] = []  # from an operand to an entry

    def emit(self) -> list[int]:
        """Write all kernels, then the rows; returns the number of chunks of each step."""
        self.places = self.bind_memory()
        made = [self.made(step) for step in self.plan.steps]
        n_chunks = []
        for i, m in enumerate(made):
            first = len(self.rows)
            self.step = self.plan.steps[i]
            self.emit_step(i, m)
            n_chunks.append(max((row.n_chunks for row in self.rows[first:]), default=0))
            for row in self.rows[first:]:
                self.program.notes.setdefault(row.function.name, (self.plan, self.step))
        self.copy_outputs()
        emit_rows(self.module, self.function, self.rows)
        return n_chunks

    @property
    def module(self) -> Module:
        return self.program.module

    @property
    def callbacks(self) -> list[Equation]:
        return self.program.callbacks

    # -- memory -------------------------------------------------------------------------------
    def bind_memory(self) -> dict[Variable, int]:
        """Where values are, as operands of rows."""
        places = {v: at_entry(i) for i, v in enumerate(self.graph.inputs)}
        n = len(self.graph.inputs)
        for i, v in enumerate(self.graph.outputs):
            owner = self.plan.owner(v) if isinstance(v, Variable) else None
            if owner is not None and owner not in places:
                places[owner] = at_entry(n + i)
            else:
                self.copies.append((v, n + i))
        hosted = {
            v: at_entry(~places[host], start) for v, (host, start) in self.plan.hosted.items()
        }
        return {**places, **hosted, **self.plan.offsets}

    def place(self, variable: Variable) -> int:
        return self.places[self.plan.owner(variable)]

    def reserve(self, n_bytes: int) -> None:
        """Take memory behind our own arena, free after the step, which has declared it.

        Raises:
            CompileError: if it has declared less.
        """
        require_declared(self.plan.behind.get(self.step, 0), n_bytes, self.step)

    def nested(self, number: int) -> FunctionEmitter:
        """The program of a graph inside of this step."""
        name = self.program.module.get_unique_name("body")
        inner = FunctionEmitter(self.program, self.plan.bodies[self.step][number], name)
        inner.emit()
        return inner

    # -- steps --------------------------------------------------------------------------------
    def made(self, step: Step, n_chunks: int = 0) -> Made | CompileError | None:
        """The kernel of a step; why it has none; or nothing, where other programs are called.

        A member of a chain has the ``n_chunks`` of that.
        """
        equation = step.equation
        if isinstance(step, Chain):
            return self.chain(step, [self.made(member, step.n_chunks) for member in step.members])
        try:
            if is_float_product(equation):
                return self.product(step)
            if isinstance(step, Group):
                return self.kernel_of(step, emit_group, n_chunks)
            if emitter := kernel_for(equation):
                return self.kernel_of(step, emitter, n_chunks)
        except CompileError as error:
            if len(step.parts) > 1 or len(step.equations) > 1:
                raise
            return error
        if equation.primitive.name in CONTROL:
            return None
        return CompileError(f"{asked_for(equation)[0]} has no native form")

    def chain(self, chain: Chain, members: Sequence[Any]) -> Made:
        """``chain(status, *operands of all members, working memory, chunk)`` calls all of them."""
        functions = [function for made in members for function, _ in made.stages]
        n_chunks = chain.n_chunks
        assert {n for made in members for _, n in made.stages} == {n_chunks}
        key = "chain", *functions
        kernel = self.program.kernels.get(key)
        if kernel is None:
            scratch = chain_scratch(self.plan, chain)
            for made, size, member in zip(members, scratch.sizes, chain.members, strict=True):
                require_declared(size, made.scratch_bytes, member)
            calls = [Member(f, len(m.variables)) for f, m in zip(functions, members, strict=True)]
            function = emit_chain(self.program.module, calls, n_chunks, scratch)
            kernel = Compiled([(function, n_chunks)], scratch.n_bytes)
            self.program.kernels[key] = kernel
        variables = [v for made in members for v in made.variables]
        return Made(kernel.stages, variables, kernel.scratch_bytes)

    def emit_step(self, i: int, made: Made | CompileError | None) -> None:
        equation = self.step.equation
        if isinstance(made, Made):
            host, start, declared = self.plan.scratch.get(i, (None, 0, 0))
            require_declared(declared, made.scratch_bytes, self.step)
            self.add_rows(made, start if host is None else at_entry(~self.places[host], start))
        elif made is not None:
            self.call_numpy(equation, made)
        else:
            try:
                if is_independent(equation):
                    self.add_row(emit_iterations(self, self.step))
                else:
                    self.emit_code(lambda code: CONTROL[equation.primitive.name](code, equation))
            except CompileError as error:
                self.call_numpy(equation, error)

    def call_numpy(self, equation: Equation, error: CompileError) -> None:
        """A callback, if these are allowed, instead of what raised the error."""
        if not self.program.allow_callbacks:
            raise CompileError(
                error.headline,
                where=str(equation.source),
                details=[f"operands: {', '.join(map(str, asked_for(equation)[1]))}"],
                fix="compile with callbacks=True, which evaluates this operation in NumPy",
            ) from error
        self.program.callbacks.append(equation)
        number = len(self.program.callbacks) - 1
        self.emit_code(lambda code: emit_callback(code, equation, number))

    def copy_outputs(self) -> None:
        """Outputs that are inputs, literals or repeated."""
        if self.copies:
            self.emit_code(lambda code: emit_copies(code, self.copies))

    def emit_code(self, emit: Callable[[Code], None]) -> None:
        """A step that is no kernel."""
        code = Code(self)
        with written(code.builder):
            emit(code)
        self.rows.append(Row(code.function, 0, []))

    def product(self, step: Step) -> Made:
        (out,) = step.outputs
        if not out.type.size:
            return Made([], [], 0)
        assert isinstance(step, Product)
        assert isinstance(step.tiling, StackTiling)
        tiling = step.tiling
        plan, tail, prologues = self.plan, step.tail, step.prologues
        before = {i: plan.memory_of(s.outputs) for i, s in prologues.items()}
        key: Hashable = tiling.key, tail and structure(plan, tail)
        for i, prologue in prologues.items():
            key = key, i, structure(plan, prologue)
        others = plan.memory(tail) if tail else []
        kernel = self.program.kernels.get(key)
        if kernel is None:
            follow = self.tail(tail, tiling.sizes[1]) if tail else None
            emitted = {
                i: (self.prologue(s, before[i], i), len(before[i])) for i, s in prologues.items()
            }
            stack = Stack(self.program.module, tiling)
            stages = stack.stages(follow, len(others), emitted)
            kernel = Compiled(stages, tiling.scratch_bytes)
            self.program.kernels[key] = kernel
        operands = [out if i in prologues else v for i, v in enumerate(tiling.operands)]
        others = [*others, *(v for i in prologues for v in before[i])]
        return Made(kernel.stages, [*operands, out, *others], kernel.scratch_bytes)

    def prologue(self, step: Step, reads: list[Variable], operand: int) -> Any:
        """The function of the map that is operand number 0 or 1 of a product: see `Product.share`.

        What it finds are the first row, or column, of the piece; the status; and its operands.
        """
        (v,) = step.outputs
        _, function = self.body(
            step,
            [I64] * 4 + [POINTER],
            lambda kernel, others: emit_prologue(kernel, v, others[:4], others[4]),
            reads,
        )
        return emit_finder(self.program.module, function, len(reads), operand)

    def tail(self, step: Step, length: int) -> Any:
        """The function of the tail of a product with rows of this length."""
        _, function = self.body(
            step, [I64] * 4, lambda kernel, a: emit_tail(kernel, a[:2], a[2:], length)
        )
        return function

    def tail_of_images(self, step: Step, kernel: Kernel, status: Any) -> Callable[..., None]:
        """Calls the tail of a convolution from the kernel of that."""
        volume = math.prod(kernel.equation.outputs[0].type.shape[2:])
        _, function = self.body(
            step, [I64] * 2, lambda tail, rows: emit_tail_of_images(tail, rows, volume)
        )
        operands = [status, *(kernel.pointers[v] for v in self.plan.memory(step))]
        return lambda *rows: kernel.builder.call(function, [*operands, *rows])

    def variables(self, step: Step) -> list[Variable]:
        """The memory of a step and of its tail."""
        return list(dict.fromkeys(self.plan.touched(step)))

    def kernel_of(self, step: Step, emitter: Callable[[Kernel], None], n_chunks: int = 0) -> Made:
        variables = self.variables(step)
        key = kernel_key(self.plan, step, n_chunks)
        kernel = self.program.kernels.get(key)
        if kernel is None:
            body, function = self.kernel(step, emitter, n_chunks)
            stages = [(function, body.n_chunks)]
            if body.finish is not None:
                last, function = self.kernel(step, body.finish, n_chunks)
                stages.append((function, last.n_chunks))
            kernel = Compiled(stages, body.scratch_bytes)
            if not body.may_fail:  # else its code names the equation
                self.program.kernels[key] = kernel
        return Made(kernel.stages, variables, kernel.scratch_bytes)

    def add_rows(self, made: Made, scratch: int) -> None:
        operands = [*map(self.place, made.variables), scratch]
        for function, n_chunks in made.stages:
            self.add_row(Row(function, n_chunks, operands))

    def add_row(self, row: Row) -> None:
        self.rows.append(row)
        self.program.has_jobs |= row.n_chunks > 1

    def kernel(
        self, step: Step, emitter: Callable[[Kernel], None], n_chunks: int
    ) -> tuple[Kernel, Any]:
        """A kernel, and its function of the status, the memory, working memory and a chunk."""

        def emit(kernel: Kernel, others: list[Any]) -> None:
            kernel.working_memory, kernel.chunk = others
            emitter(kernel)

        return self.body(step, [POINTER, I64], emit, n_chunks=n_chunks)

    def body(
        self,
        step: Step,
        others: list[Any],
        emit: Callable[[Kernel, list[Any]], None],
        variables: list[Variable] | None = None,
        n_chunks: int = 0,
    ) -> tuple[Kernel, Any]:
        """The loops of a kernel: a function of the status, the memory of the step, and others.

        The memory does not overlap, which LLVM learns from the arguments: so loops vectorize.
        """
        module = self.program.module
        variables = self.variables(step) if variables is None else variables
        kind = ir.FunctionType(ir.VoidType(), [POINTER] * (1 + len(variables)) + others)
        function = ir.Function(module, kind, module.get_unique_name("kernel"))
        function.linkage = "internal"
        function.attributes.add("noinline")
        self.program.notes[function.name] = self.plan, step
        if is_computing(self.plan, step):
            with_whole_vectors(function)
        status, *arguments = function.args
        for argument in arguments[: len(variables)]:
            argument.add_attribute("noalias")
        builder = ir.IRBuilder(function.append_basic_block("entry"))

        def fail(build: ir.IRBuilder) -> None:
            self.store_status(build, status, step.equation)

        pointers = dict(zip(variables, arguments, strict=False))
        kernel = Kernel(self.plan, step, builder, pointers, fail, n_chunks)
        if isinstance(step, Product) and step.tail is not None:
            kernel.tail = self.tail_of_images(step.tail, kernel, status)
        with written(builder):
            emit(kernel, arguments[len(variables) :])
        return kernel, function

    def store_status(self, builder: ir.IRBuilder, status: Any, equation: Equation) -> None:
        """Report a failure; what fails after it may do so for lack of its result."""
        checked = self.program.checked
        number = I32(checked.setdefault(equation, len(checked) + 1))
        before = builder.load(status, typ=I32)
        is_first = builder.icmp_signed("==", before, I32(0))
        builder.store(builder.select(is_first, number, before), status)

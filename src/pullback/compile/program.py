"""Programs: a graph as one LLVM function that runs its kernels in order over one arena.

Every function has the signature ``void f(pointers, arena, status)``: a table of pointers to inputs
and outputs, working memory, and a place for the number of an equation that failed, followed by the
addresses of the pool's ``run``, of the pool and of the callbacks. Bodies of loops and branches are
functions of the same kind, called with tables of their own. Nothing of the running process is
written into the text, so that its object code can be kept and used again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pullback.compile.entry import HEAD_WORDS, MAIN, Callee
from pullback.compile.forms import kernel_for
from pullback.compile.ir import I8, I32, I64, POINTER, ZERO, ir, loop, scalar_type
from pullback.compile.kernels import Kernel
from pullback.compile.llvm import ScalarEmitter
from pullback.compile.products import emit_matmul
from pullback.compile.schedule import Schedule, Step, aligned, is_float_product, schedule
from pullback.core.graph import Equation, Graph, Literal, Variable
from pullback.core.types import ArrayType
from pullback.errors import CompileError
from pullback.transforms.passes.expand import expand
from pullback.transforms.passes.fission import fission
from pullback.transforms.passes.pipeline import optimize
from pullback.transforms.passes.transposes import turn_products

__all__ = ["Program", "emit_program"]

CALLBACK = ir.FunctionType(ir.VoidType(), [POINTER, POINTER])
CHUNK = ir.FunctionType(ir.VoidType(), [POINTER, I64])
RUN = ir.FunctionType(ir.VoidType(), [POINTER, POINTER, POINTER, I64])


class Program:
    """LLVM text of a graph with what it needs at run time.

    ``checked[k]`` is the equation that status ``k + 1`` stands for; ``callbacks`` are the equations
    that NumPy evaluates, which the program reaches through the addresses behind the status.
    """

    def __init__(self) -> None:
        self.module = ir.Module("pullback")
        self.checked: list[Equation] = []
        self.callbacks: list[Equation] = []
        self.kernels: dict[str, Any] = {}  # by the text of their bodies
        self.has_jobs = False  # for several threads
        self.arena_bytes = 0
        self.schedule: Schedule | None = None

    @property
    def text(self) -> str:
        return str(self.module)

    def unique(self, function: Any) -> Any:
        """The first kernel with the same body, which replaces ``function``: layers share code."""
        body = str(function).replace(function.name, "", 1)
        first = self.kernels.setdefault(body, function)
        if first is not function:
            del self.module.globals[function.name]
        return first


def emit_program(graph: Graph, allow_callbacks: bool = True) -> Program:
    """Turn ``graph`` into LLVM; the function is called ``main``.

    Raises:
        CompileError: if an equation has no native form and ``allow_callbacks`` is false.
    """
    program = Program()
    graph = optimize(fission(turn_products(optimize(expand(graph)))))
    function = FunctionEmitter(program, graph, "main", allow_callbacks)
    program.arena_bytes = function.arena_bytes
    program.schedule = function.plan
    return program


class FunctionEmitter:
    """Emits one graph as one function; ``arena_bytes`` is its working memory, callees included."""

    def __init__(self, program: Program, graph: Graph, name: str, allow_callbacks: bool) -> None:
        self.program = program
        self.graph = graph
        self.plan = schedule(graph)
        self.allow_callbacks = allow_callbacks
        self.function = ir.Function(program.module, MAIN, name)
        if name != "main":
            self.function.linkage = "internal"
        self.builder = ir.IRBuilder(self.function.append_basic_block("entry"))
        self.table, self.arena, self.status = self.function.args
        self.own_bytes = self.plan.arena_bytes
        self.nested_bytes = 0
        self.pointers = self.bind_memory()
        for step in self.plan.steps:
            self.emit_step(step)
        self.copy_outputs()
        self.builder.ret_void()
        self.arena_bytes = self.own_bytes + self.nested_bytes

    # -- memory -------------------------------------------------------------------------------
    def offset(self, pointer: Any, n_bytes: int | Any) -> Any:
        n = ir.Constant(I64, n_bytes) if isinstance(n_bytes, int) else n_bytes
        return self.builder.gep(pointer, [n], source_etype=I8)

    def entry(self, i: int) -> Any:
        address = self.builder.gep(self.table, [ir.Constant(I64, i)], source_etype=POINTER)
        return self.builder.load(address, typ=POINTER)

    def bind_memory(self) -> dict[Variable, Any]:
        pointers: dict[Variable, Any] = {v: self.entry(i) for i, v in enumerate(self.graph.inputs)}
        n = len(self.graph.inputs)
        self.direct: set[int] = set()
        for i, v in enumerate(self.graph.outputs):
            if isinstance(v, Variable) and v not in pointers:
                pointers[v] = self.entry(n + i)
                self.direct.add(i)
        for v, place in self.plan.offsets.items():
            pointers[v] = self.offset(self.arena, place)
        return pointers

    def copy(self, source: Any, target: Any, n_bytes: int) -> None:
        """``memcpy`` of a fixed number of bytes."""
        if n_bytes:
            module = self.program.module
            name = "llvm.memcpy.p0.p0.i64"
            kind = ir.FunctionType(ir.VoidType(), [POINTER, POINTER, I64, ir.IntType(1)])
            move = module.globals.get(name) or ir.Function(module, kind, name)
            self.builder.call(
                move, [target, source, ir.Constant(I64, n_bytes), ir.Constant(ir.IntType(1), 0)]
            )

    def copy_outputs(self) -> None:
        """Outputs that are inputs, literals or repeated."""
        for i, v in enumerate(self.graph.outputs):
            if i not in self.direct:
                self.copy(self.address(v), self.entry(len(self.graph.inputs) + i), v.type.nbytes)

    def address(self, operand: Variable | Literal) -> Any:
        """Memory that holds an operand; a literal gets a place at the head of the function."""
        if isinstance(operand, Variable):
            return self.pointers[self.plan.owner(operand)]
        emit = ScalarEmitter(self.builder)
        with self.builder.goto_entry_block():
            place = self.builder.alloca(scalar_type(operand.type.dtype))
        emit.store(emit.constant(operand.value, operand.type.dtype), place, ir.Constant(I64, 0))
        return place

    # -- steps --------------------------------------------------------------------------------
    def emit_step(self, step: Step) -> None:
        name = step.equation.primitive.name
        emitter = kernel_for(step.equation)
        try:
            if is_float_product(step.equation):
                emit_matmul(self, step.equation)
            elif emitter is not None:
                self.emit_kernel(step, emitter)
            elif name in CONTROL:
                CONTROL[name](self, step.equation)
            else:
                raise CompileError(f"{name} has no native form")
        except CompileError as error:
            if not self.allow_callbacks:
                raise CompileError(
                    error.headline,
                    where=str(step.equation.source),
                    details=[f"operands: {', '.join(str(v.type) for v in step.equation.inputs)}"],
                    fix="compile with callbacks=True, which evaluates this operation in NumPy",
                ) from error
            self.emit_callback(step.equation)

    def emit_kernel(self, step: Step, emitter: Callable[[Kernel], None]) -> None:
        """Functions of its own for the kernel: their pointers do not overlap, so loops vectorize.

        The first computes a chunk, where there are several the second what follows all of them.
        """
        variables = [*step.reads, *step.outputs]
        body, function = self.kernel(step, variables, emitter)
        if body.finish is not None:
            _, after = self.kernel(step, variables, body.finish)
        addresses = [self.pointers[v] for v in variables]
        operands = [*addresses, self.status, self.scratch(body.scratch_bytes)]
        self.emit_chunks(function, operands, body.n_chunks)
        if body.finish is not None:
            self.builder.call(after, [*operands, ZERO])

    def kernel(
        self, step: Step, variables: Sequence[Variable], emitter: Callable[[Kernel], None]
    ) -> tuple[Kernel, Any]:
        """A kernel, and its function of the variables' memory, status, scratch memory, chunk."""
        module = self.program.module
        kind = ir.FunctionType(ir.VoidType(), [POINTER] * (len(variables) + 2) + [I64])
        function = ir.Function(module, kind, module.get_unique_name("kernel"))
        function.linkage = "internal"  # and not a second time inside its caller
        function.attributes.add("noinline")
        *places, status, working_memory, chunk = function.args
        for argument in places:
            argument.add_attribute("noalias")
        builder = ir.IRBuilder(function.append_basic_block("entry"))

        def fail(build: ir.IRBuilder) -> None:
            self.store_status(build, status, step.equation)

        pointers = dict(zip(variables, places, strict=True))
        body = Kernel(self.plan, step, builder, pointers, fail, working_memory, chunk)
        try:
            emitter(body)
        except CompileError:
            del module.globals[function.name]
            raise
        builder.ret_void()
        return body, self.program.unique(function)

    def emit_chunks(self, function: Any, operands: Sequence[Any], n_chunks: int) -> None:
        """Call ``function(*operands, chunk)`` for every chunk, on the threads of the pool."""
        if n_chunks == 1:
            self.builder.call(function, [*operands, ZERO])
            return
        module = self.program.module
        chunk = ir.Function(module, CHUNK, module.get_unique_name("chunk"))
        chunk.linkage = "internal"
        builder = ir.IRBuilder(chunk.append_basic_block("entry"))
        table, number = chunk.args
        places = [
            builder.gep(table, [ir.Constant(I64, i)], source_etype=POINTER)
            for i in range(len(operands))
        ]
        builder.call(function, [*(builder.load(p, typ=POINTER) for p in places), number])
        builder.ret_void()
        run, pool = (
            self.builder.load(self.offset(self.status, 8 * (1 + i)), typ=POINTER) for i in range(2)
        )
        job = [pool, self.program.unique(chunk), self.pointer_table(operands)]
        self.builder.call(Callee(run, RUN), [*job, ir.Constant(I64, n_chunks)])
        self.program.has_jobs = True

    def store_status(self, builder: ir.IRBuilder, status: Any, equation: Equation) -> None:
        """Report a failure; what fails after it may do so for lack of its result."""
        if equation not in self.program.checked:
            self.program.checked.append(equation)
        number = ir.Constant(I32, self.program.checked.index(equation) + 1)
        before = builder.load(status, typ=I32)
        is_first = builder.icmp_signed("==", before, ir.Constant(I32, 0))
        builder.store(builder.select(is_first, number, before), status)

    def emit_callback(self, equation: Equation) -> None:
        """NumPy evaluates the equation, on arrays that share the program's memory."""
        number = len(self.program.callbacks)
        self.program.callbacks.append(equation)
        place = self.offset(self.status, 8 * (HEAD_WORDS + number))
        target = Callee(self.builder.load(place, typ=POINTER), CALLBACK)
        operands = [v for v in equation.inputs if isinstance(v, Variable)]
        table = self.pointer_table(
            [*map(self.address, operands), *(self.pointers[v] for v in equation.outputs)]
        )
        self.builder.call(target, [table, self.status])

    def pointer_table(self, addresses: Sequence[Any]) -> Any:
        with self.builder.goto_entry_block():
            table = self.builder.alloca(POINTER, max(len(addresses), 1))
        for i, address in enumerate(addresses):
            place = self.builder.gep(table, [ir.Constant(I64, i)], source_etype=POINTER)
            self.builder.store(address, place)
        return table

    # -- graphs inside graphs -----------------------------------------------------------------
    def nested(self, graph: Graph, local_bytes: int = 0) -> tuple[Any, Any]:
        """Emit a body; returns its function and its arena, behind ``local_bytes`` of ours."""
        name = self.program.module.get_unique_name("body")
        inner = FunctionEmitter(self.program, graph, name, self.allow_callbacks)
        self.nested_bytes = max(self.nested_bytes, local_bytes + inner.arena_bytes)
        return inner.function, self.offset(self.arena, self.own_bytes + local_bytes)

    def scratch(self, n_bytes: int) -> Any:
        """Memory behind our own arena, free after the equation that takes it."""
        self.nested_bytes = max(self.nested_bytes, n_bytes)
        return self.offset(self.arena, self.own_bytes)

    def run(self, function: Any, arena: Any, addresses: Sequence[Any]) -> None:
        self.builder.call(function, [self.pointer_table(addresses), arena, self.status])

    def local(self, types: Sequence[ArrayType], start: int = 0) -> tuple[list[Any], int]:
        """Places behind our own arena for values of these types; returns the end."""
        places = []
        for type in types:
            places.append(self.offset(self.arena, self.own_bytes + start))
            start += aligned(type.nbytes)
        return places, start

    def row(self, operand: Variable | Literal, i: Any) -> Any:
        """Pointer to element ``i`` along the leading axis."""
        n_bytes = operand.type.nbytes // max(operand.type.shape[0], 1)
        return self.offset(self.address(operand), self.builder.mul(i, ir.Constant(I64, n_bytes)))


def emit_call(emitter: FunctionEmitter, equation: Equation) -> None:
    function, arena = emitter.nested(equation.params["graph"])
    emitter.run(
        function,
        arena,
        [*map(emitter.address, equation.inputs), *(emitter.pointers[v] for v in equation.outputs)],
    )


def emit_scan(emitter: FunctionEmitter, equation: Equation) -> None:
    """Each step reads the carry at one of two places and writes it to the other."""
    params, builder = equation.params, emitter.builder
    body, n_constants, n_carry = params["body"], params["n_constants"], params["n_carry"]
    length: int = params["length"]
    types = body.input_types[n_constants : n_constants + n_carry]
    even, end = emitter.local(types)
    odd, end = emitter.local(types, end)
    function, arena = emitter.nested(body, end)
    inputs, outputs = equation.inputs, equation.outputs
    constants = [emitter.address(v) for v in inputs[:n_constants]]
    for v, place, type in zip(inputs[n_constants:], even, types, strict=False):
        emitter.copy(emitter.address(v), place, type.nbytes)
    if length:
        with loop(builder, length, params["reverse"]) as i:
            step = builder.sub(ir.Constant(I64, length - 1), i) if params["reverse"] else i
            is_odd = builder.trunc(step, ir.IntType(1))
            pairs = list(zip(even, odd, strict=True))
            emitter.run(
                function,
                arena,
                [
                    *constants,
                    *(builder.select(is_odd, b, a) for a, b in pairs),
                    *(emitter.row(v, i) for v in inputs[n_constants + n_carry :]),
                    *(builder.select(is_odd, a, b) for a, b in pairs),
                    *(emitter.row(v, i) for v in outputs[n_carry:]),
                ],
            )
    for v, place, type in zip(outputs, odd if length % 2 else even, types, strict=False):
        emitter.copy(place, emitter.pointers[v], type.nbytes)


def emit_cond(emitter: FunctionEmitter, equation: Equation) -> None:
    pred, *operands = equation.inputs
    on_false, on_true = equation.params["branches"]
    addresses = [*map(emitter.address, operands), *(emitter.pointers[v] for v in equation.outputs)]
    emit = ScalarEmitter(emitter.builder)
    flag = emit.truth(emit.load(emitter.address(pred), ir.Constant(I64, 0), pred.type.dtype))
    functions = [emitter.nested(graph) for graph in (on_true, on_false)]
    table = emitter.pointer_table(addresses)
    with emitter.builder.if_else(flag.value) as (then, otherwise):
        for branch, (function, arena) in zip((then, otherwise), functions, strict=True):
            with branch:
                emitter.builder.call(function, [table, arena, emitter.status])


def emit_while(emitter: FunctionEmitter, equation: Equation) -> None:
    params = equation.params
    test, body, n_test, n_body = (params[k] for k in ("test", "body", "n_test", "n_body"))
    types = body.input_types[n_body:]
    before, end = emitter.local(types)
    after, end = emitter.local(types, end)
    (verdict,), end = emitter.local([ArrayType((), np.bool_)], end)
    run_test, test_arena = emitter.nested(test, end)
    run_body, body_arena = emitter.nested(body, end)
    inputs = [emitter.address(v) for v in equation.inputs]
    for source, place, type in zip(inputs[n_test + n_body :], before, types, strict=True):
        emitter.copy(source, place, type.nbytes)
    builder = emitter.builder
    check, step, done = (builder.append_basic_block(name) for name in ("check", "step", "done"))
    builder.branch(check)
    builder.position_at_end(check)
    emitter.run(run_test, test_arena, [*inputs[:n_test], *before, verdict])
    flag = ScalarEmitter(builder).load(verdict, ir.Constant(I64, 0), np.dtype(bool))
    builder.cbranch(flag.value, step, done)
    builder.position_at_end(step)
    emitter.run(run_body, body_arena, [*inputs[n_test : n_test + n_body], *before, *after])
    for source, place, type in zip(after, before, types, strict=True):
        emitter.copy(source, place, type.nbytes)
    builder.branch(check)
    builder.position_at_end(done)
    for v, place, type in zip(equation.outputs, before, types, strict=True):
        emitter.copy(place, emitter.pointers[v], type.nbytes)


CONTROL: dict[str, Callable[[FunctionEmitter, Equation], None]] = {
    "call": emit_call,
    "checkpoint": emit_call,
    "scan": emit_scan,
    "cond": emit_cond,
    "while_loop": emit_while,
}

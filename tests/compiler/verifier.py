"""Checks of what every pass of the compiler gives: graphs, schedules, LLVM modules."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from pullback.compiler.runtime.frame import ALIGNMENT
from pullback.compiler.schedule.plan import Schedule, Step
from pullback.core.graph import Equation, Graph, Literal, Variable
from pullback.transforms.passes.pipeline import bodies

PIPELINE, PROGRAM = "pullback.transforms.passes.pipeline", "pullback.compiler.program.emitter"
PASSES = [
    *[f"{PIPELINE}.{name}" for name in ("inline", "settle_carries", "simplify", "cse", "dce")],
    *[f"{PROGRAM}.{name}" for name in ("expand", "turn_products", "join_folds", "fission")],
    *[
        f"{PROGRAM}.{name}"
        for name in (
            "sink_reshapes",
            "restack",
            "choose_layouts",
            "optimize",
            "repeat",
            "rematerialise",
        )
    ],
]


def verify_graph(made: Graph | Schedule) -> None:
    """The graph that a pass has made, or plans, and those inside of it."""
    graph = made if isinstance(made, Graph) else made.graph
    graph.verify()
    for equation in graph.equations:
        for body in bodies(equation):
            verify_graph(body)


def leaves(plan: Schedule, equation: Equation) -> set[Variable]:
    """The values in memory that an equation reads, through the expressions inside of it."""
    found: set[Variable] = set()

    def visit(operand: Variable | Literal) -> None:
        if isinstance(operand, Literal):
            return
        if operand in plan.in_memory:
            found.add(content(plan, operand))
        else:
            for v in plan.makers[operand].inputs:
                visit(v)

    for v in equation.inputs:
        visit(v)
    return found


def content(plan: Schedule, v: Variable) -> Variable:
    """The value that ``v`` is a reshape of, in the same memory."""
    while v in plan.makers and plan.makers[v].primitive.name == "reshape":
        (source,) = plan.makers[v].inputs
        if isinstance(source, Literal) or plan.owner(source) is not plan.owner(v):
            break
        v = source
    return v


def verify_schedule(plan: Schedule, scratch: Sequence[int] = ()) -> None:
    """Everything is written once and read while it is there: memory is simulated step by step."""
    verify_hosts(plan)
    fixed = plan.results.union(plan.graph.inputs)
    held = {plan.owner(v): v for v in plan.graph.inputs}  # by the memory: whose value is in it
    written = set(plan.graph.inputs)
    last = {v: i for i, step in enumerate(plan.steps) for v in plan.touched(step)}
    live: set[Variable] = set()
    for i, step in enumerate(plan.steps):
        for part in step.parts:
            verify_part(plan, part, held, written)
        for v in plan.touched(step):
            if v not in fixed and v not in live:
                verify_place(plan, extent(plan, v), live)
                live.add(v)
        if i in plan.scratch:
            assert plan.scratch[i][2] == scratch[i]
            verify_scratch(plan, i, live)
        live = {v for v in live if last[v] > i}
    for v in plan.local:
        knowing = [step for step in plan.steps for p in step.parts if v in plan.owners(p)]
        assert len(set(map(id, knowing))) == 1, "a local value is known elsewhere"
        assert v not in plan.results, "a local value is a result"
    for v in plan.graph.outputs:
        if isinstance(v, Variable):
            assert held.get(plan.owner(v)) is content(plan, v), "an output is not there in the end"


def verify_part(
    plan: Schedule, part: Step, held: dict[Variable, Variable], written: set[Variable]
) -> None:
    """A kernel is passed what it reads and writes, and finds what it reads."""
    verify_loop(plan, part.equation)
    passed, loaded = set(plan.owners(part)), set()
    for equation in part.equations:
        for v in leaves(plan, equation):
            assert plan.owner(v) in passed, "an operand is not passed to the kernel"
            is_there = held.get(plan.owner(v)) is v or v in loaded
            assert is_there, f"{equation.primitive.name} reads what is not there"
            loaded.add(v)
        for v in equation.outputs:
            if v in plan.in_memory:
                assert v not in written, "written twice"
                assert plan.owner(v) in passed, "a result is not passed to the kernel"
                held[plan.owner(v)] = v
                written.add(v)


def verify_loop(plan: Schedule, equation: Equation) -> None:
    """The body of a loop runs again: only its state may lie where the state began."""
    n_carry = {"scan": equation.params.get("n_carry"), "while_loop": len(equation.outputs)}
    n = n_carry.get(equation.primitive.name)
    if n is not None:
        first = equation.params.get("n_constants", len(equation.inputs) - n)
        for i, v in enumerate(equation.inputs):
            for j, out in enumerate(equation.outputs):
                if isinstance(v, Variable) and plan.owner(v) is plan.owner(out):
                    assert j < n, "rows are written over an operand"
                    assert i == first + j, "a loop writes over what it reads again"


def verify_scratch(plan: Schedule, i: int, live: set[Variable]) -> None:
    """Working memory is nobody else's, and no output's that has been written."""
    host, start, size = plan.scratch[i]
    verify_place(plan, (host, start, start + size), live)
    if host is not None:
        assert host in plan.results
        assert not any(host in plan.touched(step) for step in plan.steps[: i + 1])


def verify_place(
    plan: Schedule, place: tuple[Variable | None, int, int], live: set[Variable]
) -> None:
    host, start, stop = place
    assert start % ALIGNMENT == 0
    assert stop <= (plan.arena_bytes if host is None else host.type.nbytes), "behind the memory"
    for other in live:
        there, begin, end = extent(plan, other)
        assert there is not host or stop <= begin or end <= start, "two values at one place"


def verify_hosts(plan: Schedule) -> None:
    """Outputs hold values only while nobody touches the outputs."""
    touched = [set(plan.touched(step)) for step in plan.steps]
    for v, (host, _) in plan.hosted.items():
        assert host in plan.results
        assert host not in map(plan.owner, plan.graph.inputs), "an input is there"
        last = max(i for i, memory in enumerate(touched) if v in memory)
        assert not any(host in memory for memory in touched[: last + 1]), "the output is there"


def extent(plan: Schedule, v: Variable) -> tuple[Variable | None, int, int]:
    host, start = plan.hosted.get(v) or (None, plan.offsets[v])
    return host, start, start + v.type.nbytes


@contextmanager
def verified() -> Iterator[list[str]]:
    """Verify after every pass; gives the names of the passes that ran."""
    ran: list[str] = []

    def checked(name: str, function: Callable, check: Callable) -> Callable:
        def run(*args: Any) -> Any:
            result = function(*args)
            check(result)
            ran.append(name)
            return result

        return run

    with pytest.MonkeyPatch.context() as patch:
        for path in PASSES:
            where, _, name = path.rpartition(".")
            module = importlib.import_module(where)
            patch.setattr(module, name, checked(name, getattr(module, name), verify_graph))
        program = importlib.import_module(PROGRAM)
        place = program.place

        def place_and_verify(plan: Schedule, scratch: Sequence[int]) -> None:
            place(plan, scratch)
            verify_schedule(plan, scratch)
            ran.append("schedule")

        patch.setattr(program, "place", place_and_verify)
        assembler = importlib.import_module("pullback.compiler.llvm.assembler")
        original = assembler.emit_object

        def emit_object(host: Any, module: Any) -> bytes:
            module.verify()
            ran.append("llvm")
            code: bytes = original(host, module)
            return code

        patch.setattr(assembler, "emit_object", emit_object)
        yield ran

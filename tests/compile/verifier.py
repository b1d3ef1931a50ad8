"""Checks of what every pass of the compiler gives: graphs, schedules, LLVM modules."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from pullback.compile.schedule import ALIGNMENT, Schedule, Step
from pullback.core.graph import Graph, Literal, Variable

PIPELINE, PROGRAM = "pullback.transforms.passes.pipeline", "pullback.compile.program"
PASSES = [
    *[f"{PIPELINE}.{name}" for name in ("inline", "simplify", "cse", "dce")],
    *[f"{PROGRAM}.{name}" for name in ("expand", "fission", "optimize")],
]


def bodies(graph: Graph) -> Iterator[Graph]:
    """The graphs among the parameters of the equations."""
    for equation in graph.equations:
        for value in equation.params.values():
            for inner in value if isinstance(value, tuple) else (value,):
                if isinstance(inner, Graph):
                    yield inner


def verify_graph(graph: Graph) -> None:
    """The graph and those inside of it."""
    graph.verify()
    for body in bodies(graph):
        verify_graph(body)


def leaves(plan: Schedule, step: Step) -> set[Variable]:
    """The values in memory that the expressions of a step are made of."""
    found: set[Variable] = set()

    def visit(operand: Variable | Literal) -> None:
        if isinstance(operand, Literal):
            return
        if operand in plan.in_memory:
            found.add(plan.owner(operand))
        else:
            for v in plan.makers[operand].inputs:
                visit(v)

    for equation in step.equations:
        for v in equation.inputs:
            visit(v)
    return found


def verify_schedule(plan: Schedule) -> None:
    """Everything is written once, before it is read, and stays in place until it was read."""
    inputs = set(plan.graph.inputs)
    outputs = {v for v in plan.graph.outputs if isinstance(v, Variable)}
    needed = [leaves(plan, step) for step in plan.steps]
    last = {v: i for i, read in enumerate(needed) for v in read}
    written = set(inputs)
    live: list[Variable] = []
    for i, step in enumerate(plan.steps):
        own: set[Variable] = set()
        assert needed[i] <= {*step.reads, *step.outputs}, "an operand is not passed to the kernel"
        for equation in step.equations:
            read = leaves(plan, Step([equation], []))
            assert read <= written | own, f"{equation.primitive.name} reads what is not yet written"
            own.update(equation.outputs)
        assert len(own) == len(step.outputs)
        assert own.isdisjoint(written), "written twice"
        written |= own
        live = [v for v in live if last.get(v, -1) >= i]
        for v in own - outputs:
            start, stop = extent(plan, v)
            assert start % ALIGNMENT == 0
            assert stop <= plan.arena_bytes, "behind the arena"
            for other in live:
                begin, end = extent(plan, other)
                assert stop <= begin or end <= start, "two values at one place"
            live.append(v)
    assert outputs <= written, "an output is not written"


def extent(plan: Schedule, v: Variable) -> tuple[int, int]:
    return plan.offsets[v], plan.offsets[v] + v.type.nbytes


class Host:
    """A target machine that takes verified modules only."""

    def __init__(self, host: Any) -> None:
        self.host = host

    def __getattr__(self, name: str) -> Any:
        return getattr(self.host, name)

    def emit_object(self, module: Any) -> bytes:
        module.verify()
        code: bytes = self.host.emit_object(module)
        return code


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
        for path in [*PASSES, f"{PROGRAM}.schedule"]:
            where, _, name = path.rpartition(".")
            module = importlib.import_module(where)
            check = verify_schedule if name == "schedule" else verify_graph
            patch.setattr(module, name, checked(name, getattr(module, name), check))
        engine = importlib.import_module("pullback.compile.engine")
        original = engine.compile_text

        def compile_text(text: str, host: Any) -> bytes:
            code: bytes = original(text, Host(host))
            ran.append("llvm")
            return code

        patch.setattr(engine, "compile_text", compile_text)
        yield ran

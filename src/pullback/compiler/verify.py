"""Checks of what the stages of the compiler make: graphs, schedules, and places in memory.

They run in all tests, and for users who ask for it (``compile(f, check_stages=True)``).
"""

from __future__ import annotations

from pullback.compiler.runtime.frame import ALIGNMENT
from pullback.compiler.schedule.steps import Schedule, Step
from pullback.core.graph import Equation, Graph, Literal, Variable
from pullback.errors import CompileError, PullbackError
from pullback.transforms.passes.pipeline import bodies

__all__ = ["checked", "verify_graph", "verify_memory", "verify_schedule"]


def checked(stage: str, made: Graph | Schedule) -> None:
    """Verify what a stage has made.

    Raises:
        CompileError: naming the stage, if it is wrong.
    """
    try:
        if isinstance(made, Graph):
            verify_graph(made)
        else:
            verify_graph(made.graph)
            verify_schedule(made)
            if stage == "place":
                verify_memory(made)
    except PullbackError as error:
        raise CompileError(
            f"the compiler's stage {stage} has made a mistake: {error.headline}",
            details=str(made).splitlines()[:40],
            fix="report this, with the program; until then, run the function without compile",
        ) from error


def require(condition: bool, message: str) -> None:
    if not condition:
        raise CompileError(message)


def verify_graph(graph: Graph) -> None:
    """Values are bound once, and before they are read; also in the graphs inside of equations.

    Raises:
        PullbackError: naming the equation.
    """
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


def verify_schedule(plan: Schedule) -> None:
    """Everything is written once, and read while it is there: steps are followed one by one.

    Raises:
        CompileError: saying what is wrong.
    """
    held: dict[Variable, Variable] = {}  # by the memory: whose value is in it
    held.update({plan.owner(v): v for v in plan.graph.inputs})
    written = set(plan.graph.inputs)
    knowing: dict[Variable, set[Step]] = {v: set() for v in plan.local}
    for step in plan.steps:
        for part in step.parts:
            verify_part(plan, part, held, written)
            for v in plan.owners(part):
                if v in knowing:
                    knowing[v].add(step)
    for known, steps in knowing.items():
        require(len(steps) == 1, "a local value is known elsewhere")
        require(known not in plan.results, "a local value is a result")
    for out in plan.graph.outputs:
        if isinstance(out, Variable):
            is_there = held.get(plan.owner(out)) is content(plan, out)
            require(is_there, "an output is not there in the end")


def verify_memory(plan: Schedule) -> None:
    """No two values that are needed at the same time share memory.

    Raises:
        CompileError: saying what is wrong.
    """
    verify_hosts(plan)
    fixed = plan.results.union(plan.graph.inputs)
    last = {v: i for i, step in enumerate(plan.steps) for v in plan.touched(step)}
    live: set[Variable] = set()
    for i, step in enumerate(plan.steps):
        for v in plan.touched(step):
            if v not in fixed and v not in live:
                verify_place(plan, extent(plan, v), live)
                live.add(v)
        if i in plan.scratch:
            verify_scratch(plan, i, live)
        live = {v for v in live if last[v] > i}


def verify_part(
    plan: Schedule, part: Step, held: dict[Variable, Variable], written: set[Variable]
) -> None:
    """A kernel is passed what it reads and writes, and finds what it reads."""
    verify_loop(plan, part.equation)
    passed, loaded = set(plan.owners(part)), set()
    for equation in part.equations:
        for v in leaves(plan, equation):
            require(plan.owner(v) in passed, "an operand is not passed to the kernel")
            is_there = held.get(plan.owner(v)) is v or v in loaded
            require(is_there, f"{equation.primitive.name} reads what is not there")
            loaded.add(v)
        for v in equation.outputs:
            if v in plan.in_memory:
                require(v not in written, "written twice")
                require(plan.owner(v) in passed, "a result is not passed to the kernel")
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
                    require(j < n, "rows are written over an operand")
                    require(i == first + j, "a loop writes over what it reads again")


def verify_scratch(plan: Schedule, i: int, live: set[Variable]) -> None:
    """Working memory is nobody else's, and no output's that has been written."""
    host, start, size = plan.scratch[i]
    verify_place(plan, (host, start, start + size), live)
    if host is not None:
        require(host in plan.results, "the host of a value is no output")
        is_early = any(host in plan.touched(step) for step in plan.steps[: i + 1])
        require(not is_early, "working memory lies in an output that is written")


def verify_place(
    plan: Schedule, place: tuple[Variable | None, int, int], live: set[Variable]
) -> None:
    host, start, stop = place
    require(start % ALIGNMENT == 0, "a value lies across a boundary")
    require(stop <= (plan.arena_bytes if host is None else host.type.nbytes), "behind the memory")
    for other in live:
        there, begin, end = extent(plan, other)
        require(there is not host or stop <= begin or end <= start, "two values at one place")


def verify_hosts(plan: Schedule) -> None:
    """Outputs hold values only while nobody touches the outputs."""
    touched = [set(plan.touched(step)) for step in plan.steps]
    for v, (host, _) in plan.hosted.items():
        require(host in plan.results, "the host of a value is no output")
        require(host not in map(plan.owner, plan.graph.inputs), "an input is there")
        last = max(i for i, memory in enumerate(touched) if v in memory)
        require(not any(host in memory for memory in touched[: last + 1]), "the output is there")


def extent(plan: Schedule, v: Variable) -> tuple[Variable | None, int, int]:
    host, start = plan.hosted.get(v) or (None, plan.offsets[v])
    return host, start, start + v.type.nbytes

"""What is computed where: which values get memory, in which order, at which place of the arena.

A value without memory is an expression inside the loops that read it (fusion). A value gets memory
if it is an output, if several steps read it, if the step that makes or reads it needs it as a whole
(matrix products, sorts, loops), or if it would be computed again for every element of a larger one.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from pullback.analysis.cost import equation_cost
from pullback.compile.scalars import has_scalar_form
from pullback.core.graph import Equation, Graph, Literal, Variable
from pullback.core.types import ArrayType

__all__ = [
    "Schedule",
    "Step",
    "aligned",
    "is_flat",
    "is_float_product",
    "is_inline",
    "is_plain",
    "is_squeeze",
    "schedule",
]

ALIGNMENT = 64
MAX_MAPS = 8  # in one loop: more streams than a processor prefetches gain nothing
MOVES = ("transpose", "broadcast_to", "index", "reshape")


def aligned(n_bytes: int) -> int:
    """Bytes that a value occupies, up to the next boundary."""
    return -(-max(n_bytes, 1) // ALIGNMENT) * ALIGNMENT


def is_squeeze(old: ArrayType, new: ArrayType) -> bool:
    """Whether a reshape only adds or removes axes of length 1."""
    return [n for n in old.shape if n != 1] == [n for n in new.shape if n != 1]


def is_move(equation: Equation) -> bool:
    """Whether the equation only renames positions: free inside a loop."""
    name = equation.primitive.name
    return name in MOVES and (
        name != "reshape" or is_squeeze(equation.inputs[0].type, equation.outputs[0].type)
    )


def is_inline(equation: Equation) -> bool:
    """Whether the equation can be an expression inside the loops of its readers."""
    if equation.primitive.family == "elementwise":
        return has_scalar_form(equation)
    return is_move(equation) or equation.primitive.name == "astype"


def is_alias(equation: Equation) -> bool:
    """Whether the output is the operand's memory under another shape."""
    return equation.primitive.name == "reshape" and not is_move(equation)


@dataclass(slots=True)
class Step:
    """One kernel: the equations whose outputs it writes, and the memory it reads.

    Several equations are maps over elements of one shape, computed in one loop.
    """

    equations: list[Equation]
    reads: list[Variable]
    map_shape: tuple[int, ...] | None = None  # if it is a map
    is_flat: bool = False  # the map is one loop over all elements

    @property
    def equation(self) -> Equation:
        return self.equations[0]

    @property
    def outputs(self) -> list[Variable]:
        return [v for equation in self.equations for v in equation.outputs]


@dataclass(slots=True)
class Schedule:
    """Steps in order, and a place for every value with memory.

    ``offsets`` are bytes from the start of the arena; inputs and outputs live in arrays of the
    caller. ``alias`` leads from a reshaped value to the value that owns the memory.
    """

    graph: Graph
    steps: list[Step] = field(default_factory=list)
    makers: dict[Variable, Equation] = field(default_factory=dict)
    in_memory: set[Variable] = field(default_factory=set)
    alias: dict[Variable, Variable] = field(default_factory=dict)
    offsets: dict[Variable, int] = field(default_factory=dict)
    arena_bytes: int = 0

    def owner(self, variable: Variable) -> Variable:
        while variable in self.alias:
            variable = self.alias[variable]
        return variable

    def __str__(self) -> str:
        """The loops: one line a kernel, with the arithmetic fused into it."""
        lines = []
        for i, step in enumerate(self.steps):
            fused = sorted(Counter(e.primitive.name for e in self.fused(step)).items())
            inside = " + ".join(f"{n} {name}" if n > 1 else name for name, n in fused)
            out = ", ".join(str(v.type) for v in step.outputs)
            sources = dict.fromkeys(e.source.short for e in step.equations if e.source)
            where = f"  # {', '.join(sources)}" if sources else ""
            name = ", ".join(e.primitive.name for e in step.equations)
            lines.append(f"kernel {i}: {out} = {name}{f' of ({inside})' if inside else ''}{where}")
        return "\n".join([*lines, f"arena: {self.arena_bytes} bytes"])

    def fused(self, step: Step) -> list[Equation]:
        """The equations that are expressions inside the loops of a step."""
        found: list[Equation] = []

        def visit(operand: Variable | Literal) -> None:
            if isinstance(operand, Variable) and operand not in self.in_memory:
                equation = self.makers[operand]
                found.append(equation)
                for v in equation.inputs:
                    visit(v)

        for equation in step.equations:
            for v in equation.inputs:
                visit(v)
        return found

    def work(self, step: Step) -> int:
        """Operations of a step, where a number that is read or written counts as two."""
        moved = sum(v.type.size for v in (*step.reads, *step.outputs))
        equations = [*step.equations, *self.fused(step)]
        return 2 * moved + sum(equation_cost(e).flops for e in equations)


def schedule(graph: Graph) -> Schedule:
    """Decide memory, kernels and arena of ``graph``."""
    plan = Schedule(graph)
    for equation in graph.equations:
        for v in equation.outputs:
            plan.makers[v] = equation
    plan.in_memory = _values_with_memory(graph, plan.makers)
    for equation in graph.equations:
        written = [v for v in equation.outputs if v in plan.in_memory]
        if not written:
            continue
        if is_alias(equation) and equation.outputs[0] not in graph.outputs:
            (source,) = equation.inputs
            if isinstance(source, Variable):
                plan.alias[equation.outputs[0]] = source
                continue
        shape = written[0].type.shape if is_inline(equation) else None
        is_loop = shape is not None and is_flat(plan, equation)
        plan.steps.append(Step([equation], _reads(plan, equation), shape, is_loop))
    plan.steps = _merged(plan)
    _place(plan)
    return plan


def _values_with_memory(graph: Graph, makers: dict[Variable, Equation]) -> set[Variable]:
    uses: Counter[Variable] = Counter()
    for equation in graph.equations:
        uses.update(v for v in equation.inputs if isinstance(v, Variable))
    needed = set(graph.inputs) | {v for v in graph.outputs if isinstance(v, Variable)}
    for equation in graph.equations:
        for v in equation.inputs:
            if (
                isinstance(v, Variable)
                and v not in needed
                and _must_hold(equation, v, makers[v], uses[v])
            ):
                needed.add(v)
            elif isinstance(v, Variable) and v not in needed and reads_whole(equation):
                (source,) = makers[v].inputs  # a matrix product reads it transposed, in place
                if isinstance(source, Variable):
                    needed.add(source)
    for equation in graph.equations:  # a move read several times must rest on memory
        source = equation.inputs[0] if is_move(equation) and uses[equation.outputs[0]] > 1 else None  # type: ignore[assignment]
        while isinstance(source, Variable) and source not in needed and is_move(makers[source]):
            source = makers[source].inputs[0]
        if isinstance(source, Variable):
            needed.add(source)
    return needed


def _must_hold(equation: Equation, v: Variable, maker: Equation, n_uses: int) -> bool:
    """Whether ``equation`` needs its operand ``v`` in memory."""
    if reads_whole(equation) and not _is_transposed_operand(equation, maker):
        return True
    if not is_inline(maker):
        return not _is_transposed_operand(equation, maker)
    return not is_move(maker) and (n_uses > 1 or _repeats(equation, v))


def reads_whole(equation: Equation) -> bool:
    """Whether the equation is more than one pass over the elements of its operands."""
    return not (
        is_inline(equation)
        or equation.primitive.family in ("reduction", "cumulative")
        or equation.primitive.name in ("place", "update", "concatenate")
    )


def is_float_product(equation: Equation) -> bool:
    """Whether the equation is a matrix product that is computed in tiles."""
    dtypes = {v.type.dtype for v in (*equation.inputs, *equation.outputs)}
    return (
        equation.primitive.name == "matmul"
        and len(dtypes) == 1
        and dtypes <= {np.dtype(np.float64), np.dtype(np.float32)}
    )


def _is_transposed_operand(equation: Equation, maker: Equation) -> bool:
    """Products read a transposed matrix in place."""
    if not is_float_product(equation) or maker.primitive.name != "transpose":
        return False
    axes = maker.params["axes"]
    n = len(axes)
    return n >= 2 and axes == (*range(n - 2), n - 1, n - 2)


def _repeats(equation: Equation, v: Variable) -> bool:
    """Whether reading ``v`` inside the loops of ``equation`` would compute it more than once."""
    name = equation.primitive.name
    if name == "broadcast_to" or equation.primitive.family == "elementwise":
        return v.type.size < equation.outputs[0].type.size
    return False


def _reads(plan: Schedule, equation: Equation) -> list[Variable]:
    found: dict[Variable, None] = {}

    def visit(operand: Variable | Literal) -> None:
        if isinstance(operand, Literal):
            return
        if operand in plan.in_memory:
            found[plan.owner(operand)] = None
        else:
            for v in plan.makers[operand].inputs:
                visit(v)

    for v in equation.inputs:
        visit(v)
    return list(found)


def is_flat(plan: Schedule, equation: Equation) -> bool:
    """Whether one loop over all elements will do: all operands have the shape or one element."""
    shape = equation.outputs[0].type.shape

    def fits(operand: Variable | Literal) -> bool:
        if isinstance(operand, Literal) or (operand.type.size == 1 and operand in plan.in_memory):
            return True
        return operand.type.shape == shape and is_plain(plan, operand)

    is_pointwise = is_inline(equation) and not is_move(equation)
    return is_pointwise and all(map(fits, equation.inputs))


def is_plain(plan: Schedule, operand: Variable | Literal) -> bool:
    """Whether element number ``i`` of the operand can be had without the index behind ``i``."""
    if isinstance(operand, Literal) or operand in plan.in_memory:
        return True
    return is_flat(plan, plan.makers[operand])


def _merged(plan: Schedule) -> list[Step]:
    """Steps that map over the same elements and share memory become one step, where order allows.

    A pass over memory is saved for every value that one reads and the other reads or writes: the
    moments and the parameters of an optimizer are updated in one loop.
    """
    steps: list[Step] = []
    for step in plan.steps:
        places = range(len(steps) - 1, -1, -1) if step.map_shape else ()
        place = next((i for i in places if _mergeable(plan, steps[i], step)), None)
        if place is None:
            steps.append(step)
            continue
        group = steps[place]
        between = steps[place + 1 :]
        written = {v for other in between for v in other.outputs}
        if written.isdisjoint(step.reads):
            steps[place] = _joined(group, step)
        elif all(set(group.outputs).isdisjoint(other.reads) for other in between):
            del steps[place]
            steps.append(_joined(group, step))
        else:
            steps.append(step)
    return steps


def _joined(first: Step, second: Step) -> Step:
    reads = dict.fromkeys([*first.reads, *second.reads])
    outputs = first.outputs
    kept = [v for v in reads if v not in outputs]
    return Step([*first.equations, *second.equations], kept, first.map_shape, first.is_flat)


def _mergeable(plan: Schedule, first: Step, second: Step) -> bool:
    """Whether two maps over elements of the same shape can share a loop, and gain by it."""
    shape = second.map_shape
    if first.map_shape != shape or first.is_flat != second.is_flat:
        return False
    if len(first.equations) >= MAX_MAPS:
        return False
    shared = {v for v in second.reads if v.type.shape == shape}
    if shared.isdisjoint(first.reads) and shared.isdisjoint(first.outputs):
        return False
    written = set(first.outputs)

    def reads_in_step(operand: Variable | Literal, is_straight: bool) -> bool:
        """Whether what ``first`` writes is read at the element that is being written."""
        if isinstance(operand, Literal):
            return True
        if operand in plan.in_memory:
            return plan.owner(operand) not in written or (is_straight and operand in written)
        maker = plan.makers[operand]
        is_straight = is_straight and not is_move(maker) and operand.type.shape == shape
        return all(reads_in_step(v, is_straight) for v in maker.inputs)

    is_straight = not is_move(second.equation)
    return all(
        reads_in_step(v, is_straight and v.type.shape == shape) for v in second.equation.inputs
    )


def _place(plan: Schedule) -> None:
    """First-fit places in the arena, freed after the last step that reads them."""
    fixed = set(plan.graph.inputs) | set(plan.graph.outputs)
    last: dict[Variable, int] = {}
    for i, step in enumerate(plan.steps):
        for v in (*step.reads, *step.outputs):
            last[v] = i
    used: list[tuple[int, int, Variable]] = []  # (start, stop, value), sorted
    for i, step in enumerate(plan.steps):
        for v in step.outputs:
            if v in fixed:
                continue
            size = aligned(v.type.nbytes)
            start = 0
            for begin, stop, _ in used:
                if begin - start >= size:
                    break
                start = max(start, stop)
            plan.offsets[v] = start
            used.append((start, start + size, v))
            used.sort(key=lambda place: place[0])
            plan.arena_bytes = max(plan.arena_bytes, start + size)
        used = [place for place in used if last[place[2]] > i]

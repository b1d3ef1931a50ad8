"""What a schedule says, and what decides it: which operations can be inside the loops of others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pullback.analysis.cost import equation_cost
from pullback.compiler.runtime.frame import ALIGNMENT
from pullback.compiler.schedule.scalar_types import has_scalar_form, is_native
from pullback.core.graph import Equation, Graph, Literal, Operand, Variable
from pullback.core.types import ArrayType

__all__ = [
    "INEXACT_FAR",
    "Room",
    "Schedule",
    "Step",
    "aligned",
    "full_key",
    "is_computing",
    "is_extreme_of_none",
    "is_flat",
    "is_float_product",
    "is_foreign",
    "is_inline",
    "is_move",
    "is_plain",
    "is_pointwise",
    "is_squeeze",
    "reads_straight",
    "reads_whole",
]

ELEMENTARY = 8  # operations for one number
INEXACT_FAR = {"sin", "cos", "tan"}  # their loops may be run again: see ``Kernel.checked``
MOVES = ("transpose", "broadcast_to", "index", "reshape")

Room = dict[Variable, Collection[Operand]]


@dataclass(slots=True, eq=False)
class Step:
    """One kernel: the equations whose outputs it writes, and the memory it reads.

    Several equations are maps over elements of one shape, computed in one loop. A matrix product
    may have ``prologues``: maps that are computed where it copies their results; and a ``tail``: a
    map that is computed for each piece of the product when it is there. The ``others`` of a group
    follow in the same kernel, on a ``walk`` by rows, blocks, channels or planes. The ``members`` of
    a chain are steps that follow each other chunk by chunk, each ``n_chunks`` of them; ``outer`` is
    the shape of a stack. ``copies`` says what a product copies before it reads it, which is known
    when it is emitted.
    """

    equations: list[Equation]
    reads: list[Variable]
    map_shape: tuple[int, ...] | None = None  # if it is a map
    is_flat: bool = False  # the map is one loop over all elements
    prologues: dict[int, Step] = field(default_factory=dict)  # by the number of the operand
    tail: Step | None = None
    others: list[Step] = field(default_factory=list)
    walk: str = ""
    members: list[Step] = field(default_factory=list)
    outer: tuple[int, ...] = ()
    n_chunks: int = 0  # unless by its work
    copies: list[str] = field(default_factory=list)

    @property
    def equation(self) -> Equation:
        return self.equations[0]

    @property
    def outputs(self) -> list[Variable]:
        return [v for equation in self.equations for v in equation.outputs]

    @property
    def all_reads(self) -> set[Variable]:
        """What any part reads."""
        return {v for part in self.parts for v in part.reads}

    @property
    def parts(self) -> list[Step]:
        if self.members:
            return [part for member in self.members for part in member.parts]
        return [self, *self.others, *([] if self.tail is None else [self.tail])]


@dataclass(slots=True, eq=False)
class Schedule:
    """Steps in order, and a place for every value with memory.

    ``offsets`` are bytes from the start of the arena, ``hosted`` has outputs that hold values until
    they are written, and bytes from their start; inputs and outputs live in arrays of the caller.
    ``scratch`` has places in either, and bytes, of the working memory of steps, by number.
    Values that are ``local`` live in the working memory of the only step that knows them.
    ``alias`` leads from a value without memory of its own to the one in whose memory it is:
    what it is a reshape of, or what is written over it later. ``room`` says which outputs may be
    written over an input. What ``is_alone`` runs on one thread, while others do the like. Values
    of ``again`` were held once before: they are not computed with what comes earlier. ``bodies``
    are the schedules of the graphs inside of loops and branches, when these are emitted.
    """

    graph: Graph
    room: Room = field(default_factory=dict)
    is_alone: bool = False
    again: Collection[Variable] = ()
    steps: list[Step] = field(default_factory=list)
    makers: dict[Variable, Equation] = field(default_factory=dict)
    in_memory: set[Variable] = field(default_factory=set)
    alias: dict[Variable, Variable] = field(default_factory=dict)
    local: set[Variable] = field(default_factory=set)
    offsets: dict[Variable, int] = field(default_factory=dict)
    hosted: dict[Variable, tuple[Variable, int]] = field(default_factory=dict)
    scratch: dict[int, tuple[Variable | None, int, int]] = field(default_factory=dict)
    arena_bytes: int = 0
    bodies: dict[Step, list[Schedule]] = field(default_factory=dict)

    def owner(self, variable: Variable) -> Variable:
        while variable in self.alias:
            variable = self.alias[variable]
        return variable

    @property
    def results(self) -> set[Variable]:
        """The owners of the outputs."""
        return {self.owner(v) for v in self.graph.outputs if isinstance(v, Variable)}

    def is_again(self, step: Step) -> bool:
        """Whether a step computes something again."""
        return any(v in self.again for v in step.outputs)

    def memory(self, step: Step) -> list[Variable]:
        """The owners of what a step reads and writes, each once; but what is local."""
        return [v for v in self.owners(step) if v not in self.local]

    def owners(self, step: Step) -> list[Variable]:
        """The owners of what a step reads and writes, each once."""
        return list(dict.fromkeys(map(self.owner, (*step.reads, *step.outputs))))

    def touched(self, step: Step) -> list[Variable]:
        """The owners of what a step and its tail read and write."""
        return [v for part in step.parts for v in self.memory(part)]

    def memory_of(self, operands: Iterable[Operand]) -> list[Variable]:
        """The owners of the memory that operands are read from, through what is computed inside."""
        found: dict[Variable, None] = {}

        def visit(operand: Operand) -> None:
            if isinstance(operand, Literal):
                return
            if operand in self.in_memory:
                found[self.owner(operand)] = None
            else:
                for v in self.makers[operand].inputs:
                    visit(v)

        for operand in operands:
            visit(operand)
        return list(found)

    def __str__(self) -> str:
        """The loops: one line a kernel, with the arithmetic fused into it."""
        return "\n".join([*self.lines(), f"arena: {self.arena_bytes} bytes"])

    def lines(self) -> Iterator[str]:
        for i, step in enumerate(self.steps):
            for k, part in enumerate(step.parts):
                name = "  then" if k else f"kernel {i}"
                yield f"{name}: {self.described(part)}"
            for body in self.bodies.get(step, ()):
                yield "  body:"
                yield from (f"    {line}" for line in body.lines())

    def described(self, step: Step) -> str:
        fused = sorted(Counter(e.primitive.name for e in self.fused(step)).items())
        inside = " + ".join(f"{n} {name}" if n > 1 else name for name, n in fused)
        out = ", ".join(str(v.type) for v in step.outputs)
        name = ", ".join(e.primitive.name for e in step.equations)
        copies = f" [copies {', '.join(step.copies)}]" if step.copies else ""
        made = f"{name}{f' of ({inside})' if inside else ''}{copies}"
        return f"{out} = {made}{_comment(step.equations)}"

    def origin(self, v: Variable) -> str:
        """What makes a value, and where the user asks for it."""
        maker = self.makers[v]
        return f"{v.type} = {maker.primitive.name}{_comment([maker])}"

    def fused(self, step: Step) -> list[Equation]:
        """The equations that are expressions inside the loops of a step."""
        found: dict[Equation, None] = {}

        def visit(operand: Operand) -> None:
            if isinstance(operand, Variable) and operand not in self.in_memory:
                equation = self.makers[operand]
                if equation not in found:
                    found[equation] = None
                    for v in equation.inputs:
                        visit(v)

        for equation in step.equations:
            for v in equation.inputs:
                visit(v)
        return list(found)

    def work(self, step: Step) -> int:
        """Operations of a step, where a number that is read or written counts as two."""
        moved = sum(v.type.size for v in (*step.reads, *step.outputs))
        equations = [*step.equations, *self.fused(step)]
        return 2 * moved + sum(equation_cost(e).flops for e in equations)


def _comment(equations: Iterable[Equation]) -> str:
    """The user's lines that ask for equations."""
    sources = dict.fromkeys(e.source.short for e in equations if e.source)
    return f"  # {', '.join(sources)}" if sources else ""


def aligned(n_bytes: int) -> int:
    """Bytes that a value occupies, up to the next boundary."""
    return -(-max(n_bytes, 1) // ALIGNMENT) * ALIGNMENT


def is_squeeze(old: ArrayType, new: ArrayType) -> bool:
    """Whether a reshape only adds or removes axes of length 1."""
    return _lengths(old.shape) == _lengths(new.shape)


def full_key(key: tuple[Any, ...], n: int) -> tuple[Any, ...]:
    """The entries of a key for ``n`` axes, without an ellipsis."""
    used = sum(k is not None and k is not Ellipsis for k in key)
    at = key.index(Ellipsis) if Ellipsis in key else len(key)
    return (*key[:at], *[(None, None, None)] * (n - used), *key[at + 1 :])


def is_foreign(equation: Equation) -> bool:
    """Whether only NumPy evaluates the equation: for its dtypes, or because it is an error."""
    values = (*equation.inputs, *equation.outputs)
    return not all(is_native(v.type.dtype) for v in values) or is_extreme_of_none(equation)


def is_extreme_of_none(equation: Equation) -> bool:
    """Whether the equation looks for an extreme among no elements."""
    if equation.primitive.name not in ("max", "min", "argmax", "argmin"):
        return False
    return any(equation.inputs[0].type.shape[i] == 0 for i in equation.params["axis"])


def is_move(equation: Equation) -> bool:
    """Whether the equation only renames positions: free inside a loop."""
    name = equation.primitive.name
    return (
        name in MOVES
        and (name != "reshape" or is_squeeze(equation.inputs[0].type, equation.outputs[0].type))
        and not is_foreign(equation)
    )


def is_inline(equation: Equation) -> bool:
    """Whether the equation can be an expression inside the loops of its readers."""
    if equation.primitive.family == "elementwise":
        return has_scalar_form(equation)
    return is_move(equation) or (equation.primitive.name == "astype" and not is_foreign(equation))


def is_pointwise(equation: Equation) -> bool:
    """Whether each element of the output is computed from those of the operands at its place."""
    return is_inline(equation) and not is_move(equation)


def reads_whole(equation: Equation) -> bool:
    """Whether the equation is more than one pass over the elements of its operands."""
    if is_inline(equation):
        return False
    is_pass = equation.primitive.family in ("reduction", "cumulative") or (
        equation.primitive.name in ("place", "update", "concatenate")
    )
    return not is_pass or is_foreign(equation)


def is_computing(plan: Schedule, step: Step) -> bool:
    """Whether a step computes elementary functions, which takes longer than to move its numbers."""
    equations = (e for part in step.parts for e in (*part.equations, *plan.fused(part)))
    return any(
        e.primitive.family == "elementwise"
        and e.outputs[0].type.size > 1  # numbers are computed before the loop
        and equation_cost(e).flops >= ELEMENTARY * e.outputs[0].type.size
        for e in equations
    )


def is_float_product(equation: Equation) -> bool:
    """Whether the equation is a matrix product that is computed in tiles."""
    dtypes = {v.type.dtype for v in (*equation.inputs, *equation.outputs)}
    return (
        equation.primitive.name == "matmul"
        and len(dtypes) == 1
        and dtypes <= {np.dtype(np.float64), np.dtype(np.float32)}
    )


def is_flat(plan: Schedule, equation: Equation) -> bool:
    """Whether one loop over all elements will do: all operands have the shape or one element."""
    shape = equation.outputs[0].type.shape

    def fits(operand: Variable | Literal) -> bool:
        if isinstance(operand, Literal) or (operand.type.size == 1 and operand in plan.in_memory):
            return True
        return operand.type.shape == shape and is_plain(plan, operand)

    return is_pointwise(equation) and all(map(fits, equation.inputs))


def is_plain(plan: Schedule, operand: Variable | Literal) -> bool:
    """Whether element number ``i`` of the operand can be had without the index behind ``i``."""
    if isinstance(operand, Literal) or operand in plan.in_memory:
        return True
    return is_flat(plan, plan.makers[operand])


def reads_straight(
    plan: Schedule,
    equation: Equation,
    owners: set[Variable],
    shape: tuple[int, ...],
    has_places: bool = True,
) -> bool:
    """Whether a map reads the memory of ``owners`` only at the element that it writes.

    Unless it ``has_places``, only the number of the element counts, not where that is in ``shape``.
    """

    def lies_alike(operand: Variable) -> bool:
        known = operand.type.shape
        return known == shape if has_places else _lengths(known) == _lengths(shape)

    def check(operand: Operand, is_straight: bool) -> bool:
        if isinstance(operand, Literal):
            return True
        is_straight = is_straight and lies_alike(operand)
        if operand in plan.in_memory:
            return plan.owner(operand) not in owners or is_straight
        maker = plan.makers[operand]
        is_straight &= is_pointwise(maker) or maker.primitive.name == "reshape"
        return all(check(v, is_straight) for v in maker.inputs)

    return all(check(v, is_pointwise(equation)) for v in equation.inputs)


def _lengths(shape: tuple[int, ...]) -> list[int]:
    return [n for n in shape if n != 1]

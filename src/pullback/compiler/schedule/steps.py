"""What a schedule says: kernels in order, and a place for every value with memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Protocol

from pullback.analysis.cost import equation_cost
from pullback.compiler.runtime.frame import ALIGNMENT
from pullback.compiler.schedule.target import Processor
from pullback.core.graph import Equation, Graph, Literal, Operand, Variable

__all__ = [
    "Call",
    "Chain",
    "Fold",
    "Group",
    "Map",
    "Product",
    "Room",
    "Schedule",
    "Shape",
    "Step",
    "Tiling",
    "aligned",
]

Room = dict[Variable, Collection[Operand]]
Shape = tuple[int, ...]


class Step:
    """One kernel: the equations whose outputs it writes, and the memory that it reads.

    It is a map, a fold, a product or a call of an operation as a whole; or a group, or a chain, of
    such steps.
    """

    __slots__ = ()
    equations: tuple[Equation, ...]
    reads: tuple[Variable, ...]

    @property
    def equation(self) -> Equation:
        return self.equations[0]

    @property
    def outputs(self) -> list[Variable]:
        return [v for equation in self.equations for v in equation.outputs]

    @property
    def parts(self) -> tuple[Step, ...]:
        """What runs in this kernel, one after the other."""
        return (self,)

    @property
    def all_reads(self) -> set[Variable]:
        """What any part reads."""
        return {v for part in self.parts for v in part.reads}


@dataclass(frozen=True, slots=True, eq=False)
class Map(Step):
    """Equations over elements of one shape, computed in one loop nest.

    A map that ``is_flat`` is one loop over all elements.
    """

    equations: tuple[Equation, ...]
    reads: tuple[Variable, ...]
    shape: Shape
    is_flat: bool


@dataclass(frozen=True, slots=True, eq=False)
class Fold(Step):
    """A reduction of axes to an accumulated value."""

    equations: tuple[Equation, ...]
    reads: tuple[Variable, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Call(Step):
    """An operation as a whole: a nest of loops of its own, a loop over a graph, or NumPy."""

    equations: tuple[Equation, ...]
    reads: tuple[Variable, ...]


class Tiling(Protocol):
    """How a product is cut: see ``stacks.py``."""

    @property
    def copies(self) -> list[str]:
        """The operands that it copies before it reads them."""

    @property
    def scratch_bytes(self) -> int: ...


@dataclass(frozen=True, slots=True, eq=False)
class Product(Step):
    """A matrix product in tiles, or a convolution that is one.

    ``prologues``, by the number of the operand, are maps that it computes where it copies their
    results; the ``tail`` is a map that follows each piece of the product when that is there.
    """

    equations: tuple[Equation, ...]
    reads: tuple[Variable, ...]
    prologues: dict[int, Map] = field(default_factory=dict)
    tail: Map | None = None
    tiling: Tiling | None = None  # once it is chosen; a convolution chooses when it is written

    @property
    def parts(self) -> tuple[Step, ...]:
        return (self,) if self.tail is None else (self, self.tail)


class Several(Step):
    """Steps in one kernel: what is theirs together follows from the ``members``."""

    __slots__ = ()
    members: tuple[Step, ...]

    @property
    def equations(self) -> tuple[Equation, ...]:  # type: ignore[override]
        return tuple([e for member in self.members for e in member.equations])

    @property
    def reads(self) -> tuple[Variable, ...]:  # type: ignore[override]
        return tuple(dict.fromkeys(v for member in self.members for v in member.reads))


@dataclass(frozen=True, slots=True, eq=False)
class Group(Several):
    """Maps and folds that follow each other on a ``walk`` by rows, blocks, channels or planes."""

    members: tuple[Step, ...]
    walk: str

    @property
    def first(self) -> Step:
        return self.members[0]

    @property
    def parts(self) -> tuple[Step, ...]:
        return self.members


@dataclass(frozen=True, slots=True, eq=False)
class Chain(Several):
    """Steps that follow each other chunk by chunk, each in ``n_chunks`` of a stack.

    ``outer`` is the shape of that stack: of matrices, or of the rows of a batch.
    """

    members: tuple[Step, ...]
    outer: Shape
    n_chunks: int

    @property
    def parts(self) -> tuple[Step, ...]:
        return tuple([part for member in self.members for part in member.parts])


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
    are the schedules of the graphs inside of loops and branches; ``behind`` has the bytes that
    these steps need behind the arena, for the working memory of their bodies.
    """

    graph: Graph
    processor: Processor
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
    behind: dict[Step, int] = field(default_factory=dict)
    known_results: tuple[int, set[Variable]] = (-1, set())  # for so many aliases

    def copy(self) -> Schedule:
        """A schedule of its own, for a stage to change."""
        return replace(
            self,
            steps=list(self.steps),
            in_memory=set(self.in_memory),
            alias=dict(self.alias),
            local=set(self.local),
            offsets=dict(self.offsets),
            hosted=dict(self.hosted),
            scratch=dict(self.scratch),
            behind=dict(self.behind),
        )

    @property
    def total_bytes(self) -> int:
        """Working memory of a run: the arena, and what bodies need behind it."""
        return self.arena_bytes + max(self.behind.values(), default=0)

    def owner(self, variable: Variable) -> Variable:
        passed = []
        while variable in self.alias:
            passed.append(variable)
            variable = self.alias[variable]
        for v in passed[:-1]:  # the next time the way is short, however many lie over each other
            self.alias[v] = variable
        return variable

    @property
    def results(self) -> set[Variable]:
        """The owners of the outputs."""
        n = len(self.alias)
        if self.known_results[0] != n:
            found = {self.owner(v) for v in self.graph.outputs if isinstance(v, Variable)}
            self.known_results = n, found
        return self.known_results[1]

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
        seen: set[Operand] = set()

        def visit(operand: Operand) -> None:
            if isinstance(operand, Literal) or operand in seen:
                return
            seen.add(operand)
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
        copied = step.tiling.copies if isinstance(step, Product) and step.tiling else []
        copies = f" [copies {', '.join(copied)}]" if copied else ""
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

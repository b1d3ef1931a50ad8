"""What a run holds, equation by equation: the only count of bytes that reports and plans use.

Counted is what a run allocates: results and values in between, and the working memory of each
operation. Arguments belong to the caller and are not counted. A view has no memory of its own and
keeps that of its operand alive.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from pullback.analysis.liveness import last_uses
from pullback.core.graph import Equation, Graph, Variable
from pullback.planner.working import Owners, working_bytes
from pullback.transforms.passes.pipeline import bodies

__all__ = ["Profile", "Timeline", "equation_working", "peak_bytes", "timeline"]

REPEATED = ("scan", "while_loop")


class Profile:
    """What is ``held``, in bytes, at each place of a run."""

    __slots__ = ()
    held: tuple[int, ...]

    @property
    def peak(self) -> int:
        """The most bytes held at once."""
        return max(self.held, default=0)

    @property
    def at(self) -> int:
        """The number of the place at which most bytes are held."""
        return max(range(len(self.held)), key=self.held.__getitem__, default=0)


@dataclass(frozen=True, slots=True)
class Timeline(Profile):
    """``held[i]``: bytes while equation ``i`` runs; ``working[i]`` is its working memory among it.

    ``made`` and ``freed`` are the equations after which memory is there and is gone again.
    """

    graph: Graph
    held: tuple[int, ...]
    working: tuple[int, ...]
    made: dict[Variable, int]
    freed: dict[Variable, int]
    owner: Owners

    def alive(self, at: int) -> list[Variable]:
        """Memory that is held while equation ``at`` runs, the largest first."""
        found = [v for v, i in self.made.items() if i <= at <= self.freed[v]]
        return sorted(found, key=lambda v: -v.type.nbytes)


def equation_working(equation: Equation) -> int:
    """Working memory of an equation in NumPy; of a loop, all that one step of it holds."""
    inner = [peak_bytes(body) for body in bodies(equation)]
    if not inner:
        return working_bytes(equation)
    if equation.primitive.name in REPEATED:  # the state of the step before is held, too
        body: Graph = equation.params["body"]
        n = equation.params.get("n_carry", len(body.outputs))
        return max(inner) + sum(t.nbytes for t in body.output_types[:n])
    return max(0, max(inner) - sum(v.type.nbytes for v in equation.outputs))


def timeline(
    graph: Graph,
    dying: Iterable[Sequence[Variable]] | None = None,
    working: Callable[[Equation], int] = equation_working,
) -> Timeline:
    """The bytes that a run of ``graph`` holds.

    ``dying`` are the values that are dropped after each equation; by default those that nobody
    reads later, as :func:`~pullback.transforms.evaluate.evaluate` drops them.
    """
    owner = Owners()
    users: dict[Variable, int] = {}
    made: dict[Variable, int] = {}
    freed: dict[Variable, int] = {}
    held, works, alive = [], [], 0
    ends = last_uses(graph) if dying is None else dying
    for i, (equation, dropped) in enumerate(zip(graph.equations, ends, strict=True)):
        is_view = owner.add(equation)
        for v in equation.outputs:
            memory = owner(v)
            users[memory] = users.get(memory, 0) + 1
            if not is_view:
                alive += v.type.nbytes
                made[v] = i
        works.append(working(equation))
        held.append(alive + works[-1])
        for v in dropped:
            memory = owner(v)
            users[memory] = users.get(memory, 1) - 1
            if not users[memory] and memory in made:
                alive -= memory.type.nbytes
                freed[memory] = i
    last = len(held)
    return Timeline(
        graph, tuple(held), tuple(works), made, {v: freed.get(v, last) for v in made}, owner
    )


def peak_bytes(graph: Graph) -> int:
    """Most bytes held at once by a run of ``graph`` that drops values after their last use.

    >>> import numpy as np
    >>> from pullback.core.types import ArrayType
    >>> from pullback.transforms.stage import stage
    >>> chain = stage(lambda x: [np.exp(np.exp(np.exp(x)))], [ArrayType((1000,), np.float64)])
    >>> peak_bytes(chain.graph)
    16000
    """
    return timeline(graph).peak

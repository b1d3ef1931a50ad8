"""From a budget in bytes to the graph that keeps to it, and what is to be said about that.

Plans form a *ladder*: from everything held to the least that can be, each rung is the cheapest plan
found for less memory than the one above. A budget gets the highest rung that keeps to it, so that
a smaller budget never has a larger peak. What a rung holds is measured on what will run: bytes of
the graph in NumPy, or the arena of the native program.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from pullback.analysis.sizes import parse_bytes, show_bytes
from pullback.core.graph import Graph
from pullback.core.source import here
from pullback.errors import BudgetError
from pullback.planner.plan import Plan, least_bound, least_plan, plan, sqrt_plan
from pullback.planner.problem import Problem
from pullback.planner.simulate import timeline

__all__ = ["Ladder", "MemoryPlan", "Rung", "Source", "check_budget", "in_numpy"]

RUNGS: Final = 16
NAMED: Final = ("min", "sqrt")
EXACT_SECONDS: Final = 0.5  # of the exact search for a rung
MOST_EXACT: Final = 16  # operations: with more, the searches for all rungs would take long
Measure = Callable[[Any], tuple[int, Any]]  # of what follows a sequence: its peak, and what runs
MOST_NAMED: Final = 6  # values that a refusal names


def check_budget(memory: Any) -> int | str:
    """A budget as bytes, or one of the two words.

    Raises:
        ArgumentError: if it is neither.
    """
    return memory if memory in NAMED else parse_bytes(memory)


@dataclass(frozen=True, slots=True)
class Rung:
    """A plan, the peak of what runs, and what runs: a graph or a program."""

    plan: Plan
    peak: int
    made: Any


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """How a budget is kept. Print it.

    ``again`` has, by the user's line, what runs more than once: its modelled seconds, and the bytes
    that need not be held; ``curve`` has pairs of a peak in bytes and the time relative to that
    without a budget.
    """

    budget: int | str
    peak: int
    base_peak: int
    overhead: float
    solver: str
    gap: float
    again: tuple[tuple[str, float, int], ...]
    curve: tuple[tuple[int, float], ...]

    def __str__(self) -> str:
        budget = show_bytes(self.budget) if isinstance(self.budget, int) else self.budget
        lines = [
            f"memory {show_bytes(self.peak)} of {budget}, without a budget "
            f"{show_bytes(self.base_peak)}",
            f"  time {self.overhead:.3f} times that of computing everything once "
            f"(solver: {self.solver}; at most {self.gap:.1%} above the least time)",
        ]
        if self.again:
            lines.append("  computed again")
        for line, cost, size in self.again:
            lines.append(f"    {cost * 1e6:>9.1f} us  {show_bytes(size):>9}  {line}")
        lines.append("  budget against time")
        lines += [f"    {show_bytes(peak):>9}  {time:.3f}" for peak, time in self.curve]
        return "\n".join(lines)


class Source(Protocol):
    """What poses a problem: a graph in NumPy, or a schedule of the compiler."""

    @property
    def problem(self) -> Problem: ...

    def operation(self, i: int) -> tuple[str, str]:
        """What an operation is, and the user's line."""

    def value(self, v: int) -> str:
        """The type of a value."""

    def rewritten(self, sequence: Sequence[int]) -> Any:
        """The graph, or the schedule, that follows a sequence."""


def in_numpy(graph: Graph) -> tuple[int, Any]:
    """The peak of a run in NumPy."""
    return timeline(graph).peak, graph


class Ladder:
    """The rungs of a problem, found from above when they are asked for.

    ``top`` is the peak and the run without any plan, if that is another one than in order.
    """

    def __init__(
        self, source: Source, measure: Measure, top: tuple[int, Any] | None = None
    ) -> None:
        self.measure = measure
        self.top = top
        self.source = source
        self.problem = problem = source.problem
        self.base = problem.simulate(range(len(problem.operations)))
        self.found: list[Rung] = []
        self.waiting = self.climbed_down()

    def rung(self, found: Plan) -> Rung:
        return Rung(found, *self.measure(self.source.rewritten(found.sequence)))

    def climbed_down(self) -> Iterator[Rung]:
        """Rungs whose peaks fall; the last one is the least that is found."""
        problem = self.problem
        first = plan(problem, self.base.peak, 0)
        assert first is not None
        yield self.rung(first) if self.top is None else Rung(first, *self.top)
        least, last = least_bound(problem), first
        seconds = EXACT_SECONDS if len(problem.operations) <= MOST_EXACT else 0.0
        for k in range(1, RUNGS + 1):
            budget = self.base.peak - (self.base.peak - least) * k // RUNGS
            if last.peak <= budget:
                continue
            found = plan(problem, budget, seconds)
            if found is None:
                found = least_plan(problem, budget, last.peak)
                if found is not None:
                    yield from self.lower(found)
                return
            last = found
            yield from self.lower(found)

    def lower(self, found: Plan) -> Iterator[Rung]:
        rung = self.rung(found)
        if rung.peak < self.found[-1].peak:
            yield rung

    def rungs(self) -> Iterator[Rung]:
        yield from self.found
        for rung in self.waiting:
            self.found.append(rung)
            yield rung

    def within(self, budget: int | str) -> Rung:
        """The highest rung that keeps to a budget.

        Raises:
            BudgetError: if none does.
        """
        if budget == "sqrt":
            segments = sqrt_plan(self.problem)
            if segments is not None:
                return self.rung(segments)
            raise BudgetError(
                'memory="sqrt" needs a chain of stages, which this function is not',
                where=str(here()),
                fix='give the budget in bytes, or "min"',
            )
        last = None
        for rung in self.rungs():
            last = rung
            if isinstance(budget, int) and rung.peak <= budget:
                return rung
        assert last is not None
        if budget == "min":
            return last
        assert isinstance(budget, int)
        raise self.refusal(budget, last)

    def refusal(self, budget: int, least: Rung) -> BudgetError:
        """What stands in the way: the moment of the least plan that holds most."""
        sequence = list(least.plan.sequence)
        at = self.problem.simulate(sequence).at
        name, line = self.source.operation(sequence[at])
        details = [
            f"the least found is {show_bytes(least.peak)} ({least.peak} bytes), without arguments",
            f"it is held while {name} runs{_at(line)}:",
        ]
        there = self.problem.there(sequence, at)
        for v in sorted(there, key=lambda v: -self.problem.sizes[v])[:MOST_NAMED]:
            line = self.source.operation(self.problem.maker[v])[1]
            size = show_bytes(self.problem.sizes[v])
            details.append(f"  {size:>9}  {self.source.value(v)}{_at(line)}")
        working = self.problem.operations[sequence[at]].working
        if working:
            details.append(f"  {show_bytes(working):>9}  working memory")
        return BudgetError(
            f"a budget of {show_bytes(budget)} ({budget} bytes) cannot be kept",
            where=str(here()),
            details=details,
            fix=f"give memory={least.peak} or more, or smaller arrays (a smaller batch)",
        )

    def report(self, budget: int | str, rung: Rung) -> MemoryPlan:
        """What is to be said of a plan; the curve asks for all rungs."""
        rungs = list(self.rungs())
        return MemoryPlan(
            budget=budget,
            peak=rung.peak,
            base_peak=rungs[0].peak,
            overhead=rung.plan.overhead,
            solver=rung.plan.solver,
            gap=rung.plan.gap,
            again=self.again(rung.plan),
            curve=tuple((r.peak, r.plan.overhead) for r in rungs),
        )

    def again(self, found: Plan) -> tuple[tuple[str, float, int], ...]:
        """By line: the seconds of what runs more than once, and the bytes of its values."""
        seen: set[int] = set()
        lines: dict[str, tuple[float, int]] = {}
        for i in found.sequence:
            if i in seen:
                operation = self.problem.operations[i]
                line = self.source.operation(i)[1] or "the results"
                cost, size = lines.get(line, (0.0, 0))
                made = sum(self.problem.sizes[v] for v in operation.makes)
                lines[line] = cost + operation.cost, size + made
            seen.add(i)
        ordered = sorted(lines.items(), key=lambda item: -item[1][0])
        return tuple((line, cost, size) for line, (cost, size) in ordered)


def _at(line: str) -> str:
    return f", {line}" if line else ""

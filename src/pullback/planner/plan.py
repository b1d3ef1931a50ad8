"""Choose a plan: who solved it, what it costs, and how far from the bound it may be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pullback.planner.chain import by_segments, chained, stages_of
from pullback.planner.greedy import evicting, improved
from pullback.planner.milp import solve
from pullback.planner.problem import Problem, Simulation

__all__ = ["Plan", "least_bound", "least_plan", "plan", "sqrt_plan"]

MOST_EXACT = 60  # operations: with more, the programme is not finished in time
EXACT_SECONDS = 8.0
STEPS = 12  # of the search for the least budget


@dataclass(frozen=True, slots=True)
class Plan:
    """A sequence that was simulated: its peak in bytes, and seconds of all its operations.

    ``solver`` found it. ``bound``: no plan within the budget costs less, as far as is proven.
    """

    sequence: tuple[int, ...]
    peak: int
    cost: float
    base_cost: float
    solver: str
    bound: float

    @property
    def overhead(self) -> float:
        """Time relative to that of computing everything once."""
        return self.cost / self.base_cost if self.base_cost else 1.0

    @property
    def gap(self) -> float:
        """By which part of the bound the plan may be dearer than the cheapest one."""
        return self.cost / self.bound - 1 if self.bound else 0.0


class Candidates:
    """The cheapest of the sequences that are within a budget."""

    def __init__(self, problem: Problem, budget: int) -> None:
        self.problem = problem
        self.budget = budget
        self.sequence: list[int] | None = None
        self.simulation: Simulation | None = None
        self.solver = ""

    @property
    def cost(self) -> float:
        return self.simulation.cost if self.simulation else float("inf")

    def offer(self, sequence: Sequence[int] | None, solver: str) -> None:
        """Take the sequence if it is the cheapest by now; it is simulated here, byte by byte."""
        if sequence is None:
            return
        found = self.problem.trimmed(sequence)
        simulation = self.problem.simulate(found)
        if simulation.peak > self.budget:
            return
        better = improved(self.problem, found, self.budget)
        if len(better) < len(found):
            found, simulation = better, self.problem.simulate(better)
        if simulation.cost < self.cost:
            self.sequence, self.simulation, self.solver = found, simulation, solver

    def plan(self, bound: float) -> Plan | None:
        if self.sequence is None or self.simulation is None:
            return None
        base = self.problem.cost
        return Plan(
            tuple(self.sequence),
            self.simulation.peak,
            self.simulation.cost,
            base,
            self.solver,
            max(bound, base),
        )


def plan(problem: Problem, budget: int, seconds: float = EXACT_SECONDS) -> Plan | None:
    """The cheapest plan found whose peak is at most ``budget`` bytes; ``None`` if none is found.

    Args:
        problem: the operations.
        budget: bytes.
        seconds: how long the exact search may take, for at most 60 operations; 0 for none.
    """
    found = Candidates(problem, budget)
    base = range(len(problem.operations))
    found.offer(base, "nothing to do")
    if found.sequence is not None:
        return found.plan(problem.cost)
    stages = stages_of(problem)
    if stages is not None:
        found.offer(chained(stages, budget), "chain")
    found.offer(evicting(problem, budget), "greedy")
    bound = problem.cost
    if len(problem.operations) <= MOST_EXACT and seconds > 0:
        solution = solve(problem, budget, found.cost, seconds)
        bound = solution.bound
        found.offer(solution.sequence, "exact" if solution.is_proven else "integer programme")
        if solution.is_proven and solution.sequence is None:
            found.solver += ", proven"
    return found.plan(min(bound, found.cost))


def least_plan(problem: Problem, low: int, high: int) -> Plan | None:
    """The plan with the least peak that is found between two budgets, of which the first fails."""
    best: Plan | None = None
    for _ in range(STEPS):
        if high - low <= max(64, high // 200):
            break
        middle = (low + high) // 2
        found = plan(problem, middle, 0)
        if found is None:
            low = middle + 1
        else:
            best, high = found, found.peak
    return best


def least_bound(problem: Problem) -> int:
    """Bytes below which no plan is: some operation needs them for itself."""
    needs = [
        sum(problem.sizes[v] for v in {*o.reads, *o.makes}) + o.working for o in problem.operations
    ]
    return max(needs, default=0)


def sqrt_plan(problem: Problem) -> Plan | None:
    """Chen's plan: segments of about the square root of the number of stages."""
    stages = stages_of(problem)
    if stages is None:
        return None
    length = max(1, round(len(stages) ** 0.5))
    sequence = by_segments(stages, length)
    simulation = problem.simulate(sequence)
    return Plan(
        tuple(sequence),
        simulation.peak,
        simulation.cost,
        problem.cost,
        f"segments of {length} stages",
        problem.cost,
    )

"""The last resort, and a start for the others: run in order, and evict when memory is short.

As M. Kirisame et al. (2021), *Dynamic Tensor Rematerialization*, do while a program runs; but here
it is known when a value will be read next. What is needed and is not there is computed again, and
what that needs, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pullback.planner.problem import Problem

__all__ = ["evicting", "improved"]

MOST = 12  # times the operations of a problem: a longer sequence is given up
Score = tuple[float, float, float]  # powers of seconds, bytes, and distance of the next use

# Small is evicted first.
SCORES: Final[tuple[Score, ...]] = ((1, 1, 1), (1, 1, 0), (0, 0, 1), (1, 1, 0.5))


class Short(Exception):  # noqa: N818 - no error of the user
    """There is not enough memory for this operation."""


class Evicting:
    """One run of the machine that evicts."""

    def __init__(self, problem: Problem, budget: int, score: Score) -> None:
        self.problem = problem
        self.budget = budget
        self.score = score
        self.maker = problem.maker
        self.uses: list[list[int]] = [[] for _ in problem.sizes]
        for i, operation in enumerate(problem.operations):
            for v in operation.reads:
                self.uses[v].append(i)
        for readers in self.uses:
            readers.reverse()
        self.there: set[int] = set()
        self.alive = 0
        self.sequence: list[int] = []
        self.pinned: dict[int, int] = {}
        self.now = 0

    def run(self) -> list[int]:
        for i in range(len(self.problem.operations)):
            self.now = i
            self.compute(i)
            for v in self.problem.operations[i].reads:
                while self.uses[v] and self.uses[v][-1] <= i:
                    self.uses[v].pop()
            self.sweep_dead()
        return self.problem.trimmed(self.sequence)

    def next_use(self, v: int) -> int | None:
        return self.uses[v][-1] if self.uses[v] else None

    def sweep_dead(self) -> None:
        for v in [v for v in self.there if not self.uses[v] and v not in self.problem.stays]:
            self.remove(v)

    def remove(self, v: int) -> None:
        self.there.discard(v)
        self.alive -= self.problem.sizes[v]

    def compute(self, i: int) -> None:
        """Compute operation ``i``, after what it reads; recursion follows what is not there."""
        waiting = [(i, False)]
        while waiting:
            k, is_ready = waiting.pop()
            operation = self.problem.operations[k]
            if not is_ready:
                missing = [v for v in operation.reads if v not in self.there]
                for v in operation.reads:
                    self.pinned[v] = self.pinned.get(v, 0) + 1
                waiting.append((k, True))
                waiting += [(self.maker[v], False) for v in reversed(missing)]
                continue
            if any(v not in self.there for v in operation.reads):  # evicted meanwhile: pinned
                raise Short
            if k == i or any(v not in self.there for v in operation.makes):
                self.execute(k)
            for v in operation.reads:
                self.pinned[v] -= 1

    def execute(self, k: int) -> None:
        operation = self.problem.operations[k]
        fresh = [v for v in operation.makes if v not in self.there]
        need = sum(self.problem.sizes[v] for v in fresh)
        self.make_room(need + operation.working, set(operation.makes))
        self.there.update(fresh)
        self.alive += need
        self.sequence.append(k)
        if len(self.sequence) > MOST * len(self.problem.operations):
            raise Short
        for v in fresh:  # what no one will read, and nobody waits for
            if not self.uses[v] and v not in self.problem.stays and not self.pinned.get(v):
                self.remove(v)

    def make_room(self, need: int, makes: set[int]) -> None:
        while self.alive + need > self.budget:
            choices = [
                v
                for v in self.there
                if not self.pinned.get(v)
                and v not in makes
                and v not in self.problem.stays
                and self.problem.sizes[v]
            ]
            if not choices:
                raise Short
            self.remove(min(choices, key=self.rank))

    def rank(self, v: int) -> float:
        following = self.next_use(v)
        distance = (following - self.now if following is not None else 10**9) + 1
        seconds, size, far = self.score
        cost = self.again(v) ** seconds if seconds else 1.0
        return float(cost / (self.problem.sizes[v] ** size * max(distance, 1) ** far))

    def again(self, v: int) -> float:
        """Seconds to have a value again, with what is not there on the way to it."""
        seen: set[int] = set()
        waiting, total = [self.maker[v]], 0.0
        while waiting and len(seen) < 64:
            k = waiting.pop()
            if k in seen:
                continue
            seen.add(k)
            total += self.problem.operations[k].cost
            waiting += [
                self.maker[x] for x in self.problem.operations[k].reads if x not in self.there
            ]
        return total


def evicting(problem: Problem, budget: int) -> list[int] | None:
    """The cheapest sequence within ``budget`` that eviction finds; ``None`` if it finds none."""
    best: list[int] | None = None
    cost = float("inf")
    for score in SCORES:
        try:
            found = Evicting(problem, budget, score).run()
        except Short:
            continue
        simulation = problem.simulate(found)
        if simulation.peak <= budget and simulation.cost < cost:
            best, cost = found, simulation.cost
    return best


def improved(
    problem: Problem, sequence: Sequence[int], budget: int, rounds: int = 400
) -> list[int]:
    """The sequence without computations that there is room to hold instead.

    The dearest second computations are tried first; each is dropped if the peak stays within.
    """
    best = list(sequence)
    for _ in range(rounds):
        seen: set[int] = set()
        again = []
        for place, i in enumerate(best):
            if i in seen:
                again.append((problem.operations[i].cost, place))
            seen.add(i)
        for _, place in sorted(again, reverse=True)[:64]:
            shorter = problem.trimmed(best[:place] + best[place + 1 :])
            try:
                if problem.simulate(shorter).peak <= budget:
                    best = shorter
                    break
            except KeyError:
                continue
        else:
            break
    return best

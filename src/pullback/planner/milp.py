"""The cheapest plan for a general graph, as a mixed-integer programme.

P. Jain et al. (2020), *Checkmate: Breaking the memory wall with optimal tensor
rematerialization*, MLSys, section 4. Stage ``t`` ends when operation ``t`` has been computed for
the first time; ``R[t, i]`` says that it computes ``i``, ``S[t, i]`` that ``i`` is there when it
begins. ``U[t, k]`` are the bytes held while it computes ``k``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pullback.planner.problem import Problem

__all__ = ["Solution", "solve"]

MARGIN = 1e-6  # of the costs: better than this


@dataclass(frozen=True, slots=True)
class Solution:
    """A sequence, or none, and whether nothing cheaper exists (among plans of such stages).

    ``bound``: no plan costs less, as far as the search has come.
    """

    sequence: list[int] | None
    bound: float
    is_proven: bool


class Programme:
    """Variables and constraints, row by row."""

    def __init__(self, problem: Problem, budget: int) -> None:
        self.problem = problem
        operations = problem.operations
        self.n = n = len(operations)
        maker = problem.maker
        self.reads = [sorted({maker[v] for v in o.reads}) for o in operations]
        self.readers: list[list[int]] = [[] for _ in range(n)]
        for k, reads in enumerate(self.reads):
            for i in reads:
                self.readers[i].append(k)
        self.bytes = [sum(problem.sizes[v] for v in o.makes) for o in operations]
        self.stays = {maker[v] for v in problem.stays}
        self.unit = max(budget, 1)
        self.count = 0
        self.upper: list[float] = []
        self.whole: list[int] = []
        self.rows: list[dict[int, float]] = []
        self.lows: list[float] = []
        self.highs: list[float] = []
        self.computes = {(t, i): self.variable() for t in range(n) for i in range(t + 1)}
        self.starts = {(t, i): self.variable() for t in range(1, n) for i in range(t)}
        self.holds = {
            (t, k): self.variable(1.0 - operations[k].working / self.unit, whole=0)
            for t in range(n)
            for k in range(t + 1)
        }
        for t in range(n):
            self.stage(t)

    def variable(self, upper: float = 1.0, whole: int = 1) -> int:
        self.upper.append(upper)
        self.whole.append(whole)
        self.count += 1
        return self.count - 1

    def row(self, terms: dict[int, float], low: float, high: float) -> None:
        self.rows.append(terms)
        self.lows.append(low)
        self.highs.append(high)

    def stage(self, t: int) -> None:
        n, computes, starts, holds = self.n, self.computes, self.starts, self.holds
        size = [b / self.unit for b in self.bytes]
        self.row({computes[t, t]: 1.0}, 1, 1)
        for k in range(t + 1):
            for i in self.reads[k]:  # R[t,k] <= R[t,i] + S[t,i]
                terms = {computes[t, k]: 1.0, computes[t, i]: -1.0}
                if (t, i) in starts:
                    terms[starts[t, i]] = -1.0
                self.row(terms, -np.inf, 0)
        if t + 1 < n:
            for i in range(t + 1):  # S[t+1,i] <= S[t,i] + R[t,i]
                terms = {starts[t + 1, i]: 1.0, computes[t, i]: -1.0}
                if (t, i) in starts:
                    terms[starts[t, i]] = -1.0
                self.row(terms, -np.inf, 0)
                if i in self.stays:
                    self.row({starts[t + 1, i]: 1.0}, 1, 1)
        first = {holds[t, 0]: 1.0, computes[t, 0]: -size[0]}
        first |= {starts[t, i]: -size[i] for i in range(t)}
        self.row(first, 0, 0)
        for k in range(t):
            terms = {holds[t, k + 1]: 1.0, holds[t, k]: -1.0, computes[t, k + 1]: -size[k + 1]}
            for i in (*self.reads[k], k):
                terms[self.free(t, i, k)] = size[i]
            self.row(terms, 0, 0)

    def free(self, t: int, i: int, k: int) -> int:
        """Whether ``i`` is dropped after ``k`` in stage ``t``: nobody needs it any more."""
        drop = self.variable()
        if i in self.stays:
            self.row({drop: 1.0}, 0, 0)
            return drop
        hazards: dict[int, float] = {self.computes[t, k]: -1.0}
        if (t + 1, i) in self.starts:
            hazards[self.starts[t + 1, i]] = 1.0
        for j in self.readers[i]:
            if k < j <= t:
                hazards[self.computes[t, j]] = hazards.get(self.computes[t, j], 0.0) + 1.0
        most = len(hazards)
        # h = 1 + hazards; 1 - drop <= h <= most (1 - drop)
        self.row({**hazards, drop: 1.0}, 0, np.inf)
        self.row({**hazards, drop: float(most)}, -np.inf, most - 1)
        return drop

    def sequence(self, x: Any) -> list[int]:
        return [k for t in range(self.n) for k in range(t + 1) if x[self.computes[t, k]] > 0.5]


def solve(problem: Problem, budget: int, known: float, seconds: float) -> Solution:
    """A sequence within ``budget`` that costs less than ``known``, searched for some seconds.

    Without one the search may still have proven that there is none.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import csr_array

    programme = Programme(problem, budget)
    costs = np.zeros(programme.count)
    total = problem.cost
    for (_, i), variable in programme.computes.items():
        costs[variable] = problem.operations[i].cost / total
    if np.isfinite(known):
        limit = known / total * (1 - MARGIN)
        programme.row({v: float(costs[v]) for v in programme.computes.values()}, -np.inf, limit)
    if min(programme.upper) < 0:
        return Solution(None, float("inf"), True)
    lengths = [len(row) for row in programme.rows]
    starts = np.concatenate([[0], np.cumsum(lengths)])
    columns = np.fromiter((v for row in programme.rows for v in row), np.int64)
    values = np.fromiter((x for row in programme.rows for x in row.values()), np.float64)
    matrix = csr_array((values, columns, starts), shape=(len(programme.rows), programme.count))
    result = milp(
        costs,
        constraints=LinearConstraint(matrix, programme.lows, programme.highs),
        bounds=Bounds(0, programme.upper),
        integrality=np.array(programme.whole),
        options={"time_limit": seconds, "mip_rel_gap": 1e-4},
    )
    bound = float(result.mip_dual_bound) * total if result.mip_dual_bound is not None else 0.0
    if result.status == 2:  # nothing is cheaper than what is known
        return Solution(None, known, True)
    if result.x is None:
        return Solution(None, max(bound, total) if np.isfinite(bound) else total, False)
    return Solution(programme.sequence(result.x), max(bound, total), result.status == 0)

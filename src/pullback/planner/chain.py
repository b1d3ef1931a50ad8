"""Networks as chains: stages between which little is handed on, and plans for them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from pullback.planner.problem import Problem
from pullback.planner.rotor import Chain, Rotor

__all__ = ["Stages", "by_segments", "chained", "stages_of"]

SLOTS = 300  # of memory: sizes are rounded up to them
MOST_STAGES = 48
NARROW = 1.05  # times the largest value: what a border between stages may hand on
TRIES = 10  # budgets of the programme whose sequences are simulated


@dataclass(frozen=True, slots=True)
class Stages:
    """Operations of each stage, forward and backward; a sequence runs whole stages."""

    problem: Problem
    forward: tuple[tuple[int, ...], ...]
    backward: tuple[tuple[int, ...], ...]
    handed_on: tuple[frozenset[int], ...]  # values that the next stage reads

    def __len__(self) -> int:
        return len(self.forward)


def stages_of(problem: Problem) -> Stages | None:
    """Stages of a problem with a forward and a backward pass; ``None`` if it is no chain.

    The backward pass begins where most is held. Its operations belong to the last stage that has
    all that they read.
    """
    base = problem.simulate(range(len(problem.operations)))
    turn = base.at
    made_at = problem.maker
    last_read = [-1] * len(problem.sizes)
    for i, operation in enumerate(problem.operations[: turn + 1]):
        for v in operation.reads:
            last_read[v] = i
    borders = _borders(problem, turn, last_read, made_at)
    if len(borders) < 2:
        return None
    ends = [*borders, turn]
    forward = [tuple(range(a + 1, b + 1)) for a, b in pairwise([-1, *ends])]
    handed = [
        frozenset(v for v, i in enumerate(made_at) if i <= end < last_read[v]) for end in borders
    ]
    backward: list[list[int]] = [[] for _ in forward]
    stage: dict[int, int] = {}  # of the values of the backward pass
    for i in range(turn + 1, len(problem.operations)):
        operation = problem.operations[i]
        at = len(forward) - 1
        for v in operation.reads:
            if made_at[v] > turn:
                at = min(at, stage[v])
            else:
                k = bisect_left(ends, made_at[v])
                at = min(at, k + 1 if k < len(handed) and v in handed[k] else k)
        stage.update(dict.fromkeys(operation.makes, at))
        backward[at].append(i)
    return Stages(problem, tuple(forward), tuple(map(tuple, backward)), tuple(handed))


def _borders(
    problem: Problem, turn: int, last_read: Sequence[int], made_at: Sequence[int]
) -> list[int]:
    """Operations after which the forward pass hands on hardly more than one value."""
    starting: dict[int, list[int]] = {}
    ending: dict[int, list[int]] = {}
    for v, at in enumerate(made_at):
        if at < last_read[v]:
            starting.setdefault(at, []).append(v)
            ending.setdefault(last_read[v], []).append(v)
    crossing: set[int] = set()
    found: list[int] = []
    for i in range(turn):
        crossing.difference_update(ending.get(i, ()))
        crossing.update(starting.get(i, ()))
        sizes = [problem.sizes[v] for v in crossing]
        if sizes and 0 < sum(sizes) <= NARROW * max(sizes):
            found.append(i)
    if len(found) <= MOST_STAGES:
        return found
    return _evenly(problem, found)


def _evenly(problem: Problem, borders: Sequence[int]) -> list[int]:
    """Some of the borders, with about the same time between them; small values are preferred."""
    total = sum(o.cost for o in problem.operations[: borders[-1] + 1])
    kept, passed, at = [], 0.0, 0
    for border in borders:
        while at <= border:
            passed += problem.operations[at].cost
            at += 1
        if passed >= total / MOST_STAGES:
            kept.append(border)
            passed = 0.0
    return kept


def _chain(stages: Stages, slot: float) -> Chain:
    """The stages as a chain with sizes in slots, rounded up."""
    problem = stages.problem
    base = problem.simulate(range(len(problem.operations)))
    made_at, n = problem.maker, len(stages)
    back = [set(part) for part in stages.backward]
    reads_back: list[set[int]] = [
        {v for i in part for v in problem.operations[i].reads} for part in stages.backward
    ]
    own = [{v for i in part for v in problem.operations[i].makes} for part in stages.forward]
    later_reads: set[int] = set()
    gradients = [0] * n
    for s in range(n):  # what earlier stages read of what later ones have made
        gradients[s] = sum(
            problem.sizes[v]
            for v in later_reads
            if not any(made_at[v] in part for part in back[: s + 1])
            and made_at[v] > stages.forward[-1][-1]
        )
        later_reads |= reads_back[s]

    def slots(size: float) -> int:
        return int(-(-size // slot))

    def size(values: set[int]) -> int:
        return sum(problem.sizes[v] for v in values)

    outputs, tapes, working, back_working = [], [], [], []
    held_by_then = 0
    for s in range(n):
        handed = set(stages.handed_on[s]) if s < n - 1 else set()
        tape = {v for v in own[s] if any(v in r for r in reads_back[: s + 2])} | (handed & own[s])
        outputs.append(slots(size(handed)))
        tapes.append(slots(size(tape)))
        start = base.held[stages.forward[s][0] - 1] if stages.forward[s][0] else 0
        most = max(base.held[i] for i in stages.forward[s])
        after = size(tape)
        working.append(slots(max(0, most - held_by_then - after)))
        held_by_then += after
        del start
        behind = [base.held[i] for i in stages.backward[s]]
        back_working.append(behind)
    passed, rest = 0, []
    totals = [size({v for v in own[s] if any(v in r for r in reads_back)}) for s in range(n)]
    for s in range(n):
        passed += totals[s]
        most = max(back_working[s], default=0)
        rest.append(slots(max(0, most - passed - _results(stages, s) - gradients[s])))
    return Chain(
        tuple(sum(problem.operations[i].cost for i in part) for part in stages.forward),
        tuple(sum(problem.operations[i].cost for i in part) for part in stages.backward),
        tuple(outputs),
        tuple(tapes),
        tuple(map(slots, gradients)),
        tuple(working),
        tuple(rest),
    )


def _results(stages: Stages, s: int) -> int:
    """Results that later stages have made by the time of the backward pass of stage ``s``."""
    problem, made_at = stages.problem, stages.problem.maker
    later = {i for part in stages.backward[s + 1 :] for i in part}
    return sum(problem.sizes[v] for v in problem.stays if made_at[v] in later)


def chained(stages: Stages, budget: int) -> list[int] | None:
    """The cheapest sequence within ``budget`` that the programme finds; ``None`` if none fits.

    The programme knows sizes in slots; its sequences are simulated, and it is asked with less
    memory, or more, until the dearest that fits is known.
    """
    problem = stages.problem
    whole = problem.simulate(range(len(problem.operations))).peak
    most = max(whole, budget)
    rotor = Rotor(_chain(stages, most / SLOTS), SLOTS)
    best: list[int] | None = None
    cost = float("inf")
    low, high = 0, SLOTS
    for _ in range(TRIES):
        middle = (low + high) // 2
        if rotor.cost(middle) == float("inf"):
            low = middle + 1
            continue
        found = sequence_of(stages, rotor, middle)
        simulation = problem.simulate(found)
        if simulation.peak <= budget:
            if simulation.cost < cost:
                best, cost = found, simulation.cost
            low = middle + 1
        else:
            high = middle - 1
        if low > high:
            break
    return best


def sequence_of(stages: Stages, rotor: Rotor, memory: int) -> list[int]:
    """The operations of the programme's actions, without those that nobody reads."""
    sequence: list[int] = []
    for action, s in rotor.actions(memory):
        sequence += stages.backward[s] if action == "backward" else stages.forward[s]
    return stages.problem.trimmed(sequence)


def by_segments(stages: Stages, length: int) -> list[int]:
    """Chen's schedule: hold what every ``length``-th stage hands on, and compute the rest again.

    T. Chen, B. Xu, C. Zhang, C. Guestrin (2016), *Training deep nets with sublinear memory cost*,
    arXiv:1604.06174, section 4. The last segment is not computed again.
    """
    n = len(stages)
    starts = list(range(0, n, length))
    sequence = [i for part in stages.forward for i in part]
    for start in reversed(starts):
        stop = min(start + length, n)
        if stop < n:
            sequence += [i for part in stages.forward[start:stop] for i in part]
        for s in range(stop - 1, start - 1, -1):
            sequence += stages.backward[s]
    return stages.problem.trimmed(sequence)

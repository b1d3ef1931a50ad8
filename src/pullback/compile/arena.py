"""Where values are: over others that nobody reads any more, in later outputs, or in the arena."""

from __future__ import annotations

from pullback.compile.groups import reads_rows, rows_of
from pullback.compile.plan import INEXACT_FAR, Schedule, Step, aligned, reads_straight
from pullback.core.graph import Equation, Variable

__all__ = ["overwrite", "place"]

Place = tuple[int, int, Variable]  # start, stop, value
MIN_HOSTED = 1 << 16  # bytes of a value that may live in an output: smaller ones stay in the cache


def _last_steps(plan: Schedule) -> dict[Variable, int]:
    """The number of the last step that touches each piece of memory."""
    return {v: i for i, step in enumerate(plan.steps) for v in plan.touched(step)}


def overwrite(plan: Schedule) -> None:
    """Let steps write over an operand that they are the last to read.

    Maps do so element by element; an array with some elements replaced needs no copy of the others.
    """
    last = _last_steps(plan)
    fixed = plan.results.union(v for v in plan.graph.inputs if v not in plan.room)
    for i, step in enumerate(plan.steps):
        for k, part in enumerate(step.parts):
            others = {v for other in step.parts[k + 1 :] for v in other.reads}
            for other in step.parts[:k]:
                others |= _kept_by(plan, other, step) if step.rows else set(other.reads)
            free = [v for v in part.reads if last.get(v) == i and v not in fixed | others]
            if part.map_shape is not None:
                _overwrite(plan, part, free)
            elif part.equation.primitive.name in ("update", "scatter"):
                _replace(plan, part.equation, free)


def _kept_by(plan: Schedule, other: Step, group: Step) -> set[Variable]:
    """What those must not write over that follow ``other`` row by row in a group."""
    rows = rows_of(group)

    def is_done(v: Variable) -> bool:
        """Whether ``other`` has read what is in the row, and no other row does."""
        return rows is not None and all(reads_rows(plan, e, {v}, rows[0]) for e in other.equations)

    return {v for v in other.reads if not is_done(v)}


def _replace(plan: Schedule, equation: Equation, free: list[Variable]) -> None:
    (x, *others), (out,) = equation.inputs, equation.outputs
    if isinstance(x, Variable) and x in plan.in_memory and x.type == out.type:
        old = plan.owner(x)
        if old in free and old not in plan.memory_of(others) and _has_room(plan, old, out):
            plan.alias[old] = out


def _overwrite(plan: Schedule, step: Step, free: list[Variable]) -> None:
    shape = step.map_shape
    assert shape is not None
    if INEXACT_FAR & {e.primitive.name for e in (*step.equations, *plan.fused(step))}:
        return
    free = [v for v in free if all(reads_straight(plan, e, {v}, shape) for e in step.equations)]
    read: set[Variable] = set()  # by now: the loop keeps what it has loaded
    for equation in step.equations:
        (out,) = equation.outputs
        read.update(plan.memory_of(equation.inputs))
        for v in free:
            if v in read and _has_room(plan, v, out):
                plan.alias[v] = out
                free.remove(v)
                break


def _has_room(plan: Schedule, old: Variable, new: Variable) -> bool:
    """Whether ``new`` may be written over ``old``; only results are written over inputs."""
    if old in plan.room:
        return new in plan.room[old] and old.type == new.type
    return old.type.dtype == new.type.dtype and old.type.size == new.type.size


def place(plan: Schedule) -> None:
    """First-fit places, freed after the last step that touches them.

    Large values go where an output will be written later, the others to the arena.
    """
    fixed = plan.results.union(plan.graph.inputs)
    last = _last_steps(plan)
    first = {v: i for i, step in reversed([*enumerate(plan.steps)]) for v in plan.touched(step)}
    inputs = set(map(plan.owner, plan.graph.inputs))
    hosts = [v for v in first if v in fixed and v not in inputs]
    used: dict[Variable | None, list[Place]] = {host: [] for host in (*hosts, None)}
    for i, step in enumerate(plan.steps):
        for v in plan.touched(step):
            if v in fixed or v in plan.offsets or v in plan.hosted:
                continue
            size = aligned(v.type.nbytes)
            for host, places in used.items():
                start = _gap(places, size)
                if host is None:
                    plan.offsets[v] = start
                    plan.arena_bytes = max(plan.arena_bytes, start + size)
                elif size < MIN_HOSTED or first[host] <= last[v] or start + size > host.type.nbytes:
                    continue
                else:
                    plan.hosted[v] = host, start
                places.append((start, start + size, v))
                places.sort(key=lambda place: place[0])
                break
        for host, places in used.items():
            used[host] = [place for place in places if last[place[2]] > i]


def _gap(places: list[Place], size: int) -> int:
    """The first gap of ``size`` bytes between sorted places."""
    start = 0
    for begin, stop, _ in places:
        if begin - start >= size:
            break
        start = max(start, stop)
    return start

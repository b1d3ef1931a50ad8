"""Where values are: over others that nobody reads any more, in later outputs, or in the arena."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from pullback.compiler.schedule.bodies import bytes_behind
from pullback.compiler.schedule.chains import reads_units
from pullback.compiler.schedule.gaps import Gaps
from pullback.compiler.schedule.groups import channels_of, reads_channels, reads_rows, rows_of
from pullback.compiler.schedule.questions import reads_straight
from pullback.compiler.schedule.scratch import scratch_bytes
from pullback.compiler.schedule.steps import Chain, Group, Map, Schedule, Step, aligned
from pullback.core.graph import Equation, Variable

__all__ = ["overwrite", "place", "reuse_in_chains"]

Place = tuple[int, int, Variable]  # start, stop, value
Lives = tuple[dict[Variable, int], dict[Variable, int]]  # the first and the last step
LARGE = 1 << 16  # bytes of a value that is placed before others: smaller ones share a few pages
MANY = 2000  # large values: more are placed by time, too
MOST_HOSTS = 64  # outputs that are looked at for a place


def _last_steps(plan: Schedule) -> dict[Variable, int]:
    """The number of the last step that touches each piece of memory."""
    return {v: i for i, step in enumerate(plan.steps) for v in plan.touched(step)}


def _first_steps(plan: Schedule) -> dict[Variable, int]:
    """The number of the first step that touches each piece of memory."""
    return {v: i for i, step in reversed([*enumerate(plan.steps)]) for v in plan.touched(step)}


def overwrite(plan: Schedule) -> Schedule:
    """Let steps write over an operand that they are the last to read.

    Maps do so element by element; an array with some elements replaced needs no copy of the others,
    and a loop none of the state that it starts from.
    """
    last = _last_steps(plan)
    fixed = plan.results.union(v for v in plan.graph.inputs if v not in plan.room)
    for i, step in enumerate(plan.steps):
        members = step.members if isinstance(step, Chain) else (step,)
        outer = step.outer if isinstance(step, Chain) else ()
        reads = [member.all_reads for member in members]
        for k, member in enumerate(members):
            free = {v for v in reads[k] if last.get(v) == i} - fixed
            for j, other in enumerate(members):  # of a chain: later ones, and other chunks, read
                if j != k:
                    shared = free & reads[j]
                    free -= {v for v in shared if j > k or not reads_units(plan, other, {v}, outer)}
            _overwrite_in(plan, member, free)
    return plan


def reuse_in_chains(plan: Schedule) -> Schedule:
    """Let members of a chain write where others have been that nobody reads again.

    All that a chain makes is cut alike: each chunk writes where it has read itself.
    """
    first, last = _first_steps(plan), _last_steps(plan)
    inputs = set(map(plan.owner, plan.graph.inputs))
    for i, chain in enumerate(plan.steps):
        if not isinstance(chain, Chain):
            continue
        touched = {v: k for k, member in enumerate(chain.members) for v in plan.touched(member)}
        seen: set[Variable] = set()
        free: list[Variable] = []
        for k, member in enumerate(chain.members):
            own = [v for v in dict.fromkeys(plan.touched(member)) if v not in seen]
            seen.update(own)
            for v in own:
                if first[v] < i or v in inputs:
                    continue
                old = next((f for f in free if touched[f] < k and _has_room(plan, f, v)), None)
                if old is not None:
                    free.remove(old)
                    plan.alias[old] = v
                if last[v] == i and v not in plan.results:
                    free.append(v)
    return plan


def _overwrite_in(plan: Schedule, step: Step, done: set[Variable]) -> None:
    """Let the parts of a step write over operands that nobody else reads again."""
    for k, part in enumerate(step.parts):
        others = {v for other in step.parts[k + 1 :] for v in other.reads}
        for other in step.parts[:k]:
            others |= _kept_by(plan, other, step) if isinstance(step, Group) else set(other.reads)
        free = [v for v in part.reads if v in done and v not in others]
        if isinstance(part, Map):
            _overwrite(plan, part, free)
        else:
            _replace(plan, part.equation, free)


def _kept_by(plan: Schedule, other: Step, group: Group) -> set[Variable]:
    """What those in a group must not write over that follow ``other`` on its walk."""
    if group.walk == "blocks":
        return set()  # each element is read where it is computed
    channels, rows = channels_of(group), rows_of(group)

    def is_done(v: Variable) -> bool:
        """Whether ``other`` has read what is in the row or the like, and no other one does."""
        if group.walk == "channels" and channels is not None:
            return all(reads_channels(plan, e, {v}, *channels) for e in other.equations)
        outer = channels[0][:2] if group.walk == "planes" and channels else rows and rows[0]
        return outer is not None and all(reads_rows(plan, e, {v}, outer) for e in other.equations)

    return {v for v in other.reads if not is_done(v)}


def _states(equation: Equation) -> range:
    """The numbers of the operands that the first outputs start from, each from one."""
    name, params, n = equation.primitive.name, equation.params, len(equation.inputs)
    if name in ("update", "scatter"):
        return range(1)
    if name == "scan":
        return range(params["n_constants"], params["n_constants"] + params["n_carry"])
    return range(n - len(equation.outputs), n) if name == "while_loop" else range(0)


def _replace(plan: Schedule, equation: Equation, free: list[Variable]) -> None:
    """Let outputs lie where the operands were that they start from."""
    for i, out in zip(_states(equation), equation.outputs, strict=False):
        x = equation.inputs[i]
        others = [v for j, v in enumerate(equation.inputs) if j != i]
        if isinstance(x, Variable) and x in plan.in_memory and x.type == out.type:
            old = plan.owner(x)
            if old in free and old not in plan.memory_of(others) and _has_room(plan, old, out):
                plan.alias[old] = out


def _overwrite(plan: Schedule, step: Map, free: list[Variable]) -> None:
    fused = (*step.equations, *plan.fused(step))
    if any("inexact far" in e.primitive.traits for e in fused):
        return
    free = [
        v
        for v in free
        if all(reads_straight(plan, e, {v}, step.shape, has_places=False) for e in step.equations)
    ]
    read: set[Variable] = set()  # by now: the loop keeps what it has loaded
    for equation in step.equations:
        (out,) = equation.outputs
        read.update(plan.memory_of(equation.inputs))
        for v in free:
            if v in read and out not in plan.local and _has_room(plan, v, out):
                plan.alias[v] = out
                free.remove(v)
                break


def _has_room(plan: Schedule, old: Variable, new: Variable) -> bool:
    """Whether ``new`` may be written over ``old``; only results are written over inputs."""
    if old in plan.room:
        return new in plan.room[old] and old.type == new.type
    return old.type.dtype == new.type.dtype and old.type.size == new.type.size


def place(plan: Schedule) -> Schedule:
    """Places of values, each free after the last step that touches them.

    They go where an output will be written later, or to the arena: the largest first, and behind
    them small ones in the order in which they are made. The working memory that each step declares
    goes where there is room during that step, and that of bodies behind the arena.
    """
    scratch = [scratch_bytes(plan, step) for step in plan.steps]
    fixed = plan.results.union(plan.graph.inputs)
    lives = first, last = _first_steps(plan), _last_steps(plan)
    inputs = set(map(plan.owner, plan.graph.inputs))
    by_time = sorted(first, key=first.__getitem__)
    hosts = [v for v in by_time if v in fixed and v not in inputs]
    values = [v for v in by_time if v not in fixed]
    _place_in_outputs(plan, values, hosts, lives)
    own = [v for v in values if v not in plan.hosted]
    large = [v for v in own if v.type.nbytes >= LARGE]
    placed: list[Place] = []
    for v in sorted(large if len(large) <= MANY else (), key=lambda v: -v.type.nbytes):
        there = [p for p in placed if first[p[2]] <= last[v] and first[v] <= last[p[2]]]
        placed.append(_put(plan, v, _gap(sorted(there, key=_start), aligned(v.type.nbytes))))
    gaps = Gaps(plan.arena_bytes)
    for v in own:
        if v not in plan.offsets:
            gaps.release(first[v])
            size = aligned(v.type.nbytes)
            start = gaps.room(size)
            assert start is not None  # there is no end
            gaps.hold(start, size, last[v])
            _put(plan, v, start)
    if any(scratch):
        _place_scratch(plan, scratch, values, hosts, lives)
    plan.behind = {step: bytes_behind(plan, step) for step in plan.bodies}
    return plan


def _start(place: Place) -> int:
    return place[0]


def _put(plan: Schedule, v: Variable, start: int) -> Place:
    """Note the place of a value in the arena."""
    stop = start + aligned(v.type.nbytes)
    plan.offsets[v] = start
    plan.arena_bytes = max(plan.arena_bytes, stop)
    return start, stop, v


def _place_in_outputs(
    plan: Schedule, values: Sequence[Variable], hosts: Sequence[Variable], lives: Lives
) -> None:
    """Values, in the order in which they are made, where outputs will be written later."""
    first, last = lives
    starts = [first[host] for host in hosts]
    rooms = {host: Gaps(0, host.type.nbytes) for host in hosts}
    for v in values:
        size = aligned(v.type.nbytes)
        later = bisect_right(starts, last[v])
        for host in hosts[later : later + MOST_HOSTS]:
            room = rooms[host]
            room.release(first[v])
            start = room.room(size)
            if start is not None:
                room.hold(start, size, last[v])
                plan.hosted[v] = host, start
                break


def _place_scratch(
    plan: Schedule,
    scratch: Sequence[int],
    values: Sequence[Variable],
    hosts: Sequence[Variable],
    lives: Lives,
) -> None:
    """Gaps in the arena, or in outputs that are written later; else the arena grows.

    ``values`` have their places, and are in the order in which they are made.
    """
    first, last = lives
    starts = [first[host] for host in hosts]
    arena = Gaps()
    rooms = {host: Gaps(0, host.type.nbytes) for host in hosts}
    waiting = iter(values)
    v = next(waiting, None)
    for i, size in enumerate(scratch):
        while v is not None and first[v] <= i:
            owner, start = plan.hosted.get(v) or (None, plan.offsets[v])
            room = arena if owner is None else rooms[owner]
            room.release(first[v])
            room.hold(start, aligned(v.type.nbytes), last[v])
            v = next(waiting, None)
        if not size:
            continue
        arena.release(i)
        gap = arena.room(size)
        assert gap is not None  # there is no end
        plan.scratch[i] = None, gap, size
        if gap + size > plan.arena_bytes:
            later = bisect_right(starts, i)
            for host in hosts[later : later + MOST_HOSTS]:
                rooms[host].release(i)
                inside = rooms[host].room(size)
                if inside is not None:
                    plan.scratch[i] = host, inside, size
                    break
            else:
                plan.arena_bytes = gap + size


def _gap(places: Sequence[Place], size: int) -> int:
    """The first gap of ``size`` bytes between sorted places."""
    start = 0
    for begin, stop, _ in places:
        if begin - start >= size:
            break
        start = max(start, stop)
    return start

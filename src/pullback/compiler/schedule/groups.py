"""Steps that share loops: maps over the same elements, and folds and maps of the same rows.

A pass over memory is saved for every value that one step reads and another one reads or writes: the
moments and the parameters of an optimizer are updated in one loop; the maximum, the exponentials
and the sum of a softmax are computed row after row, while a row is in the nearest cache; sums over
a batch plane after plane, or channel after channel where planes are small and a cache holds one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

from pullback.compiler.schedule.axes import Access, Axis, access_of
from pullback.compiler.schedule.pieces import has_seams
from pullback.compiler.schedule.questions import (
    is_float_product,
    is_foreign,
    is_plain,
    operations,
    reads_straight,
)
from pullback.compiler.schedule.steps import Call, Fold, Group, Map, Product, Schedule, Shape, Step
from pullback.core.graph import Equation, Literal, Operand, Variable

__all__ = [
    "channels_of",
    "collected",
    "find_local",
    "join_blocks",
    "join_channels",
    "join_planes",
    "join_rows",
    "merge_maps",
    "reads_channels",
    "reads_rows",
    "rows_of",
]

MAX_MAPS = 8  # in one loop: more streams than a processor prefetches gain nothing
MOST_MERGED = 256  # operations for one number in one loop of maps: LLVM takes a second for more
RECENT = 64  # steps that have touched a value: what all read would lead to all
MAX_PARTS = 12  # of a kernel that runs row by row
SHORTEST, LONGEST = 16, 8192  # elements of a row
LEAST_ROWS = 32
LEAST_ELEMENTS = 1 << 14  # of what is computed block by block
LEAST_CHANNELS = 8
SMALLEST = 1 << 10  # elements of a channel
LEAST_IMAGES = 8
SMALL_PLANE, LARGE_PLANE = 1 << 6, 1 << 8  # elements: from which on planes are read one by one
WAYS, WAY = 8, 1 << 16  # of a second cache: how many, and bytes

ALONE = Map, Fold, Call, Product  # steps that belong to no group
IsOwn = Callable[[Shape, Access], bool]


def merge_maps(plan: Schedule) -> Schedule:
    """Make steps that map over the same elements and share memory one, where order allows."""
    plan.steps = collected(plan, _mergeable, _merged)
    return plan


def join_rows(plan: Schedule) -> Schedule:
    """Let folds of rows, and maps of the same rows, follow each other row by row."""
    plan.steps = collected(plan, _joinable, partial(_joined, "rows"))
    return plan


def collected(
    plan: Schedule,
    fits: Callable[[Schedule, Step, Step], bool],
    join: Callable[[Schedule, Step, Step], Step],
) -> list[Step]:
    """The steps, each with the last one before it that it fits, where order allows.

    They fit if they touch the same memory. What NumPy evaluates stays alone; what is computed again
    joins only its like. Of the steps that have touched a value, the ``RECENT`` last are looked at.
    """
    order = _Order()
    for step in plan.steps:
        is_alone = any(map(is_foreign, step.equations))
        near = [] if is_alone else order.near(step)
        if plan.is_again(step):
            near = [i for i in near if plan.is_again(order.at(i))]
        fit = (i for i in near if fits(plan, order.at(i), step))
        order.add(next(fit, None), step, partial(join, plan), is_alone)
    return [step for step in order.steps if step is not None]


class _Order:
    """Steps in order, some of which have joined others.

    ``made`` and ``read`` are the places of the step that writes a value and of the last one that
    reads it, ``touching`` those of all that do either and may be joined. A step that has moved
    leaves ``None`` in its place.
    """

    def __init__(self) -> None:
        self.steps: list[Step | None] = []
        self.made: dict[Variable, int] = {}
        self.read: dict[Variable, int] = {}
        self.touching: dict[Variable, list[int]] = {}

    def at(self, place: int) -> Step:
        step = self.steps[place]
        assert step is not None
        return step

    def near(self, step: Step) -> list[int]:
        """The places of steps that have touched what a step reads, the last first."""
        found = {i for v in step.all_reads for i in self.touching.get(v, ())[-RECENT:]}
        return sorted((i for i in found if self.steps[i] is not None), reverse=True)

    def add(
        self,
        place: int | None,
        step: Step,
        join: Callable[[Step, Step], Step],
        is_alone: bool,
    ) -> None:
        """Add a step, in one with that at a place if order allows."""
        new, last = step, len(self.steps)
        if place is not None:
            group = self.at(place)
            if all(self.made.get(v, -1) <= place for v in step.all_reads):
                self.steps[place] = join(group, step)
                self.note(step, place)
                return
            written = (v for part in group.parts for v in part.outputs)
            if all(self.read.get(v, -1) <= place for v in written):
                self.steps[place] = None
                new = join(group, step)
        self.steps.append(new)
        self.note(new, last, is_alone)

    def note(self, step: Step, place: int, is_alone: bool = False) -> None:
        """A step is at a place now."""
        for part in step.parts:
            self.made.update(dict.fromkeys(part.outputs, place))
            for v in part.reads:
                self.read[v] = max(place, self.read.get(v, -1))
            for v in () if is_alone else (*part.reads, *part.outputs):
                places = self.touching.setdefault(v, [])
                if not places or places[-1] != place:
                    places.append(place)


# -- maps -----------------------------------------------------------------------------------------
def _merged(_: Schedule, first: Step, second: Step) -> Step:
    assert isinstance(first, Map)
    assert isinstance(second, Map)
    reads = dict.fromkeys([*first.reads, *second.reads])
    outputs = first.outputs
    kept = tuple([v for v in reads if v not in outputs])
    is_flat = first.is_flat and second.is_flat
    return Map((*first.equations, *second.equations), kept, first.shape, is_flat)


def _mergeable(plan: Schedule, first: Step, second: Step) -> bool:
    """Whether two maps over elements of the same shape can share a loop, and gain by it."""
    if not (isinstance(first, Map) and isinstance(second, Map)) or first.shape != second.shape:
        return False
    shape = second.shape
    if len(first.equations) >= MAX_MAPS:
        return False
    shared = {v for v in second.reads if v.type.shape == shape}
    if shared.isdisjoint(first.reads) and shared.isdisjoint(first.outputs):
        return False
    if sum(map(operations, (*_all(plan, first), *_all(plan, second)))) > MOST_MERGED:
        return False
    return reads_straight(plan, second.equation, set(first.outputs), shape)


# -- blocks ---------------------------------------------------------------------------------------
def join_blocks(plan: Schedule) -> Schedule:
    """Let folds of all elements follow the maps over them block by block."""
    plan.steps = collected(plan, _follows_blocks, partial(_joined, "blocks"))
    return plan


def _folds_all(equation: Equation) -> bool:
    is_reduction = equation.primitive.family == "reduction"
    return is_reduction and len(equation.params["axis"]) == equation.inputs[0].type.ndim


def _follows_blocks(plan: Schedule, group: Step, step: Step) -> bool:
    """Whether a fold can follow a map, or maps and folds of its elements."""
    first = group.parts[0]
    if not (isinstance(first, Map) and first.is_flat):
        return False
    size = math.prod(first.shape)
    if size < LEAST_ELEMENTS:
        return False
    if not _may_walk("blocks", group, step):
        return False
    if not _folds_all(step.equation) or step.equation.inputs[0].type.size != size:
        return False
    parts = [*group.parts, step]
    touched = {v for p in group.parts for v in (*p.reads, *p.outputs) if v.type.size == size}
    late = {v for p in group.parts if not isinstance(p, Map) for v in p.outputs}
    if not late.isdisjoint(step.reads):
        return False  # known after the last block
    return (
        is_plain(plan, step.equation.inputs[0])
        and not touched.isdisjoint(step.reads)
        and not any("inexact far" in e.primitive.traits for p in parts for e in _all(plan, p))
    )


# -- what only a group knows ----------------------------------------------------------------------
def find_local(plan: Schedule) -> Schedule:
    """Values between the parts of a group need no more memory than a row, or a block."""
    held = {*plan.results, *plan.alias, *plan.alias.values()}
    readers: dict[Variable, set[Step]] = {}
    for step in plan.steps:
        for part in step.parts:
            for v in part.reads:
                readers.setdefault(v, set()).add(step)
    for step in plan.steps:
        if not isinstance(step, Group) or step.walk not in ("rows", "blocks"):
            continue
        for part in step.parts:
            if isinstance(part, Map) and (step.walk == "blocks" or rows_of(part) == rows_of(step)):
                own = (v for v in part.outputs if readers.get(v, set()) <= {step})
                plan.local.update(v for v in own if v not in held)
    return plan


# -- rows -----------------------------------------------------------------------------------------
def rows_of(step: Step) -> tuple[Shape, int] | None:
    """The shape of the rows that a map or a fold runs over, and the length of one."""
    first = step.parts[0]
    shape = first.shape if isinstance(first, Map) else ()
    if _is_fold(first.equation):
        shape = first.equation.inputs[0].type.shape
    return (shape[:-1], shape[-1]) if shape else None


def _is_fold(equation: Equation) -> bool:
    """Whether the equation folds the last axis."""
    is_reduction = equation.primitive.family == "reduction"
    return is_reduction and equation.params["axis"] == (equation.inputs[0].type.ndim - 1,)


def _joined(walk: str, _: Schedule, group: Step, step: Step) -> Step:
    return Group((*group.parts, step), walk)


def _may_walk(walk: str, group: Step, step: Step) -> bool:
    """Whether a group could be one of this kind, and a step one of its parts."""
    is_free = isinstance(group, ALONE) or (isinstance(group, Group) and group.walk == walk)
    return is_free and isinstance(step, ALONE) and len(group.parts) < MAX_PARTS


def _joinable(plan: Schedule, group: Step, step: Step) -> bool:
    """Whether a step can follow a group row by row, and gains by it."""
    rows = rows_of(group)
    if rows is None or not _may_walk("rows", group, step):
        return False
    outer, n = rows
    if not (SHORTEST <= n <= LONGEST and math.prod(outer) >= LEAST_ROWS):
        return False
    is_one = isinstance(step, Map) and step.shape in (outer, (*outer, 1))  # a number for each row
    if not (is_one or rows_of(step) == rows):
        return False
    parts = [*group.parts, step]
    if not any(is_one or _is_fold(part.equation) for part in parts):
        return False
    outputs = {v for part in group.parts for v in part.outputs}
    reads = {v for part in group.parts for v in part.reads if v.type.size == n * math.prod(outer)}
    if outputs.union(() if is_one else reads).isdisjoint(step.reads):
        return False
    if not _runs_once(plan, parts):
        return False
    return all(reads_rows(plan, e, outputs, outer) for e in step.equations)


def _runs_once(plan: Schedule, parts: Sequence[Step]) -> bool:
    """Whether no loop of the parts runs piece by piece, or again with other functions."""
    equations = (e for part in parts for e in _all(plan, part))
    return not any(has_seams(e) or "inexact far" in e.primitive.traits for e in equations)


def _all(plan: Schedule, part: Step) -> list[Equation]:
    return [*part.equations, *plan.fused(part)]


def reads_rows(plan: Schedule, equation: Equation, owners: set[Variable], outer: Shape) -> bool:
    """Whether the memory of ``owners`` is read only in the row, or matrix, that is computed."""

    def is_own(shape: Shape, access: Access) -> bool:
        if shape[: len(outer)] != outer:
            return False
        return all(n == 1 or access[k] == Axis(k) for k, n in enumerate(outer))

    if is_float_product(equation):
        x1, x2 = equation.inputs
        is_matrix = x2.type.ndim <= 2  # all of it, for each row
        if is_matrix and not owners.isdisjoint(plan.memory_of([x2])):
            return False
        operands = [x1] if is_matrix else [x1, x2]
        return all(_reads_own(plan, v, _straight(v), owners, is_own) for v in operands)
    return _operands_read_own(plan, equation, owners, is_own)


def _straight(operand: Operand) -> Access:
    return [Axis(k) for k in range(operand.type.ndim)]


def _operands_read_own(
    plan: Schedule, equation: Equation, owners: set[Variable], is_own: IsOwn
) -> bool:
    """Whether a map or a fold reads the memory of ``owners`` only as ``is_own`` allows."""
    if equation.primitive.family == "reduction":
        (x,) = equation.inputs
        return _reads_own(plan, x, _straight(x), owners, is_own)
    (out, *_) = equation.outputs
    return all(
        _reads_own(plan, v, access_of(equation, v, _straight(out)), owners, is_own)
        for v in equation.inputs
    )


def _reads_own(
    plan: Schedule, operand: Operand, access: Access, owners: set[Variable], is_own: IsOwn
) -> bool:
    if isinstance(operand, Literal):
        return True
    if operand not in plan.in_memory:
        maker = plan.makers[operand]
        return all(
            _reads_own(plan, v, access_of(maker, v, access), owners, is_own) for v in maker.inputs
        )
    return plan.owner(operand) not in owners or is_own(operand.type.shape, access)


# -- channels -------------------------------------------------------------------------------------
def join_channels(plan: Schedule) -> Schedule:
    """Let folds of all axes but one, and maps of the same shape, follow channel by channel."""
    plan.steps = collected(plan, _follows_channels, partial(_joined, "channels"))
    return plan


def channels_of(step: Step) -> tuple[Shape, int] | None:
    """The shape of what a step folds to a number for each index of one axis, and that axis."""
    for part in step.parts:
        equation = part.equation
        if equation.primitive.family == "reduction" and equation.primitive.scalar is not None:
            shape, gone = equation.inputs[0].type.shape, equation.params["axis"]
            kept = [k for k in range(len(shape) - 1) if k not in gone]
            if len(gone) == len(shape) - 1 > 1 and kept:
                return shape, kept[0]
    return None


def _follows_channels(plan: Schedule, group: Step, step: Step) -> bool:
    """Whether a step can follow a group channel by channel, and gains by it."""
    known = channels_of(group) or channels_of(step)
    if known is None or not _may_walk("channels", group, step):
        return False
    shape, k = known
    size = math.prod(shape)
    if shape[k] < LEAST_CHANNELS or size // shape[k] < SMALLEST:
        return False
    if k and math.prod(shape[k + 1 :]) >= LARGE_PLANE:
        return False
    parts = [*group.parts, step]
    if not all(_has_channels(part, shape, k) for part in parts):
        return False
    outputs = {v for part in group.parts for v in part.outputs}
    reads = {v for part in group.parts for v in part.reads if v.type.size == size}
    if (outputs | reads).isdisjoint(step.reads) or not _stay_near(parts, shape, k):
        return False
    if not _runs_once(plan, parts):
        return False
    return all(reads_channels(plan, e, outputs, shape, k) for e in step.equations)


def _stay_near(parts: Sequence[Step], shape: Shape, k: int) -> bool:
    """Whether a second cache holds a channel of all arrays until the last part.

    A channel is in pieces, one of each image. If their distance is a multiple of a large power of
    two, as that of 32 x 32 places usually is, they share few places of the cache.
    """
    arrays = {v for part in parts for v in (*part.reads, *part.outputs)}
    items = [v.type.dtype.itemsize for v in arrays if v.type.size == math.prod(shape)]
    piece = math.prod(shape[k + 1 :]) * max(items, default=1)
    places = min(WAY // math.gcd(piece * shape[k], WAY) * piece, WAY)
    return math.prod(shape[:k]) * math.prod(shape[k + 1 :]) * sum(items) <= WAYS * places


def _has_channels(part: Step, shape: Shape, k: int) -> bool:
    """Whether a step is such a fold, or a map over all elements or a number for each channel."""
    if not isinstance(part, Map):
        return channels_of(part) == (shape, k)
    return part.shape == shape or _is_one_each(part.shape, shape[k])


def _is_one_each(shape: Shape, n: int) -> bool:
    return [length for length in shape if length != 1] == [n]


def reads_channels(
    plan: Schedule, equation: Equation, owners: set[Variable], shape: Shape, k: int
) -> bool:
    """Whether the memory of ``owners`` is read only in the channel that is computed."""
    (out, *_) = equation.outputs
    is_fold = equation.primitive.family == "reduction"
    loop = k if is_fold or out.type.shape == shape else out.type.shape.index(shape[k])

    def is_own(found: Shape, access: Access) -> bool:
        if found == shape:
            return access[k] == Axis(loop)
        return _is_one_each(found, shape[k]) and access[found.index(shape[k])] == Axis(loop)

    return _operands_read_own(plan, equation, owners, is_own)


# -- planes ---------------------------------------------------------------------------------------
def join_planes(plan: Schedule) -> Schedule:
    """Let folds of channels, and maps of the same shape, follow plane by plane.

    A plane is a channel of an image. All of them lie one after the other.
    """
    plan.steps = collected(plan, _follows_planes, partial(_joined, "planes"))
    return plan


def _follows_planes(plan: Schedule, group: Step, step: Step) -> bool:
    """Whether a step can follow a group plane by plane, and gains by it."""
    known = channels_of(group) or channels_of(step)
    if known is None or not _may_walk("planes", group, step):
        return False
    shape, k = known
    if k != 1 or shape[0] < LEAST_IMAGES or math.prod(shape[2:]) < SMALL_PLANE:
        return False
    parts = [*group.parts, step]
    if not all(
        (isinstance(part, Map) and part.shape == shape) or channels_of(part) == known
        for part in parts
    ):
        return False
    outputs = {v for part in group.parts for v in part.outputs}
    reads = {v for part in group.parts for v in part.reads if v.type.shape == shape}
    if (outputs | reads).isdisjoint(step.reads) or not _runs_once(plan, parts):
        return False
    return all(reads_rows(plan, e, outputs, shape[:2]) for e in step.equations)

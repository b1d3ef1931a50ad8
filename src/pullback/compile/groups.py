"""Steps that share loops: maps over the same elements, and folds and maps of the same rows.

A pass over memory is saved for every value that one step reads and another one reads or writes: the
moments and the parameters of an optimizer are updated in one loop; the maximum, the exponentials
and the sum of a softmax are computed row after row, while a row is in the nearest cache.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

from pullback.compile.axes import Access, Axis, access_of
from pullback.compile.plan import (
    INEXACT_FAR,
    Schedule,
    Step,
    is_float_product,
    is_foreign,
    is_plain,
    reads_straight,
)
from pullback.compile.seams import has_seams
from pullback.core.graph import Equation, Literal, Operand, Variable

__all__ = [
    "collected",
    "find_local",
    "is_in_blocks",
    "join_blocks",
    "join_rows",
    "merge_maps",
    "reads_rows",
    "rows_of",
]

MAX_MAPS = 8  # in one loop: more streams than a processor prefetches gain nothing
MAX_PARTS = 12  # of a kernel that runs row by row
SHORTEST, LONGEST = 16, 8192  # elements of a row
LEAST_ROWS = 32
LEAST_ELEMENTS = 1 << 14  # of what is computed block by block

Shape = tuple[int, ...]


def merge_maps(plan: Schedule) -> None:
    """Make steps that map over the same elements and share memory one, where order allows."""
    plan.steps = collected(plan, _mergeable, _merged)


def join_rows(plan: Schedule) -> None:
    """Let folds of rows, and maps of the same rows, follow each other row by row."""
    plan.steps = collected(plan, _joinable, _joined)


def collected(
    plan: Schedule,
    fits: Callable[[Schedule, Step, Step], bool],
    join: Callable[[Schedule, Step, Step], Step],
) -> list[Step]:
    """The steps, each with the last one before it that it fits, where order allows.

    They fit if they touch the same memory. What NumPy evaluates stays alone; what is computed again
    joins only its like.
    """
    steps: list[Step] = []
    touching: dict[Variable, set[Step]] = {}
    for step in plan.steps:
        near = set().union(*(touching.get(v, ()) for v in step.all_reads))
        is_alone = any(map(is_foreign, step.equations))
        places = range(len(steps) - 1, -1, -1) if near and not is_alone else ()
        is_again = plan.is_again(step)
        near = {s for s in near if not is_again or plan.is_again(s)}
        fit = (i for i in places if steps[i] in near and fits(plan, steps[i], step))
        last = _added(steps, next(fit, None), step, partial(join, plan))
        for part in () if is_alone else last.parts:
            for v in (*part.reads, *part.outputs):
                touching.setdefault(v, set()).add(last)
    return steps


def _added(
    steps: list[Step], place: int | None, step: Step, join: Callable[[Step, Step], Step]
) -> Step:
    """Add a step, in one with that at a place if order allows; the step that has it now."""
    if place is not None:
        group = steps[place]
        between = steps[place + 1 :]
        if step.all_reads.isdisjoint(v for s in between for p in s.parts for v in p.outputs):
            steps[place] = join(group, step)
            return steps[place]
        if not any(v in s.all_reads for s in between for p in group.parts for v in p.outputs):
            del steps[place]
            step = join(group, step)
    steps.append(step)
    return step


# -- maps -----------------------------------------------------------------------------------------
def _merged(_: Schedule, first: Step, second: Step) -> Step:
    reads = dict.fromkeys([*first.reads, *second.reads])
    outputs = first.outputs
    kept = [v for v in reads if v not in outputs]
    is_flat = first.is_flat and second.is_flat
    return Step([*first.equations, *second.equations], kept, first.map_shape, is_flat)


def _mergeable(plan: Schedule, first: Step, second: Step) -> bool:
    """Whether two maps over elements of the same shape can share a loop, and gain by it."""
    shape = second.map_shape
    if shape is None or first.map_shape != shape:
        return False
    if len(first.equations) >= MAX_MAPS:
        return False
    shared = {v for v in second.reads if v.type.shape == shape}
    if shared.isdisjoint(first.reads) and shared.isdisjoint(first.outputs):
        return False
    return reads_straight(plan, second.equation, set(first.outputs), shape)


# -- blocks ---------------------------------------------------------------------------------------
def join_blocks(plan: Schedule) -> None:
    """Let folds of all elements follow the maps over them block by block."""
    plan.steps = collected(plan, _follows_blocks, _joined)


def is_in_blocks(group: Step) -> bool:
    """Whether a group runs block by block, not row by row."""
    return any(_folds_all(part.equation) for part in group.parts)


def _folds_all(equation: Equation) -> bool:
    is_reduction = equation.primitive.family == "reduction"
    return is_reduction and len(equation.params["axis"]) == equation.inputs[0].type.ndim


def _follows_blocks(plan: Schedule, group: Step, step: Step) -> bool:
    """Whether a fold can follow a map, or maps and folds of its elements."""
    size = math.prod(group.map_shape or ())
    if not (group.is_flat and size >= LEAST_ELEMENTS and group.tail is None):
        return False
    if (group.rows and not is_in_blocks(group)) or len(group.parts) >= MAX_PARTS or step.rows:
        return False
    if not _folds_all(step.equation) or step.equation.inputs[0].type.size != size:
        return False
    parts = [*group.parts, step]
    touched = {v for p in group.parts for v in (*p.reads, *p.outputs) if v.type.size == size}
    return (
        is_plain(plan, step.equation.inputs[0])
        and not touched.isdisjoint(step.reads)
        and not any(e.primitive.name in INEXACT_FAR for p in parts for e in _all(plan, p))
    )


# -- what only a group knows ----------------------------------------------------------------------
def find_local(plan: Schedule) -> None:
    """Values between the parts of a group need no more memory than a row, or a block."""
    held = {*plan.results, *plan.alias, *plan.alias.values()}
    readers: dict[Variable, set[Step]] = {}
    for step in plan.steps:
        for part in step.parts:
            for v in part.reads:
                readers.setdefault(v, set()).add(step)
    for step in plan.steps:
        for part in step.parts if step.rows else ():
            if part.map_shape is not None and (
                is_in_blocks(step) or rows_of(part) == rows_of(step)
            ):
                own = (v for v in part.outputs if readers.get(v, set()) <= {step})
                plan.local.update(v for v in own if v not in held)


# -- rows -----------------------------------------------------------------------------------------
def rows_of(step: Step) -> tuple[Shape, int] | None:
    """The shape of the rows that a map or a fold runs over, and the length of one."""
    shape = step.map_shape
    if _is_fold(step.equation):
        shape = step.equation.inputs[0].type.shape
    return (shape[:-1], shape[-1]) if shape else None


def _is_fold(equation: Equation) -> bool:
    """Whether the equation folds the last axis."""
    is_reduction = equation.primitive.family == "reduction"
    return is_reduction and equation.params["axis"] == (equation.inputs[0].type.ndim - 1,)


def _joined(_: Schedule, group: Step, step: Step) -> Step:
    group.rows.append(step)
    return group


def _joinable(plan: Schedule, group: Step, step: Step) -> bool:
    """Whether a step can follow a group row by row, and gains by it."""
    rows = rows_of(group)
    if rows is None or group.tail or step.tail or len(group.parts) >= MAX_PARTS:
        return False
    outer, n = rows
    if not (SHORTEST <= n <= LONGEST and math.prod(outer) >= LEAST_ROWS):
        return False
    is_one = step.map_shape in (outer, (*outer, 1))  # a number for each row
    if not (is_one or rows_of(step) == rows):
        return False
    parts = [*group.parts, step]
    if not any(is_one or _is_fold(part.equation) for part in parts):
        return False
    outputs = {v for part in group.parts for v in part.outputs}
    reads = {v for part in group.parts for v in part.reads if v.type.size == n * math.prod(outer)}
    if outputs.union(() if is_one else reads).isdisjoint(step.reads):
        return False
    if any(has_seams(e) or e.primitive.name in INEXACT_FAR for p in parts for e in _all(plan, p)):
        return False
    return all(reads_rows(plan, e, outputs, outer) for e in step.equations)


def _all(plan: Schedule, part: Step) -> list[Equation]:
    return [*part.equations, *plan.fused(part)]


def reads_rows(plan: Schedule, equation: Equation, owners: set[Variable], outer: Shape) -> bool:
    """Whether the memory of ``owners`` is read only in the row, or matrix, that is computed."""
    if is_float_product(equation):
        x1, x2 = equation.inputs
        is_matrix = x2.type.ndim <= 2  # all of it, for each row
        if is_matrix and not owners.isdisjoint(plan.memory_of([x2])):
            return False
        operands = [x1] if is_matrix else [x1, x2]
        return all(_in_row(plan, v, _straight(v), owners, outer) for v in operands)
    if _is_fold(equation):
        (x,) = equation.inputs
        return _in_row(plan, x, _straight(x), owners, outer)
    (out, *_) = equation.outputs
    return all(
        _in_row(plan, v, access_of(equation, v, _straight(out)), owners, outer)
        for v in equation.inputs
    )


def _straight(operand: Operand) -> Access:
    return [Axis(k) for k in range(operand.type.ndim)]


def _in_row(
    plan: Schedule, operand: Operand, access: Access, owners: set[Variable], outer: Shape
) -> bool:
    """Whether an access reads the memory of ``owners`` only at its own indices of ``outer``."""
    if isinstance(operand, Literal):
        return True
    if operand not in plan.in_memory:
        maker = plan.makers[operand]
        return all(
            _in_row(plan, v, access_of(maker, v, access), owners, outer) for v in maker.inputs
        )
    if plan.owner(operand) not in owners:
        return True
    if operand.type.shape[: len(outer)] != outer:
        return False
    return all(n == 1 or access[k] == Axis(k) for k, n in enumerate(outer))

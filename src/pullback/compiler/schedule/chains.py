"""Steps that follow each other chunk by chunk: heads of attention, items of a batch, rows of data.

The matrices of a stack do not depend on each other, nor do the rows of a softmax, nor those of a
matrix times a vector. So one thread computes the products and the softmax of one head, then takes
the next: it waits for no other, and reads what it has read or written while that is in its cache.

Likewise the rows of a batch go through the layers of a small network. A product of 64 rows with a
matrix of 64 columns takes 3 us, and as long to bring what another processor has written.
"""

from __future__ import annotations

import math
from functools import lru_cache

from pullback.compiler.schedule import chunks
from pullback.compiler.schedule.groups import collected, reads_rows, rows_of
from pullback.compiler.schedule.questions import is_float_product
from pullback.compiler.schedule.steps import Chain, Group, Map, Product, Schedule, Shape, Step
from pullback.core.graph import Variable

__all__ = ["join_chains", "reads_units"]

LEAST_CHUNKS, MOST_CHUNKS = 8, 1024  # fewer keep some threads waiting
NEAR = 1 << 19  # bytes of a chunk of all values: those of the second cache
LEAST_ROWS, ROWS = 16, 32  # of a batch in a chunk: at least, and wanted
MOST_WORK = 1 << 22  # multiplications of rows with a matrix; larger ones gain by shared copies
MOST_NUMBERS = 1 << 16, 1 << 13  # of that matrix; transposed, since every chunk copies it then
TOGETHER = 8  # rows that a vector is multiplied with; others need code of their own
MOST_MEMBERS = 48  # a job has an operand for each value of its members


def join_chains(plan: Schedule) -> Schedule:
    """Make steps one that compute stacks of the same shape from each other, where order allows."""
    if plan.is_alone:
        return plan  # nobody waits for others
    plan.steps = collected(plan, _follows, _chained)
    plan.steps = collected(plan, _reads_too, _chained)
    return plan


def reads_units(plan: Schedule, step: Step, owners: set[Variable], outer: Shape) -> bool:
    """Whether each unit of a step reads the memory of ``owners`` only in the same unit."""
    return all(reads_rows(plan, e, owners, outer) for part in step.parts for e in part.equations)


def _stack(plan: Schedule, step: Step) -> Shape:
    """The shape of the stack of a product, or the rows that are times a vector or a matrix."""
    if not (isinstance(step, Product) and is_float_product(step.equation)) or step.prologues:
        return ()  # chunks wait for the copy that prologues fill
    x1, x2 = step.equation.inputs
    shape = step.outputs[0].type.shape
    if x1.type.ndim == 2 and x2.type.ndim == 1:
        return shape if x1 in plan.in_memory else ()
    if _has_few_rows(plan, step):
        return shape[:-1]
    return shape[:-2] if min(x1.type.ndim, x2.type.ndim) > 2 else ()


def _has_few_rows(plan: Schedule, step: Step) -> bool:
    """Whether the step is a product of rows with a matrix that is small enough for a chain."""
    if not is_float_product(step.equation):
        return False
    x1, x2 = step.equation.inputs
    if x1.type.ndim < 2 or x2.type.ndim != 2 or x1 not in plan.in_memory:
        return False
    work = x1.type.size * x2.type.shape[1]
    return work <= MOST_WORK and x2.type.size <= MOST_NUMBERS[x2 not in plan.in_memory]


def _has_units(plan: Schedule, step: Step, outer: Shape) -> bool:
    """Whether a step can be cut into those of a stack."""
    if is_float_product(step.equation):
        fits = _stack(plan, step) == outer
    elif isinstance(step, Group):
        rows = rows_of(step) if step.walk == "rows" else None
        fits = rows is not None and rows[0][: len(outer)] == outer
    else:
        is_cut = isinstance(step, Map) and (step.is_flat or len(outer) == 1)
        fits = is_cut and isinstance(step, Map) and step.shape[: len(outer)] == outer
    return fits and all(v.type.size for v in step.outputs)


@lru_cache(maxsize=256)
def _divisors(n: int, least: int) -> list[int]:
    return [d for d in range(least, min(n, MOST_CHUNKS) + 1) if n % d == 0]


def _outer(plan: Schedule, group: Step, step: Step) -> Shape:
    """The shape of the stack of which both could be, or nothing."""
    outer = group.outer if isinstance(group, Chain) else _stack(plan, group)
    return outer or _stack(plan, step)


def _n_chunks(plan: Schedule, group: Step, step: Step) -> int:
    """How many chunks of equal size: as their work asks for, but that of one stays in the cache."""

    def wanted() -> int:
        return chunks.n_chunks(sum(map(plan.work, (*group.parts, *step.parts))))

    n = math.prod(_outer(plan, group, step))
    members = [*_members(group), step]
    if any(_has_few_rows(plan, member) for member in members):
        found = [d for d in _divisors(n, 2) if n // d >= LEAST_ROWS]
        is_worth = isinstance(group, Chain) or wanted() > 1  # a chain has been worth it before
        return min(found, key=lambda d: abs(n // d - ROWS)) if found and is_worth else 0
    n_bytes = sum(v.type.nbytes for v in {*plan.touched(group), *plan.touched(step)})
    found = _divisors(n, LEAST_CHUNKS)
    n_wanted = wanted()
    if n_wanted == 1 or not found or n_bytes > NEAR * found[-1]:
        return 0
    near = [n for n in found if 2 * n_bytes <= NEAR * n] or found[-1:]
    return min(near, key=lambda d: (n // d % TOGETHER > 0, abs(d - n_wanted)))


def _members(group: Step) -> tuple[Step, ...]:
    return group.members if isinstance(group, Chain) else (group,)


def _outputs(plan: Schedule, group: Step) -> set[Variable]:
    return {plan.owner(v) for part in group.parts for v in part.outputs}


def _follows(plan: Schedule, group: Step, step: Step) -> bool:
    """Whether a step can follow a group unit by unit, and reads what the group writes."""
    return not _outputs(plan, group).isdisjoint(step.all_reads) and _fits(plan, group, step)


def _reads_too(plan: Schedule, group: Step, step: Step) -> bool:
    """Whether a step can follow a chain unit by unit, and reads a stack that the chain reads."""
    if isinstance(step, Chain) or not isinstance(group, Chain):
        return False
    shared = step.all_reads & group.all_reads
    has_stack = any(v.type.shape[: len(group.outer)] == group.outer for v in shared)
    return has_stack and _fits(plan, group, step)


def _fits(plan: Schedule, group: Step, step: Step) -> bool:
    outer = _outer(plan, group, step)
    return (
        bool(outer)
        and not isinstance(step, Chain)
        and len(_members(group)) < MOST_MEMBERS
        and _has_units(plan, step, outer)
        and (isinstance(group, Chain) or _has_units(plan, group, outer))
        and reads_units(plan, step, _outputs(plan, group), outer)
        and _n_chunks(plan, group, step) > 0
    )


def _chained(plan: Schedule, group: Step, step: Step) -> Step:
    n_chunks = _n_chunks(plan, group, step)
    return Chain((*_members(group), step), _outer(plan, group, step), n_chunks)

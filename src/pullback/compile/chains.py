"""Steps that follow each other chunk by chunk: heads of attention, items of a batch.

The matrices of a stack do not depend on each other, nor do the rows of a softmax. So one thread
computes the products and the softmax of one head, then takes the next: it waits for no other, and
reads what it has written while that is in its own cache.
"""

from __future__ import annotations

import math

from pullback.compile.chunks import MAX_CHUNKS
from pullback.compile.groups import collected, is_in_blocks, reads_rows, rows_of
from pullback.compile.plan import Schedule, Step, is_float_product
from pullback.core.graph import Variable

__all__ = ["join_chains", "reads_units"]

LEAST_UNITS = 8  # matrices of a stack: fewer keep some threads waiting
NEAR = 1 << 19  # bytes that all values of a chain have for one of them: those of the second cache

Shape = tuple[int, ...]


def join_chains(plan: Schedule) -> None:
    """Make steps one that compute stacks of the same shape from each other, where order allows."""
    plan.steps = collected(plan, _follows, _chained)
    plan.steps = collected(plan, _reads_too, _chained)


def reads_units(plan: Schedule, step: Step, owners: set[Variable], outer: Shape) -> bool:
    """Whether each unit of a step reads the memory of ``owners`` only in the same unit."""
    return all(reads_rows(plan, e, owners, outer) for part in step.parts for e in part.equations)


def _stack(step: Step) -> Shape:
    """The shape of the stack of a product."""
    return step.outputs[0].type.shape[:-2] if is_float_product(step.equation) else ()


def _has_units(step: Step, outer: Shape) -> bool:
    """Whether a step can be cut into those of a stack."""
    if is_float_product(step.equation):
        is_stack = min(v.type.ndim for v in step.equation.inputs) > 2
        fits = is_stack and _stack(step) == outer
    elif step.rows:
        rows = rows_of(step)
        fits = not is_in_blocks(step) and rows is not None and rows[0][: len(outer)] == outer
    else:
        fits = step.is_flat and (step.map_shape or ())[: len(outer)] == outer
    return fits and all(v.type.size for v in step.outputs)


def _n_chunks(outer: Shape) -> int:
    n = math.prod(outer)
    return max((k for k in range(1, MAX_CHUNKS + 1) if n % k == 0), default=1)


def _follows(plan: Schedule, group: Step, step: Step) -> bool:
    """Whether a step can follow a group unit by unit, and reads what the group writes."""
    outputs = {plan.owner(v) for part in group.parts for v in part.outputs}
    return not outputs.isdisjoint(step.reads) and _fits(plan, group, step, outputs)


def _reads_too(plan: Schedule, group: Step, step: Step) -> bool:
    """Whether a step can follow a chain unit by unit, and reads a stack that the chain reads."""
    if step.members or not group.members:
        return False
    shared = [v for v in step.reads if v in group.reads]
    stacks = {v for v in shared if v.type.shape[: len(group.outer)] == group.outer}
    outputs = {plan.owner(v) for part in group.parts for v in part.outputs}
    return bool(stacks) and _fits(plan, group, step, outputs)


def _fits(plan: Schedule, group: Step, step: Step, outputs: set[Variable]) -> bool:
    outer = group.outer or _stack(group) or _stack(step)
    if not outer or _n_chunks(outer) < LEAST_UNITS:
        return False
    if not (_has_units(step, outer) and (group.members or _has_units(group, outer))):
        return False
    if not reads_units(plan, step, outputs, outer):
        return False
    touched = {*plan.touched(group), *plan.touched(step)}
    return sum(v.type.nbytes for v in touched) <= NEAR * math.prod(outer)


def _chained(group: Step, step: Step) -> Step:
    members = [*(group.members or [group]), step]
    outer = group.outer or _stack(group) or _stack(step)
    assert outer, "a chain has a stack"
    for member in members:
        member.n_chunks = _n_chunks(outer)
    equations = [e for member in members for e in member.equations]
    reads = dict.fromkeys(v for member in members for v in member.reads)
    return Step(equations, list(reads), members=members, outer=outer)

"""Working memory of steps: what a kernel needs beside the values it reads and writes.

Each step declares it, so that memory is placed before any kernel is written. A kernel takes its
working memory in the sizes that are found here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from typing import NamedTuple

import numpy as np

from pullback.compiler.schedule.chunks import MAX_CHUNKS
from pullback.compiler.schedule.convolutions import image_tiling
from pullback.compiler.schedule.folding import BLOCK, Folding, cut_of
from pullback.compiler.schedule.groups import channels_of, rows_of
from pullback.compiler.schedule.kernel_key import kernel_key
from pullback.compiler.schedule.questions import is_float_product
from pullback.compiler.schedule.steps import (
    Chain,
    Fold,
    Group,
    Map,
    Product,
    Schedule,
    Step,
    aligned,
)
from pullback.core.graph import Equation

__all__ = ["ChainScratch", "chain_scratch", "scratch_bytes", "scratch_sizes"]

WIDE = 8  # bytes of a number in LAPACK's float64, and of a pivot
PAIR = 16  # bytes of a key and the position it comes from


def scratch_bytes(plan: Schedule, step: Step, n_chunks: int = 0) -> int:
    """Working memory of all chunks of a step; a member of a chain has the ``n_chunks`` of that.

    It is an upper bound for an operation that turns out to have no native form.
    """
    if isinstance(step, Map):
        return 0
    if isinstance(step, Chain):
        return chain_scratch(plan, step).n_bytes
    if isinstance(step, Group):
        of = GROUPS.get(step.walk)  # channels need none
        return of(plan, step, n_chunks) if of else 0
    if isinstance(step, Fold):
        return Folding(plan, step.equation).scratch_bytes(step, n_chunks)
    if isinstance(step, Product):
        return step.tiling.scratch_bytes if step.tiling else 0
    tiling = image_tiling(plan, step.equation) if step.equation.primitive.name == "conv" else None
    return tiling.scratch_bytes if tiling else sum(map(aligned, scratch_sizes(step.equation)))


# -- operations as a whole ------------------------------------------------------------------------
def scratch_sizes(equation: Equation) -> tuple[int, ...]:
    """Bytes of the pieces of working memory of an operation, in the order of their use."""
    of = SIZES.get(equation.primitive.name)
    return of(equation) if of else ()


def _lines(equation: Equation) -> tuple[int, ...]:
    """A line of pairs, and another one into which they are merged."""
    line = PAIR * equation.inputs[0].type.shape[equation.params["axis"]]
    return line, line


def _system(equation: Equation) -> tuple[int, ...]:
    """A matrix and the columns of the other side."""
    n, n_columns = equation.outputs[0].type.shape[-2:]
    return WIDE * n * n, WIDE * n * n_columns


def _matrix(equation: Equation) -> tuple[int, ...]:
    return (WIDE * equation.inputs[0].type.shape[-1] ** 2,)


def _pivots(equation: Equation) -> tuple[int, ...]:
    return (WIDE * equation.inputs[0].type.shape[-1],)


def _with_real(of: Callable[[Equation], tuple[int, ...]]) -> Callable[[Equation], tuple[int, ...]]:
    """Nothing for dtypes of which LAPACK has no routine."""

    def sizes(equation: Equation) -> tuple[int, ...]:
        is_real = equation.outputs[0].type.dtype in (np.float64, np.float32)
        return of(equation) if is_real else ()

    return sizes


SIZES: dict[str, Callable[[Equation], tuple[int, ...]]] = {
    "argsort": _lines,
    "solve": _with_real(lambda e: (*_pivots(e), *_system(e))),
    "solve_triangular": _with_real(_system),
    "cholesky": _with_real(_matrix),
    "log_abs_det": _with_real(lambda e: (*_matrix(e), *_pivots(e))),
    "det_sign": _with_real(lambda e: (*_matrix(e), *_pivots(e))),
}


# -- groups and chains ----------------------------------------------------------------------------
def _local(plan: Schedule, group: Group, n: int, n_chunks: int) -> int:
    """Bytes of ``n`` elements of each value that only the group knows, for every chunk."""
    values = [v for part in group.parts for v in part.outputs if v in plan.local]
    return sum(aligned(aligned(n * v.type.dtype.itemsize) * n_chunks) for v in values)


def _folds(plan: Schedule, group: Group) -> list[Folding]:
    return [Folding(plan, part.equation) for part in group.parts if not isinstance(part, Map)]


def _of_rows(plan: Schedule, group: Group, wanted: int) -> int:
    found = rows_of(group)
    assert found is not None, "the first part has rows"
    outer, n = found
    _, _, n_chunks = cut_of(plan, group, [math.prod(outer)], wanted=wanted)
    return _local(plan, group, n, n_chunks)


def _of_blocks(plan: Schedule, group: Group, wanted: int) -> int:
    assert isinstance(group.first, Map), "blocks are those of a map"
    _, _, n_chunks = cut_of(plan, group, [math.prod(group.first.shape)], wanted=wanted)
    states = sum(aligned(fold.state_bytes * MAX_CHUNKS) for fold in _folds(plan, group))
    return states + _local(plan, group, BLOCK, n_chunks)


def _of_planes(plan: Schedule, group: Group, wanted: int) -> int:
    found = channels_of(group)
    assert found is not None, "a part folds all but channels"
    n_images, n_channels = found[0][:2]
    _, _, n_chunks = cut_of(plan, group, [n_images], wanted=wanted)
    return sum(aligned(f.state_bytes * n_channels * n_chunks) for f in _folds(plan, group))


GROUPS: dict[str, Callable[[Schedule, Group, int], int]] = {
    "rows": _of_rows,
    "blocks": _of_blocks,
    "planes": _of_planes,
}


class ChainScratch(NamedTuple):
    """Where members of a chain have their working memory: one for each chunk, or for all of them.

    ``chunk_bytes`` is what one chunk has for the members that ``are_cut``; the others begin at
    ``starts``. ``n_bytes`` is the whole.
    """

    sizes: list[int]
    are_cut: list[bool]
    chunk_bytes: int
    starts: list[int]
    n_bytes: int


def chain_scratch(plan: Schedule, chain: Chain) -> ChainScratch:
    """The working memory of a chain, of which other chunks may be several members ahead.

    A part is free when the member's function returns: equal members have one.
    """
    sizes = [scratch_bytes(plan, member, chain.n_chunks) for member in chain.members]
    are_cut = [is_float_product(member.equation) for member in chain.members]
    of_products = [n for n, is_cut in zip(sizes, are_cut, strict=True) if is_cut]
    chunk_bytes = max((n // chain.n_chunks for n in of_products), default=0)
    end = chunk_bytes * chain.n_chunks
    known: dict[Hashable, int] = {}
    starts = []
    for member, size, is_cut in zip(chain.members, sizes, are_cut, strict=True):
        if is_cut:
            starts.append(0)
            continue
        starts.append(known.setdefault(kernel_key(plan, member, chain.n_chunks), end))
        end = max(end, starts[-1] + size)
    return ChainScratch(sizes, are_cut, chunk_bytes, starts, end)

"""Walks: how the folds and maps that ``groups.py`` has joined follow each other in one kernel.

What one part has just written or read, the next one finds in the nearest cache.
"""

from __future__ import annotations

import math
from functools import partial

from pullback.compiler.llvm.builder import I64, ZERO, loop, loops
from pullback.compiler.loops.maps import Kernel, unraveled
from pullback.compiler.loops.reductions import Reduction
from pullback.compiler.schedule.axes import joined
from pullback.compiler.schedule.chunks import MAX_CHUNKS
from pullback.compiler.schedule.folding import BLOCK
from pullback.compiler.schedule.groups import channels_of, rows_of
from pullback.compiler.schedule.steps import Group, Map, aligned

__all__ = ["emit_group"]

RUN = 1 << 12  # elements of neighbouring channels in a chunk: shorter runs are read slowly


def emit_group(kernel: Kernel) -> None:
    """Folds and maps that follow each other on a walk."""
    walks = {
        "rows": emit_row_by_row,
        "blocks": emit_block_by_block,
        "channels": emit_channel_by_channel,
        "planes": emit_plane_by_plane,
    }
    assert isinstance(kernel.step, Group)
    walks[kernel.step.walk](kernel)


def emit_row_by_row(kernel: Kernel) -> None:
    """Folds and maps of the same rows, one row after the other."""
    build, parts, found = kernel.builder, kernel.step.parts, rows_of(kernel.step)
    assert found is not None, "the first part has rows"
    outer, n = found
    count = math.prod(outer)
    kernel.split([count])
    kernel.keep_local(n)
    with loops(build, [count], kernel.part) as (row,):
        index = unraveled(build, row, outer)
        for part in parts:
            own = Kernel(kernel.plan, part, build, kernel.pointers, kernel.report)
            if not isinstance(part, Map):
                Reduction(own).fold_at(index)
            elif rows_of(part) == found:
                with loop(build, n) as i:
                    own.map_at([*index, i])
            else:
                own.map_at(index if part.shape == outer else [*index, ZERO])


def emit_channel_by_channel(kernel: Kernel) -> None:
    """Folds and maps of the same channels, one channel after the other."""
    build, found = kernel.builder, channels_of(kernel.step)
    assert found is not None, "a part folds all but channels"
    shape, k = found
    kernel.split([shape[k]], max(1, math.prod(shape[k:]) // RUN))
    with loops(build, [shape[k]], kernel.part) as (channel,):
        for part in kernel.step.parts:
            own = Kernel(kernel.plan, part, build, kernel.pointers, kernel.report)
            if not isinstance(part, Map):
                Reduction(own).fold_at([channel])
            elif part.shape == shape:
                lengths = joined(shape, own.joints() - {k - 1, k})
                with loops(build, [*lengths[:k], *lengths[k + 1 :]]) as index:
                    own.map_at([*index[:k], channel, *index[k:]])
            else:
                own.map_at([ZERO if n == 1 else channel for n in part.shape])


def emit_plane_by_plane(kernel: Kernel) -> None:
    """Folds and maps of the same channels, image after image, one plane after the other."""
    build, found = kernel.builder, channels_of(kernel.step)
    assert found is not None, "a part folds all but channels"
    (shape, _), (n_images, n_channels, *_) = found, found[0]
    kernel.split([n_images])
    parts, n_chunks = plane_parts(kernel), kernel.n_chunks
    folds = [fold for _, fold in parts if fold is not None]
    totals = {fold: fold.totals(kernel, n_channels, n_chunks) for fold in folds}
    with loop(build, n_channels) as channel:
        for one, total in totals.items():
            one.keep(one.total_start, total(kernel.chunk, channel))
    with loops(build, [n_images, n_channels], kernel.part) as (image, channel):
        for own, fold in parts:
            if fold is not None:
                fold.over_plane(totals[fold](kernel.chunk, channel), channel, image)
                continue
            with loops(build, joined(shape, own.joints() - {0, 1})[2:]) as index:
                own.map_at([image, channel, *index])

    def finish(end: Kernel) -> None:
        for _, fold in plane_parts(end):
            if fold is not None:
                total = fold.totals(end, n_channels, n_chunks)
                with loop(end.builder, n_channels) as channel:
                    fold.merge_all(n_chunks, partial(total, channel=channel), [channel])

    if n_chunks > 1:
        kernel.finish = finish
    else:
        kernel.scratch_bytes = 0  # the same memory again
        finish(kernel)


def plane_parts(kernel: Kernel) -> list[tuple[Kernel, Reduction | None]]:
    """The parts of a group that runs plane by plane."""
    own = [
        Kernel(kernel.plan, part, kernel.builder, kernel.pointers, kernel.report)
        for part in kernel.step.parts
    ]
    return [(k, None if isinstance(k.step, Map) else Reduction(k)) for k in own]


def emit_block_by_block(kernel: Kernel) -> None:
    """Maps over all elements and folds of them, one block after the other."""
    build = kernel.builder
    first_part = kernel.step.parts[0]
    assert isinstance(first_part, Map), "blocks are those of a map"
    n = math.prod(first_part.shape)
    kernel.split([n])
    parts = block_parts(kernel)
    kernel.keep_local(BLOCK)
    start, stop = kernel.part[1:] if kernel.part else (ZERO, I64(n))
    totals = [kernel.state(fold.total_start) if fold else [] for _, fold in parts]
    n_blocks = build.udiv(build.add(build.sub(stop, start), I64(BLOCK - 1)), I64(BLOCK))
    with loop(build, n_blocks) as block:
        first = build.add(start, build.mul(block, I64(BLOCK)))
        end = build.add(first, I64(BLOCK))
        end = build.select(build.icmp_signed("<", end, stop), end, stop)
        for (own, fold), total in zip(parts, totals, strict=True):
            own.first = first
            if fold is not None:
                fold.over_block(total, first, end)
                continue
            with loop(build, end, start=first) as i:
                own.map_at([i])
    for (_, fold), total in zip(parts, totals, strict=True):
        if fold is not None:
            fold.leave(total, kernel.n_chunks, kernel.chunk)
    if kernel.n_chunks > 1:
        n_chunks = kernel.n_chunks

        def finish(end: Kernel) -> None:
            for _, fold in block_parts(end):
                if fold is not None:
                    fold.merge_parts(n_chunks)

        kernel.finish = finish


def block_parts(kernel: Kernel) -> list[tuple[Kernel, Reduction | None]]:
    """The parts of a group that runs block by block; folds are after the maps that they read."""
    found: list[tuple[Kernel, Reduction | None]] = []
    for part in kernel.step.parts:
        own = Kernel(kernel.plan, part, kernel.builder, kernel.pointers, kernel.report)
        own.is_flat, own.working_memory = True, kernel.working_memory
        own.scratch_bytes = kernel.scratch_bytes
        fold = None if isinstance(part, Map) else Reduction(own)
        if fold is not None:
            kernel.scratch_bytes += aligned(fold.folding.state_bytes * MAX_CHUNKS)
        found.append((own, fold))
    return found

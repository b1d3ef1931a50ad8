"""Chunks: how work is cut for the threads of the pool.

Their number depends on the work alone, not on the threads, so that results do not either.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["MAX_CHUNKS", "chunk_length", "cut", "n_chunks"]

GRAIN = 100_000  # operations in a chunk: about 10 us, where a job of the pool costs less than one
MAX_CHUNKS = 64
MULTIPLE = 64  # elements: threads do not write to the same cache line, unless they rarely write


def n_chunks(work: int, most: int = MAX_CHUNKS) -> int:
    """Into how many chunks so many operations should be cut."""
    return max(1, min(work // GRAIN, most))


def cut(shape: Sequence[int], work: int, most: int = MAX_CHUNKS) -> tuple[int, int, int]:
    """The axis to cut a nest of loops along, the length of a chunk there, and how many there are.

    The outermost axis that is long enough, else the longest: neighbours in memory stay together.
    """
    wanted = n_chunks(work, most)
    if wanted == 1 or not shape or 0 in shape:
        return 0, 0, 1
    axis = next((i for i, n in enumerate(shape) if n >= wanted), shape.index(max(shape)))
    is_fine = axis == len(shape) - 1 and shape[axis] >= wanted * MULTIPLE
    length = chunk_length(shape[axis], wanted, MULTIPLE if is_fine else 1)
    return axis, length, -(-shape[axis] // length)


def chunk_length(n: int, wanted: int, multiple: int) -> int:
    """Steps of a chunk, a multiple of a number."""
    return -(-n // (wanted * multiple)) * multiple

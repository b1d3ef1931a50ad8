"""What kernels ask of the processor: how wide its vectors are, and how many sums they hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

__all__ = ["NARROW", "WIDE", "Processor", "processor_with"]


class Processor(NamedTuple):
    """Bytes of a vector; the vectors in a row of a tile of 1, 2, 3... rows; and steps unrolled.

    The sums of a tile, a row of B and a number of A, or two, fit into the registers.
    """

    vector_bytes: int
    tiles: tuple[int, ...]
    unrolled: int

    @property
    def height(self) -> int:
        """Rows of the highest tile."""
        return len(self.tiles)


NARROW = Processor(32, (8, 4, 3, 2, 2, 2), 4)  # AVX2 has 16 registers; NEON twice as many halves
# LLVM loads the numbers of A for all unrolled steps at once: so many rows leave no room for them.
WIDE = Processor(64, (8, 8, 6, 6, 4, 4, 3, 3, 3, 2, 2, 2), 0)  # AVX-512 has 32 registers


def processor_with(features: Mapping[str, bool]) -> Processor:
    """The processor that has these features, under LLVM's names."""
    return WIDE if features.get("avx512f") else NARROW

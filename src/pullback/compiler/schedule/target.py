"""What code depends on in a processor: its features, and what kernels ask of it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from itertools import takewhile
from typing import NamedTuple

__all__ = ["NARROW", "WIDE", "Processor", "features", "processor_with"]


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
LIST = "/proc/cpuinfo"
DISTINCTIVE = "vendor_id", "cpu family", "model", "stepping", "flags"


def processor_with(features: Mapping[str, bool]) -> Processor:
    """The processor that has these features, under LLVM's names."""
    return WIDE if features.get("avx512f") else NARROW


@lru_cache(maxsize=1)
def features() -> str:
    """Model and features of this processor, as Linux lists them; nothing, if it does not."""
    try:
        with open(LIST) as file:
            lines = list(takewhile(str.strip, file))  # of the first core
    except OSError:
        return ""
    return "".join(line for line in lines if line.startswith(DISTINCTIVE))

"""The primitives, one file a family; importing this package registers them all."""

from pullback.ops import (
    arithmetic,
    contract,
    conv,
    cumulative,
    decompositions,
    fft,
    identity,
    index,
    linalg,
    logic,
    parts,
    random,
    reduce,
    shape,
    special,
    transcendental,
)

__all__ = [
    "arithmetic",
    "contract",
    "conv",
    "cumulative",
    "decompositions",
    "fft",
    "identity",
    "index",
    "linalg",
    "logic",
    "parts",
    "random",
    "reduce",
    "shape",
    "special",
    "transcendental",
]

"""The primitives, one file a family; importing this package registers them all."""

from pullback.ops import (
    arithmetic,
    contract,
    cumulative,
    identity,
    index,
    linalg,
    logic,
    random,
    reduce,
    shape,
    special,
    transcendental,
)

__all__ = [
    "arithmetic",
    "contract",
    "cumulative",
    "identity",
    "index",
    "linalg",
    "logic",
    "random",
    "reduce",
    "shape",
    "special",
    "transcendental",
]

"""The primitives, one file a family; importing this package registers them all."""

from pullback.ops import (
    arithmetic,
    contract,
    identity,
    index,
    random,
    reduce,
    shape,
    transcendental,
)

__all__ = ["arithmetic", "contract", "identity", "index", "random", "reduce", "shape",
           "transcendental"]

"""The primitives, one file a family; importing this package registers them all."""

from pullback.ops import arithmetic, contract, index, reduce, shape, transcendental

__all__ = ["arithmetic", "contract", "index", "reduce", "shape", "transcendental"]

"""vmap: every value may carry one extra axis, and each primitive says what it does with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pullback.core.array import Array
from pullback.core.primitive import Primitive
from pullback.core.source import here
from pullback.core.strides import Strides
from pullback.core.trace import Trace
from pullback.core.types import ArrayType, Shape, type_of
from pullback.errors import TracedValueError

__all__ = ["BatchTrace", "batch_flat"]


class BatchTrace(Trace):
    """``array.value`` is the batched array, ``array.aux`` the axis of the batch in it."""

    name = "vmap"

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def process(self, primitive: Primitive, args: Any, params: dict[str, Any]) -> Any:
        values, axes = [], []
        for a in args:
            own = type(a) is Array and a.traced_by is self
            values.append(a.value if own else a)
            axes.append(a.aux if own else None)
        y, axis = primitive.batch(values, axes, params)
        if primitive.multiple:
            return tuple(self.batched(part, i) for part, i in zip(y, axis, strict=True))
        return self.batched(y, axis)

    def batched(self, y: Any, axis: int | None) -> Any:
        return y if axis is None else Array(self, y, axis)

    def type_of(self, array: Array) -> ArrayType:
        type = type_of(array.value)
        return ArrayType(type.shape[: array.aux] + type.shape[array.aux + 1 :], type.dtype)

    def shape_of(self, array: Array) -> Shape:
        return self.type_of(array).shape

    def strides_of(self, array: Array) -> Strides:
        of_all: Strides = array.value.strides
        return of_all[: array.aux] + of_all[array.aux + 1 :]

    def lay(self, array: Array, like: Any) -> None:
        """The array of all examples lies as it comes."""

    def sample(self, array: Array) -> Any:
        return np.take(super().sample(array), 0, axis=array.aux)

    def show(self, array: Array) -> str:
        return f"{self.type_of(array)} x {self.size}"

    def concrete(self, array: Array, purpose: str) -> Any:
        raise TracedValueError(
            f"{purpose} of a value is needed, but under vmap it has {self.size} values at once",
            where=str(here()),
            details=[f"value: {self.type_of(array)} for each of {self.size} examples"],
            fix="use np.where or pullback.cond instead of Python control flow on the value",
        )


def batch_flat(
    function: Callable[..., Sequence[Any]],
    args: Sequence[Any],
    axes: Sequence[int | None],
    size: int,
) -> tuple[list[Any], list[int | None]]:
    """Run a flat function on batched arguments: outputs and where their batch axis is."""
    with BatchTrace(size) as trace:
        outputs = function(
            *[
                a if axis is None else Array(trace, a, axis)
                for a, axis in zip(args, axes, strict=True)
            ]
        )
        for y in outputs:
            if type(y) is Array and y.alias is not None:
                y.alias.refresh(y)
        traced = [type(y) is Array and y.traced_by is trace for y in outputs]
        return (
            [y.value if own else y for y, own in zip(outputs, traced, strict=True)],
            [y.aux if own else None for y, own in zip(outputs, traced, strict=True)],
        )

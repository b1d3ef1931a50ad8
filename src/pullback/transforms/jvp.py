"""Forward mode: every value carries a tangent; each primitive pushes it forward.

Griewank & Walther (2008), *Evaluating Derivatives*, chapter 3.1. A tangent ``None`` is a symbolic
zero and costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pullback.core.alias import as_arguments
from pullback.core.array import Array, bind
from pullback.core.primitive import Primitive
from pullback.core.trace import Trace
from pullback.core.types import is_differentiable, type_of

__all__ = ["JVPTrace", "jvp_flat", "zeros"]


class JVPTrace(Trace):
    """``array.value`` is the primal, ``array.aux`` the tangent (one level further out)."""

    name = "jvp"

    def process(self, primitive: Primitive, args: Any, params: dict[str, Any]) -> Any:
        primals, tangents = [], []
        for a in args:
            own = type(a) is Array and a.traced_by is self
            primals.append(a.value if own else a)
            tangents.append(a.aux if own else None)
        y = bind(primitive, primals, params)
        y_dot = primitive.jvp(primals, tangents, y, params)
        if primitive.multiple:
            return tuple(self.dual(part, dot) for part, dot in zip(y, y_dot, strict=True))
        return self.dual(y, y_dot)

    def dual(self, y: Any, y_dot: Any) -> Any:
        """``y`` with its tangent; one without elements is zero, as nothing depends on it."""
        return y if y_dot is None or 0 in y_dot.shape else Array(self, y, y_dot)


def zeros(type: Any) -> Any:
    """A zero cotangent or tangent of the given type, made real; takes no memory, read-only."""
    return np.broadcast_to(np.zeros((), type.dtype), type.shape)


def jvp_flat(
    function: Callable[..., Sequence[Any]], primals: Sequence[Any], tangents: Sequence[Any]
) -> tuple[list[Any], list[Any]]:
    """Push ``tangents`` (``None``: zero) through a flat function: ``(outputs, tangents out)``.

    A tangent that comes out ``None`` is zero.
    """
    with JVPTrace() as trace:
        duals = [
            p if t is None else trace.dual(p, t) for p, t in zip(primals, tangents, strict=True)
        ]
        own = [k for k, x in enumerate(duals) if type(x) is Array and x.traced_by is trace]
        as_arguments([duals[k] for k in own], [primals[k] for k in own])
        outputs = function(*duals)
        for y in outputs:
            if type(y) is Array and y.alias is not None:
                y.alias.refresh(y)
        traced = [type(y) is Array and y.traced_by is trace for y in outputs]
        return (
            [y.value if mine else y for y, mine in zip(outputs, traced, strict=True)],
            [
                y.aux if mine and is_differentiable(type_of(y).dtype) else None
                for y, mine in zip(outputs, traced, strict=True)
            ],
        )

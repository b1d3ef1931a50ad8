"""Flops and memory traffic of equations and graphs.

Flops are what each primitive declares. Bytes moved are those of a machine without caches: every
operand is read and every output written once, and views cost nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import numpy as np

from pullback.core.graph import Equation, Graph
from pullback.core.primitive import Primitive

__all__ = ["Cost", "cost", "equation_cost", "graph_flops", "is_view"]


@dataclass(frozen=True, slots=True)
class Cost:
    """Floating-point operations and bytes moved."""

    flops: int = 0
    bytes: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.flops + other.flops, self.bytes + other.bytes)


@cache
def is_view(primitive: Primitive) -> bool:
    """Whether the primitive gives a view of its operand; its samples are asked."""
    if primitive.family != "linear":
        return False
    dtype = np.dtype(np.float64)
    samples = primitive.samples(np.random.default_rng(0), dtype)
    sample = next(s for s in samples if s.error is None)
    x = sample.args[0]
    return np.may_share_memory(x, primitive.numpy(*sample.args, **sample.params))


def equation_cost(equation: Equation) -> Cost:
    """Cost of one equation; one that holds a graph counts all that it runs."""
    types = [operand.type for operand in equation.inputs]
    out_types = [variable.type for variable in equation.outputs]
    flops = equation.primitive.flops(types, out_types, equation.params)
    moved = 0 if is_view(equation.primitive) else sum(t.nbytes for t in (*types, *out_types))
    return Cost(int(flops), moved)


def cost(equations: Iterable[Equation]) -> Cost:
    """Total cost of equations, for instance ``cost(graph.equations)``.

    >>> import numpy as np
    >>> from pullback.core.types import ArrayType
    >>> from pullback.transforms.stage import stage
    >>> types = [ArrayType((32, 10), np.float64), ArrayType((10, 5), np.float64)]
    >>> cost(stage(lambda x, w: [x @ w], types).graph.equations)
    Cost(flops=3200, bytes=4240)
    """
    return sum(map(equation_cost, equations), Cost())


def graph_flops(graph: Graph) -> int:
    """Floating-point operations of one evaluation of ``graph``."""
    return cost(graph.equations).flops

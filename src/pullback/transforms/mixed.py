"""Jacobians by a cut through the narrowest waist: products of the Jacobians of stretches.

The linearized function is a chain of stretches between cuts, where few values are alive. The
Jacobian is the product of theirs, and the order of the products decides the cost: forward mode
multiplies from the inputs, reverse mode from the outputs, and where a waist in the middle is
narrower than both ends, starting there is cheaper than either.

Algorithm: the dynamic programme of matrix chains, of cost ``O(cuts^3)``, in which the Jacobian of a
stretch also arises by pushing tangents or pulling cotangents through it. The matrix of a product
with a vector is taken as it stands. The best order over all graphs, not only chains, is NP-complete
(Naumann 2008), and is not looked for.

Sources: A. Griewank, A. Walther (2008), *Evaluating Derivatives*, section 10.1; U. Naumann (2008),
"Optimal Jacobian accumulation is NP-complete".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pullback import tree
from pullback.core.graph import Equation, Graph, Variable
from pullback.core.types import ArrayType
from pullback.ops.contract import matmul
from pullback.transforms.batch import batch_flat
from pullback.transforms.derivatives import Reverse
from pullback.transforms.evaluate import evaluate
from pullback.transforms.passes.dce import dce
from pullback.transforms.vmap import place_axis

__all__ = ["Chain", "Plan"]

MOST_CUTS = 14  # between the ends; the programme takes a millisecond
PULL = 1.6  # cost of a cotangent through a stretch, in tangents


@dataclass(frozen=True)
class Plan:
    """How the Jacobian between two cuts is computed, and its modelled cost in operations.

    ``how`` is ``"unit"`` (the identity), ``"matrix"`` (taken from the graph), ``"push"`` (tangents
    of ``parts[0]`` on to the second cut), ``"pull"`` (cotangents of ``parts[0]`` back to the first)
    or ``"product"``.
    """

    how: str
    start: int
    stop: int
    cost: float
    parts: tuple[Plan, ...] = ()

    def steps(self) -> set[str]:
        """The ways of computing that occur in the plan."""
        return {self.how}.union(*(part.steps() for part in self.parts))

    def multiplied_at(self) -> list[int]:
        """The cuts at which Jacobians are multiplied."""
        inner = [cut for part in self.parts for cut in part.multiplied_at()]
        return [self.parts[0].stop, *inner] if self.how == "product" else inner


class Chain:
    """A linear function as a chain of stretches, from its graph and the values that it captured."""

    def __init__(self, graph: Graph, captured: Sequence[Any]) -> None:
        n = len(captured)
        self.tangents = graph.inputs[n:]
        self.constants: dict[Variable, Any] = dict(zip(graph.inputs[:n], captured, strict=True))
        self.outputs = graph.outputs
        self.equations = self.active(graph)
        self.live = self.alive()
        self.widths = [sum(v.type.size for v in live) for live in self.live]
        self.cuts = self.choose()
        works = [self.work(equation) for equation in self.equations]
        self.until = np.concatenate([[0.0], np.cumsum(works)])

    def active(self, graph: Graph) -> list[Equation]:
        """The equations that depend on the tangents; the others are evaluated, once."""
        depends: set[Any] = set(self.tangents)
        active = []
        for equation in graph.equations:
            if depends.isdisjoint(equation.inputs):
                self.evaluate_constant(equation)
            else:
                active.append(equation)
                depends.update(equation.outputs)
        return active

    def evaluate_constant(self, equation: Equation) -> None:
        used = [v for v in dict.fromkeys(equation.inputs) if isinstance(v, Variable)]
        found = evaluate(
            Graph(tuple(used), (equation,), equation.outputs), [self.constants[v] for v in used]
        )
        self.constants.update(zip(equation.outputs, found, strict=True))

    def alive(self) -> list[list[Variable]]:
        """The values between equations ``k - 1`` and ``k`` that later ones or the output read."""
        needed: dict[Any, None] = dict.fromkeys(v for v in self.outputs if self.is_active(v))
        live = [list(needed)]
        for equation in reversed(self.equations):
            for output in equation.outputs:
                needed.pop(output, None)
            needed.update(dict.fromkeys(filter(self.is_active, equation.inputs)))
            live.append(list(needed))
        live.reverse()
        live[0] = list(self.tangents)
        return live

    def is_active(self, operand: Any) -> bool:
        return isinstance(operand, Variable) and operand not in self.constants

    @staticmethod
    def work(equation: Equation) -> float:
        """Operations of one evaluation; an element written counts as one."""
        types = [v.type for v in equation.outputs]
        flops = equation.primitive.flops([v.type for v in equation.inputs], types, equation.params)
        return float(flops + sum(type.size for type in types))

    def choose(self) -> list[int]:
        """The two ends, and the narrowest places between them."""
        last = len(self.equations)
        between = sorted(range(1, last), key=lambda k: (self.widths[k], k))[:MOST_CUTS]
        return [0, *sorted(between), last] if last else [0]

    @property
    def dtypes(self) -> set[Any]:
        return {v.type.dtype for k in self.cuts for v in self.live[k]}

    def plan(self) -> Plan:
        """The cheapest way to the whole Jacobian."""
        cuts, best = self.cuts, {}
        for k in cuts:
            best[k, k] = Plan("unit", k, k, 0.0)
        for length in range(1, len(cuts)):
            for a in range(len(cuts) - length):
                i, j = cuts[a], cuts[a + length]
                best[i, j] = min(self.ways(best, cuts[a : a + length + 1]), key=lambda p: p.cost)
        return best[cuts[0], cuts[-1]]

    def ways(self, best: dict[tuple[int, int], Plan], cuts: Sequence[int]) -> list[Plan]:
        """Plans for the stretch between the ends of ``cuts`` from the best ones of its parts."""
        i, j = cuts[0], cuts[-1]
        n, m = self.widths[i], self.widths[j]
        found = []
        if j == i + 1 and self.matrix(i) is not None:
            found.append(Plan("matrix", i, j, 0.0))
        for k in cuts[1:-1]:
            a, b = best[i, k], best[k, j]
            cost = a.cost + b.cost + 2 * n * self.widths[k] * m + n * m
            found.append(Plan("product", i, j, cost, (a, b)))
        for k in cuts[:-1]:
            a = best[i, k]
            cost = a.cost + n * (self.until[j] - self.until[k])
            found.append(Plan("push", i, j, cost, (a,)))
        for k in cuts[1:]:
            b = best[k, j]
            cost = b.cost + PULL * m * (self.until[k] - self.until[i])
            found.append(Plan("pull", i, j, cost, (b,)))
        return found

    def plain(self) -> tuple[float, float]:
        """Costs of pure forward and of pure reverse mode."""
        total = float(self.until[-1])
        return self.widths[0] * total, PULL * self.widths[-1] * total

    def matrix(self, k: int) -> Any:
        """The Jacobian, transposed, of equation ``k`` if that multiplies a vector by a matrix."""
        equation = self.equations[k]
        if equation.primitive is not matmul or len(self.live[k]) != 1 or len(self.live[k + 1]) != 1:
            return None
        a, b = equation.inputs
        if b is self.live[k][0] and len(b.type.shape) == 1 and len(a.type.shape) == 2:
            return np.transpose(self.value(a)) if not self.is_active(a) else None
        if a is self.live[k][0] and len(a.type.shape) == 1 and len(b.type.shape) == 2:
            return self.value(b) if not self.is_active(b) else None
        return None

    def value(self, operand: Any) -> Any:
        return self.constants[operand] if isinstance(operand, Variable) else operand.value

    def run(self, plan: Plan) -> Any:
        """The Jacobian of a stretch, transposed: a row for each element of its first cut."""
        i, j = plan.start, plan.stop
        if plan.how == "unit":
            return np.eye(self.widths[i], dtype=self.live[i][0].type.dtype)
        if plan.how == "matrix":
            return self.matrix(i)
        if plan.how == "product":
            a, b = plan.parts
            return np.matmul(self.run(a), self.run(b))
        (part,) = plan.parts
        if plan.how == "push":
            return self.through(self.stretch(part.stop, j), self.live[part.stop], self.run(part))
        pulled = self.through(
            self.transposed(i, part.start), self.live[part.start], np.transpose(self.run(part))
        )
        return np.transpose(pulled)

    def stretch(self, i: int, j: int) -> Callable[..., list[Any]]:
        """The function from the values alive at cut ``i`` to those at cut ``j``."""
        outputs = self.live[j]
        known = tuple(self.constants)
        whole = Graph((*known, *self.live[i]), tuple(self.equations[i:j]), tuple(outputs))
        graph = dce(whole)
        values = list(self.constants.values())
        return lambda *xs: evaluate(graph, [*values, *xs])

    def transposed(self, i: int, j: int) -> Callable[..., list[Any]]:
        """The function from cotangents at cut ``j`` to those at cut ``i``."""
        zeros = [np.zeros(v.type.shape, v.type.dtype) for v in self.live[i]]
        run = Reverse(self.stretch(i, j), zeros, tree.flatten(tuple(zeros))[1])
        return lambda *cts: run.sweep(cts)

    def through(
        self, function: Callable[..., list[Any]], live: Sequence[Variable], rows: Any
    ) -> Any:
        """All rows at once through a function of the values ``live``, as rows again."""
        size = len(rows)
        parts = split(rows, [v.type for v in live])
        outputs, axes = batch_flat(function, parts, [0] * len(parts), size)
        full = [place_axis(y, axis, 0, size) for y, axis in zip(outputs, axes, strict=True)]
        return np.concatenate([np.reshape(y, (size, -1)) for y in full], axis=1)

    def blocks(self, plan: Plan, types: Sequence[ArrayType]) -> list[list[Any]]:
        """For each output a list of blocks, one for each of the arguments of ``types``."""
        rows = split(self.run(plan), [v.type for v in self.live[-1]])
        by_output = dict(zip(self.live[-1], rows, strict=True))
        found = []
        for y in self.outputs:
            row = []
            columns = split(
                np.moveaxis(by_output[y], 0, -1)
                if y in by_output
                else np.zeros((*y.type.shape, self.widths[0]), y.type.dtype),
                types,
            )
            for column in columns:
                row.append(np.array(column) if type(column) is np.ndarray else column)
            found.append(row)
        return found


def split(rows: Any, types: Sequence[ArrayType]) -> list[Any]:
    """The last axis of ``rows`` as the axes of arrays of ``types``, one after the other."""
    parts, start = [], 0
    for type in types:
        part = rows[..., start : start + type.size]
        parts.append(np.reshape(part, (*np.shape(rows)[:-1], *type.shape)))
        start += type.size
    return parts

"""Values that are computed again where they are read late, instead of being held until then.

The backward pass reads what the forward pass has made, in the opposite order. Much of it follows
from what is held anyway: rectified arrays from what they rectify, normalised ones from centered
ones and a number for each row, softmaxes from queries and keys. What has left the caches costs as
much to load as what it is computed from, so the peak falls and the time hardly changes
(rematerialisation: Chen et al. 2016, arXiv:1604.06174, who drop what is cheap).

Two loops may round differently. What is compared with what follows from it, as an array with its
maximum, is held: it would not be found there.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Collection, Iterable
from dataclasses import replace
from itertools import pairwise

import numpy as np

from pullback.analysis.cost import equation_cost
from pullback.compiler.schedule.build import unfused
from pullback.compiler.schedule.questions import is_float_product, is_inline, is_move
from pullback.compiler.schedule.steps import Schedule
from pullback.core.graph import Equation, Graph, Literal, Operand, Variable
from pullback.transforms.passes.dce import dce

__all__ = ["rematerialise"]

LEAST_PEAK = 1 << 21  # bytes: what the second cache holds costs less to load than to compute
LEAST = 1 << 16  # bytes of a value that is not held
SMALLER = 16  # times: values that may be held longer instead of another one
MOST = 8  # equations from what is held to a value
LIMITS = 10, 5, 2.5, 1.25  # operations for a byte that is not held
BUDGET = 0.1  # of the operations of the program
PRODUCT = 0.2  # of the time of others take those of products
SHARE = 0.5  # of the peak, that memory has at some time while a value need not be held
GAIN = 0.05  # of the peak: less is not worth any time
FAR = 64  # values after one that are looked at for choices; it is held if there are more


def rematerialise(plan: Schedule) -> Schedule:
    """An unfused schedule of an equal graph, whose memory has a lower peak."""
    graph = plan.graph
    if sum(v.type.nbytes for e in graph.equations for v in e.outputs) < LEAST_PEAK:
        return plan
    budget = BUDGET * _operations(graph.equations)
    for limit in LIMITS:
        lives = Lives(plan)
        peak = lives.held.max(initial=0)
        if peak < LEAST_PEAK:
            break
        again = lives.dropped(SHARE * peak, limit)
        if lives.held.max(initial=0) > (1 - GAIN) * peak:
            break
        if sum(_operations(equations) for _, equations in again.values()) <= budget:
            return Rewriter(plan, again).rewritten()
    return plan


def _operations(equations: Iterable[Equation]) -> float:
    """Operations as they take time: those of products run in tiles."""
    tiled = {"matmul", "conv"}
    return sum(
        equation_cost(e).flops * (PRODUCT if e.primitive.name in tiled else 1) for e in equations
    )


Again = dict[Variable, tuple[int, list[Equation]]]  # from which step on, and how


class Lives:
    """Where values are made and read, by numbers of steps, and the bytes that each step finds."""

    def __init__(self, plan: Schedule) -> None:
        self.plan = plan
        self.fixed = plan.results.union(plan.graph.inputs)
        self.places: dict[Variable, list[int]] = {}
        for i, step in enumerate(plan.steps):
            for v in plan.owners(step):
                self.places.setdefault(v, []).append(i)
        changes = np.zeros(len(plan.steps) + 1, np.int64)
        for v, places in self.places.items():
            if v not in self.fixed:
                changes[places[0]] += v.type.nbytes
                changes[places[-1] + 1] -= v.type.nbytes
        self.held = np.cumsum(changes)[:-1]
        self.before = self.held.copy()
        self.order = {equation: i for i, equation in enumerate(plan.graph.equations)}
        self.readers: dict[Operand, list[Equation]] = {}
        for equation in self.order:
            for x in set(equation.inputs):
                self.readers.setdefault(x, []).append(equation)

    def dropped(self, least: float, limit: float) -> Again:
        """What need not be held while memory has ``least`` bytes; ``held`` is without it then."""
        again: Again = {}
        for step in reversed(self.plan.steps):
            (v, *others) = step.outputs
            if v in self.fixed or v.type.nbytes < LEAST or others:
                continue
            start, stop = self.gap(v)
            later = self.held[stop : self.places[v][-1] + 1].max()
            if (
                self.most_between(start, stop) < least
                or self.held[start + 1 : stop].max(initial=0) <= later
            ):
                continue
            found: dict[Equation, None] = {}
            is_had = self.follows(v, v, stop, found) and len(found) <= MOST
            is_cheap = is_had and _operations(found) <= limit * v.type.nbytes
            if is_cheap and (_is_exact(found) or not self.decides(v, stop, found)):
                again[v] = stop, list(found)
                self.held[start + 1 : stop] -= v.type.nbytes
                self.read_at(stop, self.plan.memory_of(x for e in found for x in e.inputs))
        return again

    def gap(self, v: Variable) -> tuple[int, int]:
        """Two steps that touch a value, with most bytes held between them before."""
        places = self.places[v]
        return max(pairwise(places), key=lambda gap: self.most_between(*gap), default=(0, 0))

    def most_between(self, start: int, stop: int) -> int:
        return int(self.before[start + 1 : stop].max(initial=0))

    def follows(
        self, u: Operand, v: Variable, place: int, found: dict[Equation, None], depth: int = 0
    ) -> bool:
        """Whether ``u``, a part of ``v``, can be had at a place; collects the equations.

        ``depth`` equations lie between both: they are found, too, if ``u`` can be had.
        """
        if isinstance(u, Literal) or (u is not v and self.is_there(u, place, v.type.nbytes)):
            return True
        maker = self.plan.makers.get(u)
        if maker is None or len(found) >= MOST or depth >= MOST:
            return False
        if not (u in self.plan.alias or is_inline(maker) or is_float_product(maker)):
            return False
        if maker not in found:
            if not all(self.follows(x, v, place, found, depth + 1) for x in maker.inputs):
                return False
            found[maker] = None
        return True

    def decides(self, v: Variable, place: int, equations: Collection[Equation]) -> bool:
        """Whether a choice depends on digits of ``v``, or of what the equations make on the way.

        Late comparisons with numbers, as in the slope of a rectified array, depend on no others.
        """
        if any(e.primitive.traits & {"compares", "jumps"} for e in equations):
            return True
        start = self.order[self.plan.steps[place].equation]
        waiting, seen = [v], {v}
        while waiting:
            if len(seen) > FAR:
                return True
            for e in self.readers.get(waiting.pop(), ()):
                is_late = self.order[e] >= start
                is_plain = is_late and any(isinstance(x, Literal) for x in e.inputs)
                traits = e.primitive.traits
                if "jumps" in traits or ("compares" in traits and not is_plain):
                    return True
                if is_inline(e) and e.outputs[0] not in seen:
                    seen.add(e.outputs[0])
                    waiting.append(e.outputs[0])
        return False

    def is_there(self, u: Variable, place: int, n_bytes: int) -> bool:
        """Whether ``u`` is held until then anyway, or is much smaller than ``n_bytes``."""
        if u not in self.plan.in_memory:
            return False
        owner = self.plan.owner(u)
        is_fixed = owner in self.fixed and owner not in self.plan.room
        last = self.places[owner][-1] if owner in self.places else -1
        return is_fixed or last >= place or owner.type.nbytes * SMALLER <= n_bytes

    def read_at(self, place: int, values: Collection[Variable]) -> None:
        for v in values:
            if v in self.fixed:
                continue
            places = self.places[v]
            self.held[places[-1] + 1 : place + 1] += v.type.nbytes
            if place not in places:
                insort(places, place)


def _is_exact(equations: Iterable[Equation]) -> bool:
    """Whether equations give the same digits in any loop."""
    return all(is_move(e) or "exact" in e.primitive.traits for e in equations)


class Rewriter:
    """A graph with values computed again from some step on."""

    def __init__(self, plan: Schedule, again: Again) -> None:
        self.plan, self.again = plan, again
        self.due: dict[int, list[Variable]] = {}
        for v, (place, _) in reversed(again.items()):  # the first made first
            self.due.setdefault(place, []).append(v)
        self.equations: list[Equation] = []
        self.now: dict[Operand, Variable] = {}  # what stands for a value
        self.moved: dict[Operand, Variable] = {}  # expressions of such values
        self.outputs: set[Variable] = set()

    def rewritten(self) -> Schedule:
        number = {step.equation: i for i, step in enumerate(self.plan.steps)}
        graph = self.plan.graph
        for equation in graph.equations:
            for v in self.due.get(number.get(equation, -1), ()):
                self.compute_again(v)
            if equation in number:
                equation = equation.reading({x: self.current(x) for x in equation.inputs})
            self.equations.append(equation)
        graph = dce(Graph(graph.inputs, tuple(self.equations), graph.outputs))
        plan = unfused(graph, self.plan.room, self.plan.is_alone, self.plan.processor)
        plan.again = self.outputs
        return plan

    def compute_again(self, v: Variable) -> None:
        own: dict[Operand, Variable] = {}
        for maker in self.again[v][1]:
            read = {x: own.get(x) or self.current(x) for x in maker.inputs}
            own[maker.outputs[0]] = self.copy(maker, read)
        self.now[v] = own[v]
        self.outputs.update(own.values())

    def copy(self, maker: Equation, read: dict[Operand, Operand]) -> Variable:
        output = Variable(maker.outputs[0].type)
        self.equations.append(replace(maker.reading(read), outputs=(output,)))
        return output

    def current(self, x: Operand) -> Operand:
        """What stands for an operand at this place, through what is no step of its own."""
        if isinstance(x, Literal) or x in self.now:
            return self.now.get(x, x)
        if x in self.moved:
            return self.moved[x]
        if x in self.plan.in_memory and x not in self.plan.alias:
            return x
        maker = self.plan.makers[x]
        read = {y: self.current(y) for y in maker.inputs}
        if all(y is now for y, now in read.items()):
            return x
        self.moved[x] = self.copy(maker, read)
        return self.moved[x]

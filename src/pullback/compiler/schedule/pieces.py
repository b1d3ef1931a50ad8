"""Arrays that are put together from pieces, inside the loops of the maps that read them.

``np.roll``, padding and the cotangents of slices put pieces side by side, or into zeros. The seams
cut the elements of a map into regions; in each of them such an array is one of its pieces, or zero,
at a fixed distance. So stencils are one loop over memory for each region.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any

from pullback.compiler.schedule.questions import full_key, is_pointwise
from pullback.compiler.schedule.steps import Map, Schedule
from pullback.core.graph import Equation, Graph, Operand, Variable

__all__ = ["Region", "has_seams", "piece_at", "regions", "unfit"]

MAX_REGIONS = 9  # each is a copy of the loop

Region = dict[int, tuple[int, int]]  # per axis that has seams: from, to
Ranges = list[tuple[int, int, bool]]  # per axis: from, to, and whether the piece has this axis


def has_seams(equation: Equation) -> bool:
    """Whether the output is put together from pieces that lie side by side, or in zeros."""
    return equation.primitive.name == "concatenate" or placed(equation) is not None


def placed(equation: Equation) -> Ranges | None:
    """Where the piece of a ``place`` lies, if that is a box."""
    if equation.primitive.name != "place" or None in equation.params["key"]:
        return None
    shape, key = equation.outputs[0].type.shape, equation.params["key"]
    found = []
    for k, n in zip(full_key(key, len(shape)), shape, strict=True):
        if isinstance(k, tuple):
            start, stop, step = slice(*k).indices(n)
            if step != 1:
                return None
            found.append((start, max(start, stop), True))
        else:
            found.append((k % n, k % n + 1, False))
    return found


def cuts(equation: Equation) -> dict[int, set[int]]:
    """Where each axis of the output is cut."""
    ranges = placed(equation)
    if ranges is None:
        axis = equation.params["axis"]
        lengths = [x.type.shape[axis] for x in equation.inputs]
        return {axis: set(itertools.accumulate(lengths))}
    return {axis: {start, stop} for axis, (start, stop, _) in enumerate(ranges)}


def _boxes(shape: Sequence[int], equations: Iterable[Equation]) -> list[tuple[int, list[int]]]:
    """The axes with seams, and the ends of their parts."""
    found: dict[int, set[int]] = {}
    for equation in equations:
        for axis, places in cuts(equation).items():
            found.setdefault(axis, set()).update(places)
    ends = {axis: sorted({0, shape[axis], *places}) for axis, places in found.items()}
    return [(axis, places) for axis, places in sorted(ends.items()) if len(places) > 2]


def regions(plan: Schedule, step: Map) -> Iterator[Region]:
    """The regions of a map: one that is empty, if nothing in it has seams."""
    boxes = _boxes(step.shape, filter(has_seams, plan.fused(step)))
    axes = [axis for axis, _ in boxes]
    for parts in itertools.product(*(itertools.pairwise(ends) for _, ends in boxes)):
        yield dict(zip(axes, parts, strict=True))


def piece_at(
    equation: Equation, region: Region, index: Sequence[Any], shift: Callable[[Any, int], Any]
) -> tuple[Operand, list[Any]] | None:
    """The operand that an element of the region comes from and its index there; None for zero.

    ``shift(i, n)`` is ``i - n``.
    """
    ranges = placed(equation)
    shape = equation.outputs[0].type.shape
    if ranges is None:
        axis = equation.params["axis"]
        first, _ = region.get(axis, (0, shape[axis]))
        start = 0
        for x in equation.inputs:
            stop = start + x.type.shape[axis]
            if start <= first < stop:
                return x, [shift(i, start) if k == axis else i for k, i in enumerate(index)]
            start = stop
        return equation.inputs[0], list(index)  # of no elements
    for axis, (start, stop, _) in enumerate(ranges):
        first, last = region.get(axis, (0, shape[axis]))
        if not start <= first < last <= stop:
            return None
    inside = [shift(i, r[0]) for i, r in zip(index, ranges, strict=True) if r[2]]
    return equation.inputs[0], inside


def unfit(
    graph: Graph, makers: dict[Variable, Equation], needed: Collection[Variable]
) -> set[Variable]:
    """Arrays with seams that must have memory: what reads them is no map, or has many regions."""
    reader = {v: e for e in graph.equations for v in e.inputs if isinstance(v, Variable)}
    inside: dict[Variable, list[Equation]] = {}
    found = set()
    for v, equation in makers.items():
        if v in needed or not has_seams(equation) or v not in reader:
            continue
        shape = v.type.shape
        out = v
        while out not in needed or out is v:
            parent = reader[out]
            out = parent.outputs[0]
            if not is_pointwise(parent) or out.type.shape != shape or out not in makers:
                found.add(v)
                break
        else:
            boxes = _boxes(shape, [*inside.get(out, []), equation])
            if math.prod(len(ends) - 1 for _, ends in boxes) > MAX_REGIONS:
                found.add(v)
            else:
                inside.setdefault(out, []).append(equation)
    return found

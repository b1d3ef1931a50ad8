"""Neighbouring axes that loops run over as one, because all operands have them side by side.

Where two axes are joined, the index along the first one is zero, and that along the second one runs
over both: the row-major position is the same. Inner loops become longer, and loops fewer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pullback.compiler.schedule.pieces import cuts, has_seams
from pullback.compiler.schedule.questions import full_key
from pullback.compiler.schedule.steps import Schedule
from pullback.core.graph import Equation, Literal, Operand

__all__ = ["Axis", "access_of", "joined", "joints"]


class Axis(NamedTuple):
    """What an axis of an operand is read along: an axis of the loops, shifted or whole."""

    loop: int
    is_whole: bool = True  # from its first to its last element
    is_straight: bool = True  # one after the other


Access = Sequence[Axis | None]  # per axis of an operand; None if it has one element, or one is read


def joined(shape: Sequence[int], joints: Iterable[int]) -> list[int]:
    """The lengths of loops over ``shape`` where the axes in ``joints`` are joined to the next."""
    lengths = list(shape)
    for axis in sorted(joints):
        lengths[axis + 1] *= lengths[axis]
        lengths[axis] = 1
    return lengths


def joints(
    plan: Schedule, operands: Iterable[tuple[Operand, Access]], shape: Sequence[int]
) -> set[int]:
    """The axes of loops over ``shape`` that can be joined to the next one, whatever is read."""
    found = {i for i in range(len(shape) - 1) if shape[i] != 1 and shape[i + 1] != 1}
    for operand, access in operands:
        _restrict(plan, operand, access, found)
    return found


def _restrict(plan: Schedule, operand: Operand, access: Access, found: set[int]) -> None:
    """Keep the joints with which an operand can be read."""
    if isinstance(operand, Literal) or not found:
        return
    if operand in plan.in_memory:
        found &= {i for i in found if _are_neighbours(access, i)}
        return
    equation = plan.makers[operand]
    if has_seams(equation):
        for axis in cuts(equation):
            at = access[axis]
            if at is not None:
                found -= {at.loop - 1, at.loop}
    for x in equation.inputs:
        _restrict(plan, x, access_of(equation, x, access), found)


def _are_neighbours(access: Access, loop: int) -> bool:
    """Whether the axes of two loops lie side by side in memory, or are not there at all."""
    loops = (loop, loop + 1)
    places = [k for k, axis in enumerate(access) if axis is not None and axis.loop in loops]
    if not places:
        return True
    if len(places) != 2 or places[1] != places[0] + 1:
        return False
    first, second = (access[k] for k in places)
    assert first is not None
    assert second is not None
    in_order = first.loop == loop and second.loop == loop + 1
    return in_order and first.is_straight and second.is_straight and second.is_whole


def access_of(equation: Equation, x: Operand, access: Access) -> Access:
    """How an operand is read, if the output is read by ``access``."""
    name, shape = equation.primitive.name, x.type.shape
    if name == "transpose":
        source: list[Axis | None] = [None] * len(shape)
        for at, axis in zip(access, equation.params["axes"], strict=True):
            source[axis] = at
        return source
    if name == "reshape":
        out = equation.outputs[0].type.shape
        kept = iter([at for at, n in zip(access, out, strict=True) if n != 1])
        return [None if n == 1 else next(kept) for n in shape]
    if name == "index":
        return _selected(shape, equation.params["key"], access)
    if name == "place":
        key = full_key(equation.params["key"], len(access))
        return [at for at, k in zip(access, key, strict=True) if isinstance(k, tuple)]
    if name == "concatenate":
        return access
    own = access[len(access) - len(shape) :]
    return [None if n == 1 else at for at, n in zip(own, shape, strict=True)]


def _selected(shape: Sequence[int], key: tuple[object, ...], access: Access) -> Access:
    given, found = iter(access), []
    lengths = iter(shape)
    for k in full_key(key, len(shape)):
        at = next(given) if not isinstance(k, int) else None
        if k is None:
            continue
        n = next(lengths)
        if isinstance(k, tuple) and at is not None:
            start, stop, step = slice(*k).indices(n)
            is_whole = at.is_whole and (start, stop, step) == (0, n, 1)
            at = Axis(at.loop, is_whole, at.is_straight and step == 1)
        found.append(at if n != 1 else None)
    return found

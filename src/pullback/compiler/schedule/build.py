"""What is computed where: which values get memory, and in which order.

A value without memory is an expression inside the loops that read it (fusion). A value gets memory
if it is an output, if several steps read it, if the step that makes or reads it needs it as a whole
(matrix products, sorts, loops), or if it would be computed again for every element of a larger one.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection
from dataclasses import replace

from pullback.compiler.schedule.pieces import has_seams, unfit
from pullback.compiler.schedule.questions import (
    is_flat,
    is_float_product,
    is_inline,
    is_move,
    is_pointwise,
    operations,
    reads_whole,
)
from pullback.compiler.schedule.steps import Call, Fold, Group, Map, Product, Room, Schedule, Step
from pullback.compiler.schedule.target import Processor
from pullback.compiler.schedule.windows import slides
from pullback.core.graph import Equation, Graph, Operand, Variable

__all__ = ["drop_stores", "take_numbers", "unfused"]

MOST_INSIDE = 128  # operations for one number in the expression of a loop


def unfused(graph: Graph, room: Room, is_alone: bool, processor: Processor) -> Schedule:
    """A step for each value with memory, with what is an expression inside of its loops."""
    plan = Schedule(graph, processor, room, is_alone)
    for equation in graph.equations:
        for v in equation.outputs:
            plan.makers[v] = equation
    plan.in_memory = _values_with_memory(graph, plan.makers)
    for equation in graph.equations:
        written = [v for v in equation.outputs if v in plan.in_memory]
        if not written:
            continue
        if equation.primitive.name == "reshape":
            (source,) = equation.inputs
            if isinstance(source, Variable) and source in plan.in_memory:
                plan.alias[equation.outputs[0]] = source
                continue
        reads = tuple(plan.memory_of(equation.inputs))
        plan.steps.append(_step(plan, equation, reads))
    return plan


def _step(plan: Schedule, equation: Equation, reads: tuple[Variable, ...]) -> Step:
    """A step of one equation."""
    if is_inline(equation):
        return Map((equation,), reads, equation.outputs[0].type.shape, is_flat(plan, equation))
    if is_float_product(equation) or slides(equation):
        return Product((equation,), reads)
    kind = Fold if equation.primitive.family == "reduction" else Call
    return kind((equation,), reads)


def _values_with_memory(graph: Graph, makers: dict[Variable, Equation]) -> set[Variable]:
    uses: Counter[Variable] = Counter()
    for equation in graph.equations:
        uses.update(v for v in equation.inputs if isinstance(v, Variable))
    needed = set(graph.inputs) | {v for v in graph.outputs if isinstance(v, Variable)}
    for equation in graph.equations:
        for v in equation.inputs:
            if (
                isinstance(v, Variable)
                and v not in needed
                and _must_hold(equation, v, makers[v], uses[v])
            ):
                needed.add(v)
            elif isinstance(v, Variable) and v not in needed and reads_whole(equation):
                (source,) = makers[v].inputs  # a matrix product reads it transposed, in place
                if isinstance(source, Variable):
                    needed.add(source)
    for equation in graph.equations:  # a move read several times must rest on memory
        source = equation.inputs[0] if is_move(equation) and uses[equation.outputs[0]] > 1 else None  # type: ignore[assignment]
        while isinstance(source, Variable) and source not in needed and is_move(makers[source]):
            source = makers[source].inputs[0]
        if isinstance(source, Variable):
            needed.add(source)
    needed |= _cuts(graph, needed)
    return needed | unfit(graph, makers, needed)


def _cuts(graph: Graph, needed: Collection[Variable]) -> set[Variable]:
    """Values that get memory for no other reason than that expressions have an end.

    So nothing that follows an expression goes deep, a kernel takes LLVM no longer than a second,
    and the kernels of an unrolled loop are equal. One load and store are little beside so much
    arithmetic.
    """
    weights: dict[Operand, float] = {}  # of the expressions of values without memory
    found: set[Variable] = set()
    for equation in graph.equations:
        if not (is_inline(equation) or has_seams(equation)):
            continue
        (out,) = equation.outputs
        if out in needed:
            continue
        weight = operations(equation) + sum(weights.get(v, 0) for v in equation.inputs)
        if weight > (MOST_INSIDE if is_pointwise(equation) else 2 * MOST_INSIDE):
            found.add(out)  # rather than a move, which may make a large array of a small one
        else:
            weights[out] = weight
    return found


def _must_hold(equation: Equation, v: Variable, maker: Equation, n_uses: int) -> bool:
    """Whether ``equation`` needs its operand ``v`` in memory."""
    if reads_whole(equation) and not _is_transposed_operand(equation, maker):
        return True
    if has_seams(maker):
        return n_uses > 1 or not is_pointwise(equation)
    if not is_inline(maker):
        return not _is_transposed_operand(equation, maker)
    return not is_move(maker) and (n_uses > 1 or _repeats(equation, v))


def _is_transposed_operand(equation: Equation, maker: Equation) -> bool:
    """Products read in place what has rows or columns in memory; convolutions, exchanged axes."""
    if maker.primitive.name != "transpose":
        return False
    axes = maker.params["axes"]
    n = len(axes)
    if equation.primitive.name == "conv":
        _, w = equation.inputs
        is_read = w not in maker.outputs or not slides(equation)
        return is_read and equation.params["groups"] == 1 and axes == (1, 0, *range(2, n))
    return is_float_product(equation) and n >= 2 and n - 1 in axes[-2:]


def _repeats(equation: Equation, v: Variable) -> bool:
    """Whether reading ``v`` inside the loops of ``equation`` would compute it more than once."""
    name = equation.primitive.name
    if name == "broadcast_to" or equation.primitive.family == "elementwise":
        return v.type.size < equation.outputs[0].type.size
    return False


def take_numbers(plan: Schedule) -> Schedule:
    """Let maps compute the numbers that nobody else reads: LLVM does so once, before the loop."""
    uses = Counter(v for step in plan.steps for part in step.parts for v in part.reads)
    kept = {*plan.results, *plan.alias.values()}
    now = {id(step): step for step in plan.steps if isinstance(step, Map)}
    places = {v: key for key, step in now.items() for v in step.outputs}
    for key in reversed(now):
        if math.prod(now[key].shape) == 1:
            continue
        for v in [v for v in now[key].reads if v in places and v.type.size == 1]:
            reader, maker, equation = now[key], now[places[v]], plan.makers[v]
            is_read = any(v in plan.memory_of(e.inputs) for e in maker.equations)
            if uses[v] > 1 or v in kept or is_read:
                continue
            if reader.is_flat and not is_flat(plan, equation):
                continue
            others = tuple([e for e in maker.equations if e is not equation])
            now[places[v]] = replace(maker, equations=others)
            plan.in_memory.remove(v)
            read = plan.memory_of(x for e in reader.equations for x in e.inputs)
            now[key] = replace(reader, reads=tuple([x for x in read if x not in reader.outputs]))
            uses.update(plan.memory_of(equation.inputs))
    steps = [now.get(id(step), step) for step in plan.steps]
    plan.steps = [step for step in steps if step.equations]
    return plan


def drop_stores(plan: Schedule) -> Schedule:
    """What only later equations of its own step read is an expression inside them."""
    kept = {*plan.graph.outputs, *plan.alias.values()}
    kept.update(v for step in plan.steps for part in step.parts for v in part.reads)

    def without(step: Step) -> Step:
        if isinstance(step, Group):
            return replace(step, members=tuple(map(without, step.members)))
        if isinstance(step, Product) and step.tail is not None:
            return replace(step, tail=_stored(plan, step.tail, kept))
        return _stored(plan, step, kept) if isinstance(step, Map) else step

    plan.steps = [without(step) for step in plan.steps]
    return plan


def _stored(plan: Schedule, step: Map, kept: Collection[Operand]) -> Map:
    """The map without the stores of what is not kept."""
    if len(step.equations) == 1:
        return step
    dropped = {e.outputs[0] for e in step.equations if e.outputs[0] not in kept}
    plan.in_memory -= dropped
    own = tuple([e for e in step.equations if e.outputs[0] not in dropped])
    return replace(step, equations=own)

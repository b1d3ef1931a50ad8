"""What is computed where: which values get memory, and in which order.

A value without memory is an expression inside the loops that read it (fusion). A value gets memory
if it is an output, if several steps read it, if the step that makes or reads it needs it as a whole
(matrix products, sorts, loops), or if it would be computed again for every element of a larger one.
"""

from __future__ import annotations

import math
from collections import Counter

from pullback.compiler.schedule.chains import join_chains
from pullback.compiler.schedule.epilogues import attach_tails
from pullback.compiler.schedule.groups import (
    find_local,
    join_blocks,
    join_channels,
    join_planes,
    join_rows,
    merge_maps,
)
from pullback.compiler.schedule.memory import overwrite, reuse_in_chains
from pullback.compiler.schedule.pieces import has_seams, unfit
from pullback.compiler.schedule.plan import (
    Room,
    Schedule,
    Step,
    is_flat,
    is_float_product,
    is_inline,
    is_move,
    is_pointwise,
    reads_whole,
)
from pullback.compiler.schedule.prologues import attach_prologues
from pullback.compiler.schedule.windows import slides
from pullback.core.graph import Equation, Graph, Variable

__all__ = ["schedule", "unfused"]


def schedule(plan: Schedule, is_alone: bool = False) -> Schedule:
    """Fuse the steps of a plan, and let values share memory; see :class:`Schedule`."""
    plan.is_alone = is_alone
    merge_maps(plan)
    attach_tails(plan)
    attach_prologues(plan)
    _take_numbers(plan)
    join_rows(plan)
    join_blocks(plan)
    join_channels(plan)
    join_planes(plan)
    _drop_stores(plan)
    find_local(plan)
    join_chains(plan)
    overwrite(plan)
    reuse_in_chains(plan)
    return plan


def unfused(graph: Graph, room: Room) -> Schedule:
    """A step for each value with memory, with what is an expression inside of its loops."""
    plan = Schedule(graph, room)
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
        shape = written[0].type.shape if is_inline(equation) else None
        is_loop = shape is not None and is_flat(plan, equation)
        plan.steps.append(Step([equation], plan.memory_of(equation.inputs), shape, is_loop))
    return plan


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
    return needed | unfit(graph, makers, needed)


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


def _take_numbers(plan: Schedule) -> None:
    """Let maps compute the numbers that nobody else reads: LLVM does so once, before the loop."""
    uses = Counter(v for step in plan.steps for part in step.parts for v in part.reads)
    kept = {*plan.results, *plan.alias.values()}
    makers = {v: step for step in plan.steps if step.map_shape is not None for v in step.outputs}
    for reader in reversed(plan.steps):
        if reader.map_shape is None or math.prod(reader.map_shape) == 1:
            continue
        for v in [v for v in reader.reads if v in makers and v.type.size == 1]:
            maker, equation = makers[v], plan.makers[v]
            is_read = any(v in plan.memory_of(e.inputs) for e in maker.equations)
            if uses[v] > 1 or v in kept or is_read:
                continue
            if reader.is_flat and not is_flat(plan, equation):
                continue
            maker.equations.remove(equation)
            plan.in_memory.remove(v)
            read = plan.memory_of(x for e in reader.equations for x in e.inputs)
            reader.reads = [x for x in read if x not in reader.outputs]
            uses.update(plan.memory_of(equation.inputs))
    plan.steps = [step for step in plan.steps if step.equations]


def _drop_stores(plan: Schedule) -> None:
    """What only later equations of its own step read is an expression inside them."""
    kept = {*plan.graph.outputs, *plan.alias.values()}
    kept.update(v for step in plan.steps for part in step.parts for v in part.reads)
    for step in plan.steps:
        for part in step.parts:
            if len(part.equations) > 1:
                dropped = {e.outputs[0] for e in part.equations if e.outputs[0] not in kept}
                part.equations = [e for e in part.equations if e.outputs[0] not in dropped]
                plan.in_memory -= dropped

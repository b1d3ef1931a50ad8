"""Maps that follow a product piece by piece, or a convolution image by image: bias, activation.

What a product has computed is in the cache of the thread that did it. A map over its elements runs
there and then, and the product needs no memory of its own if the map can write over it.

Not so after the last product of a training step: when it runs, all other outputs are written, and
those of the map can hold its operands only if the map comes later. Nor after any other product
with small outputs.
"""

from __future__ import annotations

import math
from dataclasses import replace

from pullback.compiler.schedule.pieces import has_seams
from pullback.compiler.schedule.questions import is_float_product, reads_straight
from pullback.compiler.schedule.steps import Map, Product, Schedule, Step
from pullback.core.graph import Variable

__all__ = ["attach_tails"]

SMALL = 4 << 10  # bytes of an array that stays in the nearest cache until it is read again
MOST_EARLY = 64 << 10  # bytes that may be computed earlier than they would be


def attach_tails(plan: Schedule) -> Schedule:
    """Make the first reader of each product its tail, where it is a map and order allows."""
    makers = {v: step for step in plan.steps for v in step.outputs}
    reader: dict[Variable, Step] = {}
    for step in plan.steps:
        for v in step.reads:
            reader.setdefault(v, step)
    number = {step: i for i, step in enumerate(plan.steps)}
    last = next((s for s in reversed(plan.steps) if is_float_product(s.equation)), None)
    done: set[Step] = set()
    steps: list[Step] = []
    for step in plan.steps:
        if step in done:
            continue
        tail = reader.get(step.outputs[0]) if isinstance(step, Product) else None
        if tail is not None:
            waits = _holds_operands if step is last else _is_small_result
            tail = None if waits(plan, step, tail) else tail
        if tail is not None and plan.is_again(tail) > plan.is_again(step):
            tail = None
        product = step
        if isinstance(step, Product) and isinstance(tail, Map) and tail not in done:
            early = _early(step, tail, makers, done) if _fits(plan, step, tail) else None
            if early is not None:
                steps += sorted(early, key=number.__getitem__)
                done |= {*early, tail}
                product = replace(step, tail=tail)
        steps.append(product)
        done.add(step)
    plan.steps = steps
    return plan


def _is_small_result(plan: Schedule, product: Step, tail: Step) -> bool:
    """Whether the tail writes small results: they can hold other values until it runs alone."""
    return product.outputs[0].type.nbytes <= SMALL and plan.results.issuperset(tail.outputs)


def _holds_operands(plan: Schedule, product: Step, tail: Step) -> bool:
    """Whether what the tail writes has room for the product and its operands until then."""
    fixed = plan.results.union(map(plan.owner, plan.graph.inputs))
    operands = [v for v in product.reads if v not in fixed]
    held = sum(v.type.nbytes for v in (*operands, *product.outputs))
    is_new = plan.results.issuperset(tail.outputs) and plan.room.keys().isdisjoint(tail.reads)
    return bool(operands) and is_new and held <= sum(v.type.nbytes for v in tail.outputs)


def _fits(plan: Schedule, product: Step, tail: Map) -> bool:
    """Whether the tail is a map over the elements of the product, row by row."""
    (c,) = product.outputs
    shape = tail.shape
    if not c.type.size or c.type.size != math.prod(shape):
        return False
    if any(map(has_seams, plan.fused(tail))):
        return False
    if not all(reads_straight(plan, e, {c}, shape) for e in tail.equations):
        return False
    if product.equation.primitive.name == "conv":
        return tail.is_flat or shape == c.type.shape
    right = product.equation.inputs[1].type.shape
    has_rows = len(right) > 1 and right[-1] > 1 and bool(shape) and shape[-1] == right[-1]
    return tail.is_flat or has_rows


def _early(
    product: Step, tail: Step, makers: dict[Variable, Step], done: set[Step]
) -> set[Step] | None:
    """What must be computed before the tail, or ``None`` if that is much or needs the product."""
    found: set[Step] = set()
    n_bytes, waiting = 0, [v for v in tail.reads if v not in product.outputs]
    while waiting:
        maker = makers.get(waiting.pop())
        if maker is None or maker in done or maker in found:
            continue
        n_bytes += sum(v.type.nbytes for v in maker.outputs)
        if maker is product or n_bytes > MOST_EARLY:
            return None
        found.add(maker)
        waiting += maker.reads
    return found

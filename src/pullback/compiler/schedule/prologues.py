"""Maps before a product or a convolution, computed where it copies its operand for the tiles.

A product reads an operand that is large, or whose rows lie far apart, from a copy; a convolution an
image that is padded. If the operand is a map that nobody else reads, the copy takes its elements as
they are computed, and the operand itself has no memory.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from pullback.compiler.schedule.pieces import has_seams
from pullback.compiler.schedule.questions import is_float_product
from pullback.compiler.schedule.steps import Map, Product, Schedule, Step
from pullback.compiler.schedule.target import NARROW, WIDE
from pullback.compiler.schedule.tiling import Layout, blocks_of, needs_copy, needs_copy_of_b
from pullback.compiler.schedule.windows import copies_images
from pullback.core.graph import Variable

__all__ = ["attach_prologues"]

HIGHEST = max(NARROW.height, WIDE.height)  # of tiles


def attach_prologues(plan: Schedule) -> Schedule:
    """Give products and convolutions the maps that they copy anyway, and nobody else reads."""
    makers = {v: step for step in plan.steps for v in step.outputs}
    uses = Counter(v for step in plan.steps for part in step.parts for v in part.reads)
    done: set[Step] = set()
    steps: list[Step] = []
    for product in plan.steps:
        if not isinstance(product, Product):
            steps.append(product)
            continue
        prologues: dict[int, Map] = {}
        for i, v in enumerate(product.equation.inputs):
            other = product.equation.inputs[1 - i]
            if not isinstance(v, Variable) or uses[v] > 1 or v in plan.memory_of([other]):
                continue
            step = makers.get(v)
            if isinstance(step, Map) and _is_copied(product, i) and _fits(plan, v, step):
                prologues[i] = step
                plan.in_memory.remove(v)
                done.add(step)
        reads = tuple(plan.memory_of(product.equation.inputs))
        steps.append(replace(product, reads=reads, prologues=prologues))
    plan.steps = [step for step in steps if step not in done]
    return plan


def _is_copied(product: Step, i: int) -> bool:
    """Whether a convolution copies its images, or a product its operand, row by row.

    Tiles may be of any height. Products are seen as if they had no deep blocks, which large ones
    have: a copy costs less than memory for the map.
    """
    x1, x2 = product.equation.inputs
    if not is_float_product(product.equation):
        return i == 0 and copies_images(product.equation)
    if len(x1.type.shape) != 2 or len(x2.type.shape) != 2:
        return False
    (m, k), n = x1.type.shape, x2.type.shape[1]
    sizes, layout, item = (m, n, k), Layout(k, n, n, False, False), x1.type.dtype.itemsize
    if min(sizes) < 2:
        return False
    known = sizes, layout, item, blocks_of((0, 0, k), item)
    return needs_copy_of_b(*known, HIGHEST) if i else needs_copy(*known)


def _fits(plan: Schedule, v: Variable, step: Map) -> bool:
    """Whether a step is nothing but a map over the elements of ``v``."""
    return (
        step.outputs == [v]
        and step.shape == v.type.shape
        and v not in plan.results
        and not any(map(has_seams, plan.fused(step)))
    )

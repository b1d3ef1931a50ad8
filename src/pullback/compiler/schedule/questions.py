"""What decides a schedule: which operations can be inside the loops of others, how they read."""

from __future__ import annotations

from typing import Any

import numpy as np

from pullback.analysis.cost import equation_cost
from pullback.compiler.schedule.scalar_types import has_scalar_form, is_native
from pullback.compiler.schedule.steps import Schedule, Step
from pullback.core.graph import Equation, Literal, Operand, Variable
from pullback.core.types import ArrayType

__all__ = [
    "full_key",
    "is_computing",
    "is_extreme_of_none",
    "is_flat",
    "is_float_product",
    "is_foreign",
    "is_inline",
    "is_move",
    "is_plain",
    "is_pointwise",
    "is_squeeze",
    "operations",
    "reads_straight",
    "reads_whole",
]

ELEMENTARY = 8  # operations for one number
MOVES = ("transpose", "broadcast_to", "index", "reshape")


def is_squeeze(old: ArrayType, new: ArrayType) -> bool:
    """Whether a reshape only adds or removes axes of length 1."""
    return _lengths(old.shape) == _lengths(new.shape)


def full_key(key: tuple[Any, ...], n: int) -> tuple[Any, ...]:
    """The entries of a key for ``n`` axes, without an ellipsis."""
    used = sum(k is not None and k is not Ellipsis for k in key)
    at = key.index(Ellipsis) if Ellipsis in key else len(key)
    return (*key[:at], *[(None, None, None)] * (n - used), *key[at + 1 :])


def is_foreign(equation: Equation) -> bool:
    """Whether only NumPy evaluates the equation: for its dtypes, or because it is an error."""
    values = (*equation.inputs, *equation.outputs)
    return not all(is_native(v.type.dtype) for v in values) or is_extreme_of_none(equation)


def is_extreme_of_none(equation: Equation) -> bool:
    """Whether the equation looks for an extreme among no elements."""
    if equation.primitive.name not in ("max", "min", "argmax", "argmin"):
        return False
    return any(equation.inputs[0].type.shape[i] == 0 for i in equation.params["axis"])


def is_move(equation: Equation) -> bool:
    """Whether the equation only renames positions: free inside a loop."""
    name = equation.primitive.name
    return (
        name in MOVES
        and (name != "reshape" or is_squeeze(equation.inputs[0].type, equation.outputs[0].type))
        and not is_foreign(equation)
    )


def is_inline(equation: Equation) -> bool:
    """Whether the equation can be an expression inside the loops of its readers."""
    if equation.primitive.family == "elementwise":
        return has_scalar_form(equation)
    return is_move(equation) or (equation.primitive.name == "astype" and not is_foreign(equation))


def is_pointwise(equation: Equation) -> bool:
    """Whether each element of the output is computed from those of the operands at its place."""
    return is_inline(equation) and not is_move(equation)


def reads_whole(equation: Equation) -> bool:
    """Whether the equation is more than one pass over the elements of its operands."""
    if is_inline(equation):
        return False
    is_pass = equation.primitive.family in ("reduction", "cumulative") or (
        equation.primitive.name in ("place", "update", "concatenate")
    )
    return not is_pass or is_foreign(equation)


def is_computing(plan: Schedule, step: Step) -> bool:
    """Whether a step computes elementary functions, which takes longer than to move its numbers."""
    equations = (e for part in step.parts for e in (*part.equations, *plan.fused(part)))
    return any(
        e.primitive.family == "elementwise"
        and e.outputs[0].type.size > 1  # numbers are computed before the loop
        and operations(e) >= ELEMENTARY
        for e in equations
    )


def operations(equation: Equation) -> float:
    """Operations for one element of what an equation makes; 1 where it only moves something."""
    return max(1.0, equation_cost(equation).flops / max(equation.outputs[0].type.size, 1))


def is_float_product(equation: Equation) -> bool:
    """Whether the equation is a matrix product that is computed in tiles."""
    dtypes = {v.type.dtype for v in (*equation.inputs, *equation.outputs)}
    return (
        equation.primitive.name == "matmul"
        and len(dtypes) == 1
        and dtypes <= {np.dtype(np.float64), np.dtype(np.float32)}
    )


def is_flat(plan: Schedule, equation: Equation) -> bool:
    """Whether one loop over all elements will do: all operands have the shape or one element."""
    shape = equation.outputs[0].type.shape

    def fits(operand: Variable | Literal) -> bool:
        if isinstance(operand, Literal) or (operand.type.size == 1 and operand in plan.in_memory):
            return True
        return operand.type.shape == shape and is_plain(plan, operand)

    return is_pointwise(equation) and all(map(fits, equation.inputs))


def is_plain(plan: Schedule, operand: Variable | Literal) -> bool:
    """Whether element number ``i`` of the operand can be had without the index behind ``i``."""
    if isinstance(operand, Literal) or operand in plan.in_memory:
        return True
    return is_flat(plan, plan.makers[operand])


def reads_straight(
    plan: Schedule,
    equation: Equation,
    owners: set[Variable],
    shape: tuple[int, ...],
    has_places: bool = True,
) -> bool:
    """Whether a map reads the memory of ``owners`` only at the element that it writes.

    Unless it ``has_places``, only the number of the element counts, not where that is in ``shape``.
    """

    def lies_alike(operand: Variable) -> bool:
        known = operand.type.shape
        return known == shape or not (has_places or _lengths(known) != _lengths(shape))

    seen: set[tuple[Operand, bool]] = set()

    def check(operand: Operand, is_straight: bool) -> bool:
        if isinstance(operand, Literal) or (operand, is_straight) in seen:
            return True
        seen.add((operand, is_straight))  # what is found wrong ends the search
        is_straight = is_straight and lies_alike(operand)
        if operand in plan.in_memory:
            return plan.owner(operand) not in owners or is_straight
        maker = plan.makers[operand]
        is_straight &= is_pointwise(maker) or maker.primitive.name == "reshape"
        return all(check(v, is_straight) for v in maker.inputs)

    return all(check(v, is_pointwise(equation)) for v in equation.inputs)


def _lengths(shape: tuple[int, ...]) -> list[int]:
    return [n for n in shape if n != 1]

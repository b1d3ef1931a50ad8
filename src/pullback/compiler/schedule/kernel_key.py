"""What makes two steps equal: their kernels are compiled once."""

from __future__ import annotations

from collections.abc import Hashable

from pullback.compiler.schedule.steps import Schedule, Step
from pullback.core.graph import Equation, Literal, Variable
from pullback.transforms.passes.cse import exact

__all__ = ["kernel_key", "structure"]


def kernel_key(plan: Schedule, step: Step, n_chunks: int = 0) -> Hashable:
    """A key that is equal for two maps, folds, groups or calls if their kernels are.

    A member of a chain has the ``n_chunks`` of that.
    """
    first, *others = step.parts
    key: Hashable = plan.is_alone, n_chunks, structure(plan, first)
    known = list(dict.fromkeys(v for part in step.parts for v in plan.owners(part)))
    for part in others:
        shared = tuple(map(known.index, plan.owners(part)))
        key = key, structure(plan, part), shared
    return key


def structure(plan: Schedule, step: Step) -> Hashable:
    """A key that is equal for two steps if their kernels are: operations, types, and what is read.

    Values are numbered in the order in which they are met.
    """
    numbers: dict[Variable, int] = {}

    def number(variable: Variable) -> int:
        return numbers.setdefault(variable, len(numbers))

    def operand(v: Variable | Literal) -> Hashable:
        if isinstance(v, Literal):
            return v.type, exact(v.value)
        if v in plan.in_memory:
            return v.type, number(plan.owner(v)), v in plan.local
        if v in numbers:
            return numbers[v]
        inside = expression(plan.makers[v])
        return number(v), v.type, inside

    def expression(equation: Equation) -> Hashable:
        params = sorted((name, exact(value)) for name, value in equation.params.items())
        return equation.primitive, tuple(params), tuple(map(operand, equation.inputs))

    equations = tuple(
        (expression(e), tuple((v.type, number(plan.owner(v)), v in plan.local) for v in e.outputs))
        for e in step.equations
    )
    return equations, tuple(map(number, plan.memory(step)))

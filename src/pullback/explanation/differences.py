"""Gradients of a recording against central differences of the program itself.

Algorithm: each element of a value is moved both ways, and what depends on it is computed again by
NumPy; the derivatives' rules take no part. Cost: two runs of what follows, for each element.
Known limits: float64 only; values of at most ``MOST`` elements.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from pullback.core.graph import Literal, Variable
from pullback.explanation.record import Operand, Recording

__all__ = ["differences"]

MOST = 64
STEP = 6e-6  # the cube root of the precision, where both errors are about equal
WORK = 200_000  # operations computed again, at most, for one value


def differences(run: Recording, variable: Variable) -> Any:
    """The gradient of the output's sum at a value, or ``None`` if that is too large."""
    value = np.asarray(run.values[variable])
    if value.size > MOST or value.dtype != np.float64 or value.size * len(run.forward) > WORK:
        return None
    with np.errstate(all="ignore"):  # the program gave its own warnings when it was recorded
        return np.reshape([_slope(run, variable, i) for i in range(value.size)], value.shape)


def _slope(run: Recording, variable: Variable, i: int) -> float:
    """The central difference along one element of a value."""
    value = np.asarray(run.values[variable])
    step = STEP * max(1.0, abs(value.flat[i]))
    ends = []
    for sign in (step, -step):
        moved = value.copy()
        moved.flat[i] += sign
        ends.append(_output(run, {variable: moved}))
    return float((ends[0] - ends[1]) / (2 * step))


def _output(run: Recording, moved: dict[Operand, Any]) -> float:
    """The sum of the output with some values replaced, and with all that follows from them."""
    values: Mapping[Any, Any] = run.values
    for equation in run.forward:
        if not any(v in moved for v in equation.inputs if isinstance(v, Variable)):
            continue
        operands = [
            v.value if isinstance(v, Literal) else moved.get(v, values.get(v))
            for v in equation.inputs
        ]
        result = equation.primitive.numpy(*operands, **equation.params)
        parts = result if equation.primitive.multiple else (result,)
        for v, part in zip(equation.outputs, parts, strict=True):
            if v not in moved:
                moved[v] = part
    return float(np.sum(moved.get(run.output, values[run.output])))

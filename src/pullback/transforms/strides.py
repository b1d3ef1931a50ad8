"""Strides of values that are not known yet, worked out when somebody asks.

Whether ``ravel`` or ``reshape`` is a view or a copy depends on strides. While staging there are
only types; the strides of a result are those that NumPy gives the same operation on stand-ins.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pullback.core.graph import Equation, GraphBuilder, Literal, Variable
from pullback.core.strides import Strides, contiguous, stand_in

__all__ = ["Derived"]

VIEWS = {"transpose", "index", "broadcast_to", "reshape"}  # NumPy moves no element for these
KEEPERS = {"update", "scatter"}  # they write into a copy of their first operand


class Derived:
    """Strides of the variables of a graph that is being built."""

    def __init__(self, builder: GraphBuilder) -> None:
        self.builder = builder
        self.known: dict[Variable, Strides] = {}
        self.made: dict[Variable, Equation] = {}
        self.n_read = 0
        self.outside: dict[Variable, Any] = {}  # values that were captured
        self.same: dict[Variable, Variable] = {}  # values that lie in the place of another
        self.inputs: dict[Variable, Strides] = {}
        self.asked: set[Variable] = set()  # inputs whose strides were looked up

    def __call__(self, variable: Variable) -> Strides:
        for equation in self.builder.equations[self.n_read :]:
            self.made.update(dict.fromkeys(equation.outputs, equation))
        self.n_read = len(self.builder.equations)
        waiting = [variable]
        while waiting:
            top = waiting[-1]
            if top in self.known:
                waiting.pop()
                continue
            model = self.same.get(top)
            if model is not None:
                if model in self.known:
                    self.known[top] = self.known[model]
                waiting.append(model)
                continue
            if top not in self.made:
                self.known[top] = self.given(top)
                continue
            equation = self.made[top]
            needed = [v for v in equation.inputs if isinstance(v, Variable) and v not in self.known]
            if not needed:
                self.derive(equation)
            waiting += needed
        return self.known[variable]

    def given(self, variable: Variable) -> Strides:
        """Those of a captured value; an input that nothing is known of is contiguous."""
        value = self.outside.get(variable)
        if value is None:
            self.asked.add(variable)
            return self.inputs.get(variable) or contiguous(variable.type)
        strides: Strides = value.strides
        return strides

    def derive(self, equation: Equation) -> None:
        """The strides of the outputs, from those of the operands."""
        operands = [
            np.asarray(v.value) if isinstance(v, Literal) else stand_in(v.type, self.known[v])
            for v in equation.inputs
        ]
        outputs = equation.outputs
        for output in outputs:
            self.known.setdefault(output, contiguous(output.type))
        result = laid_out(equation, operands)
        if result is not None and len(outputs) == 1 and result.shape == outputs[0].type.shape:
            self.known[outputs[0]] = result.strides


def laid_out(equation: Equation, operands: list[Any]) -> Any:
    """An array with the layout that NumPy gives the output; ``None`` for row-major order."""
    primitive, (output, *_) = equation.primitive, equation.outputs
    if primitive.name in VIEWS:
        return primitive.numpy(*operands, **equation.params)
    if primitive.name in KEEPERS:
        return np.empty_like(operands[0])
    if output.type.ndim < 2 or all(a.flags.c_contiguous for a in operands):
        return None
    if primitive.family == "elementwise" or primitive.name == "astype":
        return elementwise(operands, output.type.dtype)
    try:
        with np.errstate(all="ignore"):
            return np.asarray(primitive.numpy(*operands, **equation.params))
    except (ValueError, np.linalg.LinAlgError):  # zeros are no arguments for it
        return None


def elementwise(operands: list[Any], dtype: Any) -> Any:
    """What NumPy allocates for the result of a ufunc: in the order of its operands."""
    flags: Any = [["readonly"]] * len(operands) + [["writeonly", "allocate"]]
    dtypes = [*(a.dtype for a in operands), dtype]
    return np.nditer([*operands, None], ["zerosize_ok"], flags, dtypes).operands[-1]

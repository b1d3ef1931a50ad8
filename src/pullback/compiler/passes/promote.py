"""Products of operands of several dtypes: they are converted to that of the result before.

NumPy does the same, but only native code for one dtype is fast. Those of float16 stay: it has no
native code at all.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pullback.core.graph import Equation, Graph, Operand, Variable
from pullback.core.primitive import registry
from pullback.core.types import ArrayType
from pullback.transforms.passes.pipeline import with_bodies

__all__ = ["promote"]

FLOATS = {np.dtype(np.float32), np.dtype(np.float64)}


def promote(graph: Graph) -> Graph:
    """The same graph, whose matrix products and convolutions have operands of one dtype."""
    equations: list[Equation] = []

    def converted(operand: Operand, reader: Equation) -> Operand:
        dtype = reader.outputs[0].type.dtype
        if operand.type.dtype == dtype or dtype not in FLOATS:
            return operand
        out = Variable(ArrayType(operand.type.shape, dtype))
        params = {"dtype": dtype}
        equations.append(Equation(registry["astype"], (operand,), (out,), params, reader.source))
        return out

    for equation in graph.equations:
        equation = with_bodies(equation, promote)
        if equation.primitive.family == "contraction":
            inputs = tuple(converted(v, equation) for v in equation.inputs)
            equation = replace(equation, inputs=inputs)
        equations.append(equation)
    return Graph(graph.inputs, tuple(equations), graph.outputs)

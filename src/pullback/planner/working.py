"""What NumPy allocates for an equation: nothing for views, and working memory beside results.

The figures are multiples of the bytes of the largest operand or result, measured with
:mod:`tracemalloc` on large arrays; the tests measure them again for every operation.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from pullback.analysis.cost import is_view
from pullback.core.graph import Equation, Graph, Literal, Variable
from pullback.core.strides import Strides, contiguous, stand_in
from pullback.core.types import ArrayType
from pullback.ops.conv import CHUNK
from pullback.transforms.strides import elementwise

__all__ = ["Owners", "owners", "working_bytes"]

# Copies of the largest array that an operation makes on its way.
COPIES: Final[dict[str, float]] = {
    "cofactor": 3.0,
    "cofactor_along": 3.0,
    "det_phase": 1.0,
    "eig": 4.0,
    "eigh": 2.0,
    "erf": 4.0,
    "erfc": 4.0,
    "expit": 2.0,
    "fft": 1.0,
    "inverse": 0.125,
    "irfft": 1.0,
    "log_expit": 2.0,
    "logsumexp": 2.0,
    "pinv": 4.0,
    "qr": 2.0,
    "random_bits": 1.0,
    "rfft": 1.0,
    "solve": 0.125,
    "solve_triangular": 2.0,
    "svd": 3.0,
    "var": 1.0,
    "xlogy": 0.125,
}
SAME: Final = ("stop_gradient", "real", "imag")  # they return their operand, or a part of it


def working_bytes(equation: Equation) -> int:
    """Bytes that NumPy's evaluation of one equation allocates and frees again."""
    name = equation.primitive.name
    types = [v.type for v in (*equation.inputs, *equation.outputs)]
    if name == "conv":
        return _of_convolution(types, equation.params)
    largest = max((t.nbytes for t in types), default=0)
    return math.ceil(COPIES.get(name, 0.0) * largest)


def _of_convolution(types: list[ArrayType], params: dict[str, Any]) -> int:
    """Padded images, and a chunk of the patches (see ``ops/conv.py``)."""
    x, w, y = types
    space = [
        (n - 1) * step + 1 + low + high
        for n, step, (low, high) in zip(
            x.shape[2:], params["input_dilation"], params["padding"], strict=True
        )
    ]
    is_padded = tuple(space) != x.shape[2:]
    padded = math.prod((*x.shape[:2], *space)) * y.dtype.itemsize if is_padded else 0
    per_row = max(1, w.size // max(1, w.shape[0]) * params["groups"] * math.prod(y.shape[2:]))
    rows = min(y.shape[0], max(1, CHUNK // per_row))
    patches = rows * per_row * y.dtype.itemsize
    products = rows * y.size // max(1, y.shape[0]) * y.dtype.itemsize
    return int(padded + patches + products)


class Owners:
    """Which value holds the memory of each one: of a view, that of its operand."""

    def __init__(self) -> None:
        self.owner: dict[Variable, Variable] = {}
        self.strides: dict[Variable, Strides] = {}  # of values that are not in row-major order

    def __call__(self, variable: Variable) -> Variable:
        return self.owner.get(variable, variable)

    def add(self, equation: Equation) -> bool:
        """Note an equation; whether its result is a view."""
        x = equation.inputs[0] if equation.inputs else None
        if equation.primitive.name in SAME or (
            isinstance(x, Literal) and is_view(equation.primitive)
        ):
            if isinstance(x, Variable):
                self.owner[equation.outputs[0]] = self(x)
            return True  # a number that is broadcast has no memory of its own
        if isinstance(x, Variable) and is_view(equation.primitive):
            (output,) = equation.outputs
            found = self.view(equation, x)
            if found is not None:
                self.owner[output] = self(x)
                if found != contiguous(output.type):
                    self.strides[output] = found
                return True
        elif equation.primitive.family == "elementwise" and not self.strides.keys().isdisjoint(
            equation.inputs
        ):
            self.follow(equation)
        return False

    def like(self, variable: Variable) -> Any:
        known = self.strides.get(variable)
        return stand_in(variable.type, known or contiguous(variable.type))

    def view(self, equation: Equation, x: Variable) -> Strides | None:
        """Strides of a view, or ``None`` where NumPy must copy to reshape."""
        if equation.primitive.name == "reshape":
            shape = equation.outputs[0].type.shape
            if x not in self.strides:
                return contiguous(equation.outputs[0].type)
            try:
                strides: Strides = np.reshape(self.like(x), shape, copy=False).strides
            except ValueError:
                return None
            return strides
        others = [v.value if isinstance(v, Literal) else 0 for v in equation.inputs[1:]]
        result = equation.primitive.numpy(self.like(x), *others, **equation.params)
        return tuple(result.strides)

    def follow(self, equation: Equation) -> None:
        """A result of elementwise operations lies as its operands do."""
        operands = [
            np.asarray(v.value) if isinstance(v, Literal) else self.like(v) for v in equation.inputs
        ]
        for output in equation.outputs:
            strides = elementwise(operands, output.type.dtype).strides
            if strides != contiguous(output.type):
                self.strides[output] = strides


def owners(graph: Graph) -> Owners:
    """The owners of all values of a graph."""
    found = Owners()
    for equation in graph.equations:
        found.add(equation)
    return found

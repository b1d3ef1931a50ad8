"""Transposed products: ``(a.T @ b).T`` is ``b.T @ a``.

Such a product is the gradient of ``w`` in ``x @ w.T``. This may change the order of additions, so
it is for the compiler alone.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from pullback.core.graph import Equation, Graph, Operand, Variable
from pullback.transforms.passes.dce import dce
from pullback.transforms.passes.pipeline import with_bodies

__all__ = ["turn_products"]


def turn_products(graph: Graph) -> Graph:
    """An equal graph, up to rounding, with fewer transposed products in it."""
    makers: dict[Operand, Equation] = {}
    uses = Counter(v for e in graph.equations for v in e.inputs) + Counter(graph.outputs)
    equations: list[Equation] = []
    for equation in graph.equations:
        equation = with_bodies(equation, turn_products)
        product = makers.get(equation.inputs[0]) if _swaps_rows(equation) else None
        left = makers.get(product.inputs[0]) if product is not None else None
        if (
            product is not None
            and product.primitive.name == "matmul"
            and uses[product.outputs[0]] == 1
            and left is not None
            and _swaps_rows(left)
            and product.inputs[1].type.ndim == left.inputs[0].type.ndim
        ):
            b = product.inputs[1]
            type = left.primitive.type_rule(b.type, **left.params)
            turned = replace(left, inputs=(b,), outputs=(Variable(type),))
            operands = (*turned.outputs, *left.inputs)
            equations.append(turned)
            equation = replace(product, inputs=operands, outputs=equation.outputs)
        equations.append(equation)
        makers.update((v, equation) for v in equation.outputs)
    return dce(Graph(graph.inputs, tuple(equations), graph.outputs))


def _swaps_rows(equation: Equation) -> bool:
    """Whether the equation transposes matrices, of any number of leading axes."""
    if equation.primitive.name != "transpose":
        return False
    n = equation.outputs[0].type.ndim
    return n > 1 and tuple(equation.params["axes"]) == (*range(n - 2), n - 1, n - 2)

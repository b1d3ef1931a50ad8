"""Transposed products: ``(a.T @ b).T`` is ``b.T @ a``.

Such a product is the gradient of ``w`` in ``x @ w.T``, or of the keys in attention, where heads
move too. This may change the order of additions, so it is for the compiler alone.
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
        product = makers.get(equation.inputs[0]) if _turns_rows(equation) else None
        left = makers.get(product.inputs[0]) if product is not None else None
        if (
            product is not None
            and product.primitive.name == "matmul"
            and uses[product.outputs[0]] == 1
            and left is not None
            and left.primitive.name == "transpose"
            and product.inputs[1].type.ndim == left.outputs[0].type.ndim
        ):
            equations += _turned(equation, product, left)
        else:
            equations.append(equation)
        makers.update((v, equation) for v in equation.outputs)
    return dce(Graph(graph.inputs, tuple(equations), graph.outputs))


def _turns_rows(equation: Equation) -> bool:
    """Whether the equation transposes a stack of matrices so that columns come before rows."""
    if equation.primitive.name != "transpose":
        return False
    axes = equation.params["axes"]
    n = len(axes)
    return n > 1 and axes.index(n - 1) < axes.index(n - 2)


def _turned(equation: Equation, product: Equation, left: Equation) -> list[Equation]:
    """The product of the transposed operands, and what is left of the transposition."""
    found: list[Equation] = []

    def transposed(x: Operand, axes: tuple[int, ...]) -> Operand:
        if axes == tuple(range(len(axes))):
            return x
        out = Variable(left.primitive.type_rule(x.type, axes=axes))
        found.append(replace(left, inputs=(x,), outputs=(out,), params={"axes": axes}))
        return out

    (a,), b = left.inputs, product.inputs[1]
    swap = _swapped(b.type.ndim)
    operands = transposed(b, swap), transposed(a, tuple(left.params["axes"][i] for i in swap))
    inside = Variable(product.primitive.type_rule(*(v.type for v in operands)))
    found.append(replace(product, inputs=operands, outputs=(inside,)))
    swap = _swapped(inside.type.ndim)
    axes = tuple(swap[i] for i in equation.params["axes"])
    if axes == tuple(range(len(axes))):
        found[-1] = replace(found[-1], outputs=equation.outputs)
        return found
    return [*found, replace(equation, inputs=(inside,), params={"axes": axes})]


def _swapped(n: int) -> tuple[int, ...]:
    """The axes of a stack of transposed matrices."""
    return (*range(n - 2), n - 1, n - 2)

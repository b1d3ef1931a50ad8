"""Folds of folds: a sum over some axes, then over others, is one sum over all of them.

The gradient of a bias of channels is summed over images first, then over places. One pass gives the
numbers without an array of the size of an image in between. Additions change their order, so this
is for the compiler alone. A fold of last axes stays, since it can share the rows of other loops.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from pullback.core.graph import Equation, Graph, Operand
from pullback.transforms.passes.dce import dce
from pullback.transforms.passes.pipeline import with_bodies

__all__ = ["join_folds"]

FOLDS = {"sum", "max", "min", "prod", "mean", "all", "any"}


def join_folds(graph: Graph) -> Graph:
    """An equal graph, up to rounding, with fewer folds in it."""
    makers: dict[Operand, Equation] = {}
    uses = Counter(v for e in graph.equations for v in e.inputs) + Counter(graph.outputs)
    equations: list[Equation] = []
    for equation in graph.equations:
        equation = with_bodies(equation, join_folds)
        inner = makers.get(equation.inputs[0]) if equation.primitive.name in FOLDS else None
        is_alike = inner is not None and inner.primitive is equation.primitive
        if inner is not None and is_alike and uses[inner.outputs[0]] == 1:
            equation = _joined(inner, equation) or equation
        equations.append(equation)
        makers.update((v, equation) for v in equation.outputs)
    return dce(Graph(graph.inputs, tuple(equations), graph.outputs))


def _joined(inner: Equation, outer: Equation) -> Equation | None:
    """One fold of all axes, unless the last one goes first."""
    (x,), gone = inner.inputs, inner.params["axis"]
    if x.type.ndim - 1 in gone:
        return None
    kept = [i for i in range(x.type.ndim) if i not in gone]
    axis = tuple(sorted((*gone, *(kept[i] for i in outer.params["axis"]))))
    return replace(outer, inputs=(x,), params={**outer.params, "axis": axis})

"""Reshapes move away from between what can be computed in one loop.

Pooling reshapes an array into windows, transposes them to the front and joins their axes. The first
reshape moves before a rectifier that comes before it. The second one moves behind the arithmetic
that follows: where a maximum or a sum folds the joined axis, it can fold the axes that this was
joined from, and then nothing needs the transposed array in memory.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from pullback.core.graph import Equation, Graph, Operand, Variable
from pullback.core.primitive import registry
from pullback.core.types import ArrayType
from pullback.transforms.passes.dce import dce
from pullback.transforms.passes.pipeline import with_bodies

__all__ = ["sink_reshapes"]

LARGEST = {"maximum", "minimum"}
FOLDS = {"max", "min", "sum", "prod", "mean", "all", "any"}


def sink_reshapes(graph: Graph) -> Graph:
    """An equal graph."""
    uses = Counter(v for e in graph.equations for v in e.inputs) + Counter(graph.outputs)
    makers: dict[Operand, Equation] = {}
    apart: dict[Operand, Variable] = {}  # what has the axes that an array has as one
    equations: list[Equation] = []
    for equation in graph.equations:
        equation = with_bodies(equation, sink_reshapes)
        maker = makers.get(equation.inputs[0]) if equation.primitive.name == "reshape" else None
        if maker is not None and _is_rectifier(maker, makers, uses):
            found = _before(maker, equation)
        else:
            found = _sunk(equation, apart) or [equation]
            if len(found) > 1:
                apart[equation.outputs[0]] = found[0].outputs[0]
        if maker is not None and maker.primitive.name == "transpose":
            (x,), (out,) = equation.inputs, equation.outputs
            if isinstance(x, Variable) and _joined(x, out):
                apart[out] = x
        equations += found
        makers.update((v, e) for e in found for v in e.outputs)
    return dce(Graph(graph.inputs, tuple(equations), graph.outputs))


def _is_rectifier(
    equation: Equation, makers: dict[Operand, Equation], uses: Counter[Operand]
) -> bool:
    """Whether the larger of a number and of an array that has memory anyway is read once."""
    if equation.primitive.name not in LARGEST:
        return False
    (x, other), (out,) = equation.inputs, equation.outputs
    if other.type.ndim or x.type.dtype != out.type.dtype:
        return False
    maker = makers.get(x)
    is_held = maker is None or uses[x] > 1 or maker.primitive.family != "elementwise"
    return is_held and uses[out] == 1


def _before(rectifier: Equation, reshape: Equation) -> list[Equation]:
    """The reshape, then what came before it."""
    x, other = rectifier.inputs
    (out,) = reshape.outputs
    early = Variable(ArrayType(out.type.shape, x.type.dtype, x.type.weak))
    return [
        replace(reshape, inputs=(x,), outputs=(early,)),
        replace(rectifier, inputs=(early, other), outputs=(out,)),
    ]


def _joined(x: Variable, out: Variable) -> bool:
    """Whether leading axes of ``x`` are the first axis of ``out``, and the others its others."""
    n = x.type.ndim - out.type.ndim + 1
    return n > 1 and out.type.ndim > 0 and x.type.shape[n:] == out.type.shape[1:]


def _sunk(equation: Equation, apart: dict[Operand, Variable]) -> list[Equation] | None:
    """The equation on the axes apart, and the reshape behind it."""
    known = [apart[v] for v in equation.inputs if v in apart]
    if not known:
        return None
    v = next(v for v in equation.inputs if v in apart)
    x = apart[v]
    n = x.type.ndim - v.type.ndim + 1
    primitive, (out, *others) = equation.primitive, equation.outputs
    inputs = tuple(apart.get(v, v) for v in equation.inputs)
    if primitive.name in FOLDS:
        axis = equation.params["axis"]
        if 0 not in axis:
            return None
        axis = (*range(n), *(i + n - 1 for i in axis if i))
        return [replace(equation, inputs=inputs, params={**equation.params, "axis": axis})]
    is_map = primitive.family == "elementwise" or primitive.name == "astype"
    rest = [i for i in equation.inputs if i not in apart]
    if not is_map or others or any(i.type.ndim >= v.type.ndim for i in rest):
        return None
    if any(i.type.shape != x.type.shape for i in known):
        return None
    shape = (*x.type.shape[:n], *out.type.shape[1:])
    whole = Variable(ArrayType(shape, out.type.dtype, out.type.weak))
    back = Equation(registry["reshape"], (whole,), (out,), {"shape": out.type.shape})
    return [
        replace(equation, inputs=inputs, outputs=(whole,)),
        replace(back, source=equation.source),
    ]

"""Layouts: how the matrices lie in memory that loops multiply with in every step.

Products read their operands where they lie, transposed or not, or copy them first, which a right
operand that is transposed always needs (``products.py``). A matrix that a loop does not change
would be copied in each of its steps: it is transposed once, before the loop.
"""

from __future__ import annotations

from dataclasses import replace

from pullback.compiler.schedule.questions import is_float_product
from pullback.compiler.schedule.tiling import Layout, blocks_of, needs_copy
from pullback.core.graph import Equation, Graph, Operand, Variable
from pullback.transforms.passes.dce import dce
from pullback.transforms.passes.pipeline import with_bodies

__all__ = ["choose_layouts"]

MOST = 256  # rows or columns that are multiplied: for more, a copy is a small part of the time


def choose_layouts(graph: Graph) -> Graph:
    """An equal graph, whose loops do not transpose the same matrix in every step."""
    equations: list[Equation] = []
    for equation in graph.equations:
        equation = with_bodies(equation, choose_layouts)
        if equation.primitive.name == "scan":
            equations += _with_transposed_constants(equation)
        else:
            equations.append(equation)
    return dce(Graph(graph.inputs, tuple(equations), graph.outputs))


def _with_transposed_constants(scan: Equation) -> list[Equation]:
    """The scan, behind the transpositions that its body makes of constants for products."""
    body: Graph = scan.params["body"]
    n = scan.params["n_constants"]
    outer: dict[Operand, Operand] = dict(zip(body.inputs[:n], scan.inputs[:n], strict=True))
    moved = [
        e
        for e in body.equations
        if _turns_columns(e) and e.inputs[0] in outer and _is_copied(e.outputs[0], body)
    ]
    before = [
        replace(e, inputs=(outer[e.inputs[0]],), outputs=(Variable(e.outputs[0].type),))
        for e in moved
    ]
    inner = Graph(
        (*body.inputs[:n], *(e.outputs[0] for e in moved), *body.inputs[n:]),
        tuple(e for e in body.equations if e not in moved),
        body.outputs,
    )
    inputs = (*scan.inputs[:n], *(e.outputs[0] for e in before), *scan.inputs[n:])
    params = {**scan.params, "body": inner, "n_constants": n + len(moved)}
    return [*before, replace(scan, inputs=inputs, params=params)]


def _turns_columns(equation: Equation) -> bool:
    """Whether the equation is a transposition whose rows do not lie as rows in its operand."""
    if equation.primitive.name != "transpose":
        return False
    axes: tuple[int, ...] = equation.params["axes"]
    return axes[-1] != len(axes) - 1


def _is_copied(matrix: Variable, body: Graph) -> bool:
    """Whether a step of the scan would copy the transposed matrix."""
    readers = [e for e in body.equations if matrix in e.inputs]
    return any(e.primitive.name == "scan" or _copies(e, matrix) for e in readers)


def _copies(equation: Equation, matrix: Operand) -> bool:
    if not is_float_product(equation):
        return False
    a, b = equation.inputs
    if min(a.type.ndim, b.type.ndim) < 2:
        return False
    k, n = b.type.shape[-2:]
    m = a.type.size // max(k, 1) if b.type.ndim == 2 else a.type.shape[-2]
    if matrix is b:
        return 1 < m <= MOST
    sizes, item = (m, n, k), b.type.dtype.itemsize
    layout = Layout(m, n, n, a_transposed=True, b_transposed=False)
    return n <= MOST and needs_copy(sizes, layout, item, blocks_of(sizes, item))

"""Fewer stacks between scans: what follows from another stack is computed again where it is read.

The forward loop of a gradient stacks what the backward loop needs: of a logistic function its
exponential, one plus that, the quotient, and slices of it. The first one is enough. Only what is
cheap is computed again, and what has the same digits wherever it is computed.
"""

from __future__ import annotations

from dataclasses import replace

from pullback.core.graph import Equation, Graph, Literal, Operand, Variable
from pullback.transforms.passes.dce import dce
from pullback.transforms.passes.pipeline import with_bodies

__all__ = ["recompute_stacks"]

MOVES = {"index", "transpose", "reshape", "broadcast_to"}
CHEAP = {*MOVES, "divide", "reciprocal", "sqrt"}  # besides what is exact
SUMS = {"add", "subtract"}  # have other digits if one term is a product, which is not rounded
PRODUCTS = {"multiply", "square"}


def recompute_stacks(graph: Graph) -> Graph:
    """An equal graph, whose scans stack less for each other."""
    equations = [with_bodies(e, recompute_stacks) for e in graph.equations]
    readers: dict[Operand, list[int]] = {}
    for number, equation in enumerate(equations):
        for v in set(equation.inputs):
            readers.setdefault(v, []).append(number)
    for equation in graph.equations:
        if equation.primitive.name != "scan":
            continue
        body: Graph = equation.params["body"]
        stacks = {v: out for out, v in _stacked(equation)}
        makers: dict[Operand, Equation] = {v: e for e in body.equations for v in e.outputs}
        order: dict[Operand, int] = {v: i for i, e in enumerate(body.equations) for v in e.outputs}
        for v in sorted(stacks.keys() & order.keys(), key=lambda v: -order[v]):
            stack = stacks[v]
            found = readers.get(stack, [])
            if stack in graph.outputs or not _is_cheap(makers[v], makers):
                continue
            later = [_without(equations[i], stack, makers[v], stacks) for i in found]
            if found and all(later):
                for i, scan in zip(found, later, strict=True):
                    assert scan is not None
                    equations[i] = scan
    return dce(Graph(graph.inputs, tuple(equations), graph.outputs))


def _stacked(scan: Equation) -> list[tuple[Variable, Operand]]:
    """The stacks that a scan writes or reads, and what each is in its body."""
    body: Graph = scan.params["body"]
    n_carry, first = scan.params["n_carry"], scan.params["n_constants"] + scan.params["n_carry"]
    written = list(zip(scan.outputs, body.outputs, strict=True))[n_carry:]
    read = zip(scan.inputs, body.inputs, strict=True)
    rows = [(x, v) for x, v in list(read)[first:] if isinstance(x, Variable)]
    return [*written, *rows]


def _is_cheap(equation: Equation, makers: dict[Operand, Equation]) -> bool:
    name = equation.primitive.name
    if name in SUMS:
        terms = (makers.get(v) for v in equation.inputs)
        return not any(e is not None and e.primitive.name in PRODUCTS for e in terms)
    return name in CHEAP or "exact" in equation.primitive.traits


def _without(
    scan: Equation, stack: Variable, maker: Equation, stacks: dict[Operand, Variable]
) -> Equation | None:
    """A scan that computes the rows of ``stack`` from others that it reads, if it can."""
    if scan.primitive.name != "scan":
        return None
    body: Graph = scan.params["body"]
    first = scan.params["n_constants"] + scan.params["n_carry"]
    places = {x: i for i, x in enumerate(scan.inputs) if i >= first}
    if scan.inputs.count(stack) > 1 or stack not in places:
        return None
    operands: list[Operand] = []
    for v in maker.inputs:
        source = stacks.get(v)
        if isinstance(v, Literal):
            operands.append(v)
        elif source in places:
            operands.append(body.inputs[places[source]])
        else:
            return None
    row = body.inputs[places[stack]]
    own = replace(maker, inputs=tuple(operands), outputs=(row,))
    inner = Graph(
        tuple(v for v in body.inputs if v is not row), (own, *body.equations), body.outputs
    )
    inputs = tuple(x for x in scan.inputs if x is not stack)
    return replace(scan, inputs=inputs, params={**scan.params, "body": inner})

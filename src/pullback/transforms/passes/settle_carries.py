"""A state that no step of a scan changes is a constant of the scan."""

from __future__ import annotations

from dataclasses import replace

from pullback.core.graph import Equation, Graph, Operand

__all__ = ["settle_carries"]


def settle_carries(graph: Graph) -> Graph:
    """The same graph, whose scans carry only what changes."""
    values: dict[Operand, Operand] = {}
    equations = []
    for equation in graph.equations:
        equation = equation.reading(values)
        if equation.primitive.name == "scan":
            equation, settled = _settled(equation)
            values.update(settled)
        equations.append(equation)
    return Graph(graph.inputs, tuple(equations), tuple(values.get(v, v) for v in graph.outputs))


def _settled(scan: Equation) -> tuple[Equation, dict[Operand, Operand]]:
    """The scan, and what the carries are that have become constants."""
    body: Graph = scan.params["body"]
    n, n_carry = scan.params["n_constants"], scan.params["n_carry"]
    idle = [k for k in range(n_carry) if body.outputs[k] is body.inputs[n + k]]
    if not idle:
        return scan, {}
    moving = [k for k in range(n_carry) if k not in idle]
    order = [*range(n), *(n + k for k in (*idle, *moving)), *range(n + n_carry, len(body.inputs))]
    kept = [*moving, *range(n_carry, len(body.outputs))]
    body = Graph(
        tuple(body.inputs[i] for i in order),
        body.equations,
        tuple(body.outputs[k] for k in kept),
    )
    counts = {"n_constants": n + len(idle), "n_carry": len(moving)}
    found: dict[Operand, Operand] = {scan.outputs[k]: scan.inputs[n + k] for k in idle}
    short = replace(
        scan,
        inputs=tuple(scan.inputs[i] for i in order),
        outputs=tuple(scan.outputs[k] for k in kept),
        params={**scan.params, "body": body, **counts},
    )
    return short, found

"""Dead code elimination: drop what nobody reads, inside loops and branches too."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from pullback.core.graph import Equation, Graph, Operand

__all__ = ["dce", "operands"]


def dce(graph: Graph) -> Graph:
    """The same graph without unread equations; its inputs stay, read or not.

    A scan loses the outputs that nobody reads, the carries that only go round, and the operands
    that its body does not read; a cond loses outputs and operands.
    """
    live: set[Operand] = set(graph.outputs)
    kept: list[Equation] = []
    for equation in reversed(graph.equations):
        if live.isdisjoint(equation.outputs):
            continue
        narrow = NARROW.get(equation.primitive.name)
        if narrow:
            equation = narrow(equation, [i for i, v in enumerate(equation.outputs) if v in live])
        live.update(equation.inputs)
        kept.append(equation)
    return Graph(graph.inputs, tuple(reversed(kept)), graph.outputs)


def narrow_scan(scan: Equation, read: Sequence[int]) -> Equation:
    """The scan with the outputs at ``read``, and the carries that these depend on."""
    body: Graph = scan.params["body"]
    first, n_carry = scan.params["n_constants"], scan.params["n_carry"]
    outputs = set(read)
    while True:
        rest = dce(_with_outputs(body, sorted(outputs)))
        used = operands(rest)
        carried = {i for i in range(n_carry) if body.inputs[first + i] in used}
        if carried <= outputs:
            break
        outputs |= carried
    carries = [first + i for i in range(n_carry) if i in outputs]
    constants = [i for i in range(first) if body.inputs[i] in used]
    rows = [i for i in range(first + n_carry, len(body.inputs)) if body.inputs[i] in used]
    inputs = [*constants, *carries, *rows]
    body = replace(rest, inputs=tuple(body.inputs[i] for i in inputs))
    return replace(
        scan,
        inputs=tuple(scan.inputs[i] for i in inputs),
        outputs=tuple(scan.outputs[i] for i in sorted(outputs)),
        params={
            **scan.params,
            "body": body,
            "n_constants": len(constants),
            "n_carry": len(carries),
        },
    )


def narrow_cond(cond: Equation, read: Sequence[int]) -> Equation:
    """The cond with the outputs at ``read``, and the operands that either branch needs."""
    rest = [dce(_with_outputs(branch, read)) for branch in cond.params["branches"]]
    used = [operands(branch) for branch in rest]
    inputs = [
        i
        for i in range(len(rest[0].inputs))
        if any(branch.inputs[i] in u for branch, u in zip(rest, used, strict=True))
    ]
    branches = tuple(
        replace(branch, inputs=tuple(branch.inputs[i] for i in inputs)) for branch in rest
    )
    return replace(
        cond,
        inputs=(cond.inputs[0], *(cond.inputs[1 + i] for i in inputs)),
        outputs=tuple(cond.outputs[i] for i in read),
        params={**cond.params, "branches": branches},
    )


def _with_outputs(graph: Graph, positions: Sequence[int]) -> Graph:
    return replace(graph, outputs=tuple(graph.outputs[i] for i in positions))


def operands(graph: Graph) -> Collection[Operand]:
    """All that equations and outputs read."""
    return set(graph.outputs).union(*[equation.inputs for equation in graph.equations])


NARROW = {"scan": narrow_scan, "cond": narrow_cond}

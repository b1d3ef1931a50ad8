"""Derivatives of graphs: the transforms applied to a graph give new graphs.

Primitives that hold a graph (loops, branches, calls) differentiate and batch by doing so to the
graph. Nothing here knows any rule: a graph is evaluated under a trace inside a stage.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from pullback.core.array import Array
from pullback.core.graph import Equation, Graph, Variable
from pullback.core.types import ArrayType, is_differentiable
from pullback.transforms.batch import batch_flat
from pullback.transforms.evaluate import evaluate
from pullback.transforms.jvp import jvp_flat, zeros
from pullback.transforms.passes.dce import dce
from pullback.transforms.stage import Staged, StageTrace, close, stage
from pullback.transforms.vjp import VJPTrace, backward

__all__ = ["VJPGraphs", "batch_graph", "jvp_graph", "vjp_graphs"]

Mask = tuple[bool, ...]
VIEWS = ("reshape", "transpose")  # without elements of their own


@lru_cache(maxsize=1024)
def jvp_graph(graph: Graph, nonzero: Mask, instantiate: Mask) -> tuple[Staged, Mask]:
    """Graph of ``(primals, tangents where nonzero) -> (outputs, tangents where nonzero)``.

    ``instantiate[i]`` asks for a real tangent of output ``i`` even where it is zero. Also returns
    which outputs have a tangent.
    """
    n = len(graph.inputs)
    reached: list[bool] = []

    def push(*args: Any) -> list[Any]:
        given = iter(args[n:])
        tangents = [next(given) if flag else None for flag in nonzero]
        outputs, dots = jvp_flat(lambda *xs: evaluate(graph, xs), args[:n], tangents)
        dots = [
            zeros(type) if dot is None and forced and is_differentiable(type.dtype) else dot
            for dot, forced, type in zip(dots, instantiate, graph.output_types, strict=True)
        ]
        reached[:] = [dot is not None for dot in dots]
        return [*outputs, *(dot for dot in dots if dot is not None)]

    types = graph.input_types
    staged = stage(
        push, [*types, *(t for t, flag in zip(types, nonzero, strict=True) if flag)], "jvp"
    )
    return Staged(dce(staged.graph), staged.captured, staged.guard), tuple(reached)


@dataclass(frozen=True, slots=True)
class VJPGraphs:
    """A graph split for reverse mode.

    ``forward``: captured + graph inputs -> outputs + computed residuals.
    ``backward``: captured + kept inputs + computed residuals + cotangents of the differentiable
    outputs -> cotangents of the inputs at ``reached``.
    ``kept``: positions of the graph inputs that the backward graph reads.
    """

    forward: Staged
    backward: Staged
    kept: tuple[int, ...]
    n_residuals: int
    reached: tuple[int, ...]


@lru_cache(maxsize=1024)
def vjp_graphs(graph: Graph, needs: Mask, kept_ok: Mask) -> VJPGraphs:
    """Split the recorded reverse mode of ``graph`` into a forward and a backward graph.

    The whole derivative is staged in one go; the place where the cotangents enter cuts it in two,
    and the residuals are exactly the values that cross the cut. Inputs that cross it are passed on
    directly where ``kept_ok`` allows, and views of them are taken again; else they count as
    computed residuals.
    """
    with StageTrace("grad") as trace:
        inputs = [trace.input(type) for type in graph.input_types]
        with VJPTrace() as tape:
            args = [tape.input(x) if need else x for x, need in zip(inputs, needs, strict=True)]
            results = evaluate(graph, args)
        own = [type(y) is Array and y.traced_by is tape for y in results]
        outputs = [
            trace.operand(y.value if mine else y) for y, mine in zip(results, own, strict=True)
        ]
        n_forward = len(trace.builder.equations)
        cts = [
            trace.input(type) if is_differentiable(type.dtype) else None
            for type in graph.output_types
        ]
        seeds = [
            (y.aux, ct)
            for y, mine, ct in zip(results, own, cts, strict=True)
            if mine and ct is not None
        ]
        found = iter(backward(seeds, tape.leaves))
        arrived = [next(found) if need else None for need in needs]
        reached = tuple(i for i, ct in enumerate(arrived) if ct is not None)
        whole = close(trace, [arrived[i] for i in reached])
    first, second = whole.graph.equations[:n_forward], whole.graph.equations[n_forward:]
    captured = list(trace.captured.values())
    input_variables = [x.aux for x in inputs]
    at_hand = [v for v, ok in zip(input_variables, kept_ok, strict=True) if ok]
    second = _with_views(first, second, {*at_hand, *(v for v, _ in captured)})
    read = {v for equation in second for v in equation.inputs} | set(whole.graph.outputs)
    again = {v for equation in second for v in equation.outputs}
    kept = tuple(i for i, v in enumerate(input_variables) if v in read and kept_ok[i])
    residuals = [v for i, v in enumerate(input_variables) if v in read and not kept_ok[i]]
    made = (v for equation in first for v in equation.outputs)
    residuals += [v for v in made if v in read and v not in again]

    def part(equations: Any, extra: Sequence[Variable], outputs: Sequence[Any]) -> Staged:
        body = dce(Graph((), equations, tuple(outputs)))
        used = {v for equation in body.equations for v in equation.inputs} | set(outputs)
        own_captured = [(v, value) for v, value in captured if v in used]
        graph = Graph((*(v for v, _ in own_captured), *extra), body.equations, body.outputs)
        return Staged(graph, [value for _, value in own_captured], whole.guard)

    ct_variables = [ct.aux for ct in cts if ct is not None]
    return VJPGraphs(
        forward=part(first, input_variables, [*outputs, *residuals]),
        backward=part(
            second,
            [*(input_variables[i] for i in kept), *residuals, *ct_variables],
            whole.graph.outputs,
        ),
        kept=kept,
        n_residuals=len(residuals),
        reached=reached,
    )


def _with_views(
    first: Sequence[Equation], second: Sequence[Equation], at_hand: set[Variable]
) -> tuple[Equation, ...]:
    """The second equations, behind those of the first that they read views of ``at_hand`` from."""
    views = []
    for equation in first:
        if equation.primitive.name in VIEWS and at_hand.issuperset(equation.inputs):
            views.append(equation)
            at_hand.update(equation.outputs)
    read = {v for equation in second for v in equation.inputs}
    needed = []
    for equation in reversed(views):
        if not read.isdisjoint(equation.outputs):
            needed.append(equation)
            read.update(equation.inputs)
    return *reversed(needed), *second


@lru_cache(maxsize=1024)
def batch_graph(graph: Graph, batched: Mask, force: Mask, size: int) -> tuple[Staged, Mask]:
    """Graph on inputs with a leading batch axis where ``batched``; outputs batched where returned.

    ``force[i]`` asks for a batch axis on output ``i`` in any case.
    """
    found: list[bool] = []

    def run(*args: Any) -> list[Any]:
        axes = [0 if flag else None for flag in batched]
        outputs, out_axes = batch_flat(lambda *xs: evaluate(graph, xs), args, axes, size)
        results = []
        for y, axis, forced in zip(outputs, out_axes, force, strict=True):
            if axis is None and forced:
                y, axis = np.broadcast_to(y, (size, *np.shape(y))), 0
            results.append(y if axis in (0, None) else np.moveaxis(y, axis, 0))
            found.append(axis is not None)
        return results

    types = [
        ArrayType((size, *t.shape), t.dtype) if flag else t
        for t, flag in zip(graph.input_types, batched, strict=True)
    ]
    staged = stage(run, types, "vmap")
    return staged, tuple(found)

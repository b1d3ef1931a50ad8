"""``call``: run a graph as one operation. Compiled functions and checkpoints are calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pullback.analysis.cost import graph_flops
from pullback.control.graphs import batch_graph, jvp_graph, vjp_graphs
from pullback.core.graph import GraphBuilder
from pullback.core.primitive import ForwardRule, Primitive, Sample, registry
from pullback.core.types import ArrayType, is_differentiable
from pullback.transforms.evaluate import evaluate
from pullback.transforms.jvp import zeros

__all__ = ["call", "float_cotangents", "front_batch"]


def float_cotangents(cts: Sequence[Any], types: Sequence[ArrayType]) -> list[Any]:
    """The cotangents of the differentiable outputs, zeros made real."""
    return [
        zeros(type) if ct is None else ct
        for ct, type in zip(cts, types, strict=True)
        if is_differentiable(type.dtype)
    ]


def front_batch(args: Sequence[Any], axes: Sequence[int | None]) -> tuple[list[Any], int]:
    """Operands with their batch axis in front, and the batch size."""
    size = next(np.shape(a)[axis] for a, axis in zip(args, axes, strict=True) if axis is not None)
    return [
        a if axis in (0, None) else np.moveaxis(a, axis, 0)
        for a, axis in zip(args, axes, strict=True)
    ], size


def _jvp(primals: Any, tangents: Any, y: Any, params: Any) -> Any:
    graph = params["graph"]
    nonzero = tuple(t is not None for t in tangents)
    staged, reached = jvp_graph(graph, nonzero, (False,) * len(graph.outputs))
    outputs = call(
        *staged.captured,
        *primals,
        *(t for t in tangents if t is not None),
        **{**params, "graph": staged.graph},
    )
    dots = iter(outputs[len(graph.outputs) :])
    return [next(dots) if flag else None for flag in reached]


def _forward(primals: Any, needs: Any, params: Any) -> Any:
    split = vjp_graphs(params["graph"], tuple(needs), (True,) * len(primals))
    results = call(*split.forward.captured, *primals, **{**params, "graph": split.forward.graph})
    n = len(params["graph"].outputs)
    return results[:n], [*(primals[i] for i in split.kept), *results[n:]]


def _backward(saved: Any, cts: Any, needs: Any, types: Any, params: Any) -> Any:
    graph = params["graph"]
    split = vjp_graphs(graph, tuple(needs), (True,) * len(needs))
    found = call(
        *split.backward.captured,
        *saved,
        *float_cotangents(cts, graph.output_types),
        **{**params, "graph": split.backward.graph},
    )
    by_input = dict(zip(split.reached, found, strict=True))
    return [by_input.get(i) for i in range(len(needs))]


def _batch(args: Any, axes: Any, params: Any) -> Any:
    moved, size = front_batch(args, axes)
    graph = params["graph"]
    staged, batched = batch_graph(
        graph, tuple(a is not None for a in axes), (False,) * len(graph.outputs), size
    )
    outputs = call(*staged.captured, *moved, **{**params, "graph": staged.graph})
    return outputs, [0 if flag else None for flag in batched]


def _samples(rng: np.random.Generator, dtype: np.dtype[Any]) -> list[Sample]:
    """The graph of ``sin(x1) x2`` and of the second operand."""
    if not is_differentiable(dtype):
        return []
    builder = GraphBuilder()
    x1, x2 = builder.input(ArrayType((3,), dtype)), builder.input(ArrayType((3,), dtype))
    (s,) = builder.add(registry["sin"], [x1], {})
    (y,) = builder.add(registry["multiply"], [s, x2], {})
    args = tuple(rng.normal(size=3).astype(dtype) for _ in range(2))
    return [Sample(args, {"graph": builder.build([y, x2]), "executor": evaluate})]


call = Primitive(
    name="call",
    doc="outputs of `graph` at the operands, which `executor(graph, operands)` computes",
    multiple=True,
    numpy=lambda *args, graph, executor: executor(graph, args),
    type_rule=lambda *types, graph, executor: tuple(graph.output_types),
    jvp=_jvp,
    vjp=ForwardRule(_forward, _backward),
    batch=_batch,
    family="control",
    flops=lambda types, out_types, params: graph_flops(params["graph"]),
    samples=_samples,
)

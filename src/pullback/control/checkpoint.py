"""``checkpoint``: keep only the inputs of a function, and run it again in the backward pass.

Chen et al. (2016), *Training Deep Nets with Sublinear Memory Cost*. The function is recorded while
it runs on values, so Python control flow is allowed and the same path is taken again; values
from outside that it reads, traced ones too, become inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pullback import tree
from pullback.analysis.cost import graph_flops
from pullback.control.call import float_cotangents, front_batch
from pullback.control.graphs import batch_graph, jvp_graph, vjp_graphs
from pullback.core.array import Array, as_array
from pullback.core.graph import Graph, GraphBuilder
from pullback.core.primitive import ForwardRule, Primitive, Sample, registry
from pullback.core.types import ArrayType, is_differentiable, type_of
from pullback.core.wrapper import Wrapper
from pullback.errors import TracedValueError
from pullback.transforms.evaluate import evaluate
from pullback.transforms.passes.dce import dce
from pullback.transforms.stage import RecordTrace, Staged, close, stage

__all__ = ["checkpoint", "pull_again", "run_again"]


class Known:
    """The outputs that the recording run has computed already, for the first evaluation to take."""

    __slots__ = ("values",)

    def __init__(self, values: list[Any] | None) -> None:
        self.values = values

    def take(self) -> list[Any] | None:
        values, self.values = self.values, None
        return values


def concrete(value: Any) -> Any:
    """The plain value behind any number of differentiating traces."""
    return value.traced_by.concrete(value, "the value") if type(value) is Array else value


class ConcreteTrace(RecordTrace):
    """Recording that computes on plain values only: traces further out see nothing."""

    def wrap(self, primitive: Primitive, outputs: Any, args: Any, params: dict[str, Any]) -> Any:
        return super().wrap(primitive, outputs, [concrete(a) for a in args], params)


def checkpoint(fun: Callable[..., Any]) -> Callable[..., Any]:
    """``fun`` with the memory of its inputs only: the backward pass computes the rest again.

    Args:
        fun: any traceable function of containers of arrays. Non-array arguments stay static.

    Returns:
        A function with the same values and derivatives. Reverse mode keeps the arguments and the
        outside values that ``fun`` reads, and evaluates ``fun`` twice.

    >>> import numpy as np
    >>> import pullback as pb
    >>> block = pb.checkpoint(lambda x: np.sin(np.sin(x)))
    >>> float(pb.grad(block)(0.0))
    1.0
    """
    return Checkpointed(fun)


class Checkpointed(Wrapper):
    """What :func:`checkpoint` returns."""

    def action(self) -> str:
        return "checkpoint"

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        leaves, structure = tree.flatten((args, kwargs))
        positions = [i for i, leaf in enumerate(leaves) if isinstance(leaf, (Array, np.ndarray))]
        operands = [leaves[i] for i in positions]
        shapes: list[tree.TreeDef] = []

        def flat(*xs: Any) -> list[Any]:
            full = list(leaves)
            for i, x in zip(positions, xs, strict=True):
                full[i] = x
            pos, named = tree.unflatten(structure, full)
            outputs, out_structure = tree.flatten(self.fun(*pos, **named))
            shapes[:] = [out_structure]
            return list(map(as_array, outputs))

        try:
            with ConcreteTrace("checkpoint") as trace:
                outputs = flat(*[trace.input(type_of(x), concrete(x)) for x in operands])
                staged = close(trace, outputs)
                known = Known(
                    [
                        y.value if type(y) is Array and y.traced_by is trace else concrete(y)
                        for y in outputs
                    ]
                )
        except TracedValueError:  # only shapes are known further out
            staged = stage(flat, [type_of(x) for x in operands], "checkpoint")
            known = Known(None)
        results = _run(staged, *operands, known=known)
        return tree.unflatten(shapes[0], results)


def _evaluate(*args: Any, graph: Graph, known: Known, is_again: bool) -> list[Any]:
    values = known.take()
    return evaluate(graph, args) if values is None else values


def _run(staged: Staged, *args: Any, known: Known | None = None) -> Any:
    """Bind the primitive."""
    params = {"graph": staged.graph, "known": known or Known(None), "is_again": False}
    return checkpoint_primitive(*staged.captured, *args, **params)


def run_again(graph: Graph, args: Sequence[Any]) -> Any:
    """Bind the primitive for a graph that computes what has been computed before."""
    return checkpoint_primitive(*args, graph=graph, known=Known(None), is_again=True)


def _jvp(primals: Any, tangents: Any, y: Any, params: Any) -> Any:
    graph = params["graph"]
    staged, reached = jvp_graph(
        graph, tuple(t is not None for t in tangents), (False,) * len(graph.outputs)
    )
    outputs = _run(staged, *primals, *(t for t in tangents if t is not None))
    dots = iter(outputs[len(graph.outputs) :])
    return [next(dots) if flag else None for flag in reached]


def _forward(primals: Any, needs: Any, params: Any) -> Any:
    return checkpoint_primitive(*primals, **params), list(primals)


def pull_again(saved: Any, cts: Any, needs: Any, types: Any, params: Any) -> Any:
    """Forward and backward graph of the function in one: nothing crosses from the first run."""
    graph = params["graph"]
    split = vjp_graphs(graph, tuple(needs), (True,) * len(needs))
    full = float_cotangents(cts, graph.output_types)

    def again(*args: Any) -> list[Any]:
        inputs, out_cts = args[: len(saved)], args[len(saved) :]
        results = evaluate(split.forward.graph, [*split.forward.captured, *inputs])
        return evaluate(
            split.backward.graph,
            [
                *split.backward.captured,
                *(inputs[i] for i in split.kept),
                *results[len(graph.outputs) :],
                *out_cts,
            ],
        )

    staged = stage(again, [type_of(x) for x in (*saved, *full)], "checkpoint")
    found = run_again(dce(staged.graph), [*staged.captured, *saved, *full])
    by_input = dict(zip(split.reached, found, strict=True))
    return [by_input.get(i) for i in range(len(needs))]


def _batch(args: Any, axes: Any, params: Any) -> Any:
    moved, size = front_batch(args, axes)
    graph = params["graph"]
    staged, batched = batch_graph(
        graph, tuple(a is not None for a in axes), (False,) * len(graph.outputs), size
    )
    return _run(staged, *moved), [0 if flag else None for flag in batched]


def _samples(rng: np.random.Generator, dtype: np.dtype[Any]) -> list[Sample]:
    """``exp(sin x)``."""
    if not is_differentiable(dtype):
        return []
    builder = GraphBuilder()
    x = builder.input(ArrayType((3,), dtype))
    (s,) = builder.add(registry["sin"], [x], {})
    (y,) = builder.add(registry["exp"], [s], {})
    graph = builder.build([y])
    params = {"graph": graph, "known": Known(None), "is_again": False}
    return [Sample((rng.normal(size=3).astype(dtype),), params)]


checkpoint_primitive = Primitive(
    name="checkpoint",
    doc="outputs of `graph`; reverse mode keeps the operands and runs it again",
    multiple=True,
    numpy=_evaluate,
    type_rule=lambda *types, graph, known, is_again: tuple(graph.output_types),
    jvp=_jvp,
    vjp=ForwardRule(_forward, pull_again),
    batch=_batch,
    family="control",
    flops=lambda types, out_types, params: graph_flops(params["graph"]),
    source="Chen et al. (2016), arXiv:1604.06174",
    samples=_samples,
)

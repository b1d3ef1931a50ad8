"""``known``: values that were computed in one way, and whose derivatives are those of another.

A faster or steadier way to compute something may be a poor one to differentiate. The other way is
never run for values: its derivatives compute what they need of it, as those of a checkpoint do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pullback import tree
from pullback.control.call import front_batch
from pullback.control.checkpoint import pull_again, run_again
from pullback.control.graphs import batch_graph, jvp_graph
from pullback.core.array import as_array
from pullback.core.graph import Graph, GraphBuilder
from pullback.core.primitive import ForwardRule, Primitive, Sample, registry
from pullback.core.types import ArrayType, is_differentiable, type_of
from pullback.transforms.passes.dce import dce
from pullback.transforms.stage import stage

__all__ = ["known"]


def known(values: Sequence[Any], fun: Callable[..., Sequence[Any]], *operands: Any) -> list[Any]:
    """``values``, with the derivatives of ``fun(*operands)``, which returns the same.

    Args:
        values: arrays; what they were computed from does not matter for derivatives.
        fun: a traceable function of the operands, with outputs of the types of ``values``. It may
            read traced values from outside.
        operands: containers of arrays. Reverse mode keeps them, and what ``fun`` reads.

    >>> import numpy as np
    >>> import pullback as pb
    >>> def root(x):
    ...     return known([x ** 0.5], lambda x: [np.sqrt(x)], x)[0]
    >>> float(pb.grad(root)(4.0))
    0.25
    """
    values = list(map(as_array, values))
    leaves, structure = tree.flatten(tree.map(as_array, operands))

    def flat(*xs: Any) -> list[Any]:
        return list(map(as_array, fun(*tree.unflatten(structure, xs))))

    staged = stage(flat, [type_of(x) for x in leaves], "known")
    assert staged.graph.output_types == list(map(type_of, values)), "values of other types"
    return list(known_primitive(*values, *staged.captured, *leaves, graph=staged.graph))


def _jvp(primals: Any, tangents: Any, y: Any, params: Any) -> Any:
    graph = params["graph"]
    n = len(graph.outputs)
    nonzero = tuple(t is not None for t in tangents[n:])
    staged, reached = jvp_graph(graph, nonzero, (False,) * n)
    pushed = dce(Graph(staged.graph.inputs, staged.graph.equations, staged.graph.outputs[n:]))
    given = [t for t in tangents[n:] if t is not None]
    dots = iter(run_again(pushed, [*staged.captured, *primals[n:], *given]))
    return [next(dots) if flag else None for flag in reached]


def _forward(primals: Any, needs: Any, params: Any) -> Any:
    n = len(params["graph"].outputs)
    return known_primitive(*primals, **params), list(primals[n:])


def _backward(saved: Any, cts: Any, needs: Any, types: Any, params: Any) -> Any:
    n = len(params["graph"].outputs)
    return [None] * n + pull_again(saved, cts, needs[n:], types[n:], params)


def _batch(args: Any, axes: Any, params: Any) -> Any:
    moved, size = front_batch(args, axes)
    n = len(params["graph"].outputs)
    flags = tuple(axis is not None for axis in axes[n:])
    staged, _ = batch_graph(params["graph"], flags, (True,) * n, size)
    values = [
        np.broadcast_to(v, (size, *np.shape(v))) if axis is None else v
        for v, axis in zip(moved[:n], axes, strict=False)
    ]
    operands = [*values, *staged.captured, *moved[n:]]
    return known_primitive(*operands, graph=staged.graph), [0] * n


def _samples(rng: np.random.Generator, dtype: np.dtype[Any]) -> list[Sample]:
    """``sin x``, which is known."""
    if not is_differentiable(dtype):
        return []
    builder = GraphBuilder()
    x = builder.input(ArrayType((3,), dtype))
    (y,) = builder.add(registry["sin"], [x], {})
    at = rng.normal(size=3).astype(dtype)
    return [Sample((np.sin(at), at), {"graph": builder.build([y])})]


known_primitive = Primitive(
    name="known",
    doc="the first operands; their derivatives are those of `graph` at the others",
    multiple=True,
    numpy=lambda *args, graph: list(args[: len(graph.outputs)]),
    type_rule=lambda *types, graph: types[: len(graph.outputs)],
    jvp=_jvp,
    vjp=ForwardRule(_forward, _backward),
    batch=_batch,
    family="control",
    flops=lambda types, out_types, params: 0,
    samples=_samples,
)

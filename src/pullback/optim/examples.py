"""Gradients of single examples: their lengths, and their clipped sum, without forming them.

The gradient of one example for the weight of ``y = x @ weight`` is the outer product of ``x`` and
the cotangent ``d`` of ``y``, so its length is ``|x| |d|``; for a sequence of rows its square is
``sum((x x^T) * (d d^T))``. Both factors are at hand in the backward sweep, and the product, which
has the size of the weight for each example, is never made.

Sources:
    I. Goodfellow (2015), "Efficient Per-Example Gradient Computations", arXiv:1510.01799.
    X. Li et al. (2022), "Large Language Models Can Be Strong Differentially Private Learners",
    ICLR, section 4 (sequences).
    M. Abadi et al. (2016), "Deep Learning with Differential Privacy", CCS, algorithm 1 (clipping).

Known limits: other parameters than factors of matrix products (biases, scales, filters, tables
of embeddings) have their gradients formed example by example.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pullback import tree
from pullback.core.array import Array
from pullback.core.primitive import Primitive
from pullback.ops.contract import matmul
from pullback.optim.base import number
from pullback.transforms.derivatives import (
    Reverse,
    as_leaves,
    grad,
    scalar_output,
    stop_gradient,
)
from pullback.transforms.vjp import Arrive, Node, VJPTrace, backward
from pullback.transforms.vmap import vmap

__all__ = ["clipped_gradient", "example_norms"]

Function = Callable[..., Any]


class FactorNode(Node):
    """``y = x @ weight`` for a parameter ``weight``: notes ``x`` and the cotangent of ``y``."""

    __slots__ = ("found", "parents", "weight", "x")

    def __init__(self, index: int, y: Any, nodes: Sequence[Node | None], x: Any, w: Any) -> None:
        super().__init__(index, y.shape, y.dtype)
        self.parents = nodes
        self.x = x
        self.weight = w
        self.found: list[tuple[Any, Any]] = []

    def pull(self, ct: Any, arrive: Arrive) -> None:
        self.found.append((self.x, ct))
        before = self.parents[0]
        if before is not None:
            arrive(before, np.matmul(ct, np.transpose(self.weight)))


class FactorTrace(VJPTrace):
    """Reverse mode in which products with a parameter keep the factors of its gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.factors: dict[Node, list[FactorNode]] = {}

    def process(self, primitive: Primitive, args: Any, params: dict[str, Any]) -> Any:
        if primitive is not matmul or not self.is_factor(*args):
            return super().process(primitive, args, params)
        x, weight = args
        is_traced = type(x) is Array and x.traced_by is self
        value, node = (x.value, x.aux) if is_traced else (x, None)
        y = self.evaluate(primitive, [value, weight.value], params)
        factor = FactorNode(next(self.counter), y, (node, weight.aux), value, weight.value)
        self.factors.setdefault(weight.aux, []).append(factor)
        return Array(self, y, factor)

    def pairs(self, weight: Node) -> list[tuple[Any, Any]]:
        """The factors of the gradient for a parameter, after the sweep."""
        return [pair for factor in self.factors.get(weight, ()) for pair in factor.found]

    def is_factor(self, x: Any, weight: Any) -> bool:
        return (
            type(weight) is Array
            and weight.traced_by is self
            and not weight.aux.parents
            and np.ndim(weight) == 2
            and np.ndim(x) in (1, 2)
            and x.dtype == weight.dtype
        )


def square(formed: Any, pairs: Sequence[tuple[Any, Any]], shape: tuple[int, ...]) -> Any:
    """The squared length of the sum of ``formed`` (or ``None``) and of all outer products."""
    if not pairs:
        return 0.0 if formed is None else np.sum(formed * formed)
    x = np.concatenate([np.reshape(a, (-1, shape[0])) for a, _ in pairs])
    d = np.concatenate([np.reshape(b, (-1, shape[1])) for _, b in pairs])
    if len(x) * sum(shape) > math.prod(shape):  # more rows than make the product itself worth it
        whole = np.matmul(x.T, d)
        whole = whole if formed is None else whole + formed
        return np.sum(whole * whole)
    if len(x) == 1:
        total = np.sum(x * x) * np.sum(d * d)
    else:
        total = np.sum(np.matmul(x, x.T) * np.matmul(d, d.T))
    if formed is None:
        return total
    return total + 2 * np.sum(np.matmul(x, formed) * d) + np.sum(formed * formed)


def example_norms(loss: Function, params: Any, *batch: Any) -> Any:
    """Length of the gradient of each example, over all parameters together.

    Args:
        loss: ``loss(params, *example)``, a scalar, NumPy code for a single example.
        params: a container of float arrays.
        batch: arrays (or containers) with a leading axis of examples.

    Returns:
        ``(examples,)``: for each the Euclidean norm of ``grad(loss)(params, *example)``.

    Raises:
        ShapeError: if ``loss`` returns no scalar, or the arrays disagree about the examples.

    Reference:
        Goodfellow (2015); see the module.

    >>> import numpy as np
    >>> import pullback as pb
    >>> loss = lambda w, x: np.sum(x @ w)
    >>> pb.optim.example_norms(loss, np.ones((2, 4)), np.array([[3.0, 4.0], [0.0, 1.0]]))
    array([10.,  2.])
    """
    leaves, structure = as_leaves(params, "params")

    def norm(*example: Any) -> Any:
        trace, run, formed = swept(loss, leaves, structure, example)
        if run.nodes[0] is None:
            return np.zeros(())
        squares = [
            square(ct, trace.pairs(leaf), leaf.shape)
            for ct, leaf in zip(formed, run.inputs, strict=True)
        ]
        return np.sqrt(sum(squares[1:], squares[0]))

    return vmap(norm)(*batch)


def swept(
    loss: Function, leaves: Sequence[Any], structure: tree.TreeDef, example: Sequence[Any]
) -> tuple[FactorTrace, Reverse, list[Any]]:
    """Both passes of one example: factors are noted, and what has none is formed for each leaf."""
    trace = FactorTrace()
    run = Reverse(
        lambda *xs: loss(tree.unflatten(structure, xs), *example),
        leaves,
        tree.flatten(tuple(leaves))[1],
        trace=trace,
    )
    scalar_output(run, loss)
    seeds = [(node, np.ones((), node.dtype)) for node in run.nodes if node is not None]
    return trace, run, backward(seeds, run.inputs)


def clipped_gradient(loss: Function, params: Any, *batch: Any, max_norm: float) -> tuple[Any, Any]:
    """Sum of the gradients of all examples, each shortened to ``max_norm``; and their lengths.

    Two backward sweeps over the batch; no example's gradient is formed.

    Args:
        loss, params, batch: those of :func:`example_norms`.
        max_norm: positive.

    Returns:
        ``(gradient, norms)``: a container like ``params``, and ``(examples,)``, before clipping.

    Raises:
        ArgumentError: if ``max_norm`` is negative or NaN.

    Reference:
        Abadi et al. (2016), algorithm 1, without the noise.

    >>> import numpy as np
    >>> import pullback as pb
    >>> loss = lambda w, x: np.dot(w, x)
    >>> x = np.array([[3.0, 4.0], [0.0, 1.0]])
    >>> gradient, norms = pb.optim.clipped_gradient(loss, np.ones(2), x, max_norm=1.0)
    >>> gradient, norms
    (array([0.6, 1.8]), array([5., 1.]))
    """
    max_norm = number("max_norm", max_norm, 0, math.inf)
    norms = example_norms(loss, params, *batch)
    is_long = norms > max_norm
    weights = stop_gradient(np.where(is_long, max_norm / np.where(is_long, norms, 1), 1))

    def weighted(params: Any) -> Any:
        losses = vmap(lambda *example: loss(params, *example))(*batch)
        return np.sum(losses * weights.astype(losses.dtype))

    return grad(weighted)(params), norms

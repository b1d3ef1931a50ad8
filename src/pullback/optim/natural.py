"""Natural gradient: steps measured by the change of the model's predictions, not of parameters.

The step solves ``(F + damping I) s = gradient`` with the Fisher matrix ``F``: by conjugate
gradients on products with it, or with its approximation by Kronecker products, a block for each
weight (K-FAC).

Sources:
    S. Amari (1998), "Natural Gradient Works Efficiently in Learning".
    J. Martens (2020), "New Insights and Perspectives on the Natural Gradient Method".
    J. Martens, R. Grosse (2015), "Optimizing Neural Networks with Kronecker-factored Approximate
    Curvature", ICML, sections 3 and 6.3.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.sparse.linalg import LinearOperator, cg

from pullback import tree
from pullback.optim.base import Optimizer, number
from pullback.optim.examples import swept
from pullback.transforms.derivatives import (
    as_leaves,
    grad,
    jvp,
    linearize,
    vjp,
)
from pullback.transforms.vmap import vmap

__all__ = ["KFACState", "kfac", "natural_gradient"]

Function = Callable[..., Any]


def natural_gradient(
    model: Function,
    loss: Function,
    learning_rate: float = 1.0,
    damping: float = 1e-3,
    max_iterations: int = 100,
    tol: float = 1e-6,
) -> Optimizer:
    """``params -= learning_rate * (F + damping I)^{-1} grads``, by conjugate gradients.

    ``F = J^T H J`` with the Jacobian ``J`` of ``model`` and the Hessian ``H`` of ``loss``: the
    Fisher matrix if ``loss`` is a negative log-likelihood in natural parameters (squared error,
    cross-entropy of scores), the Gauss-Newton matrix for any other convex one.

    Args:
        model: ``model(params, *batch)``, the predictions.
        loss: ``loss(predictions, *batch)``, a scalar.
        learning_rate, damping: not negative.
        max_iterations: of conjugate gradients, each of one product with ``F``.
        tol: relative size of the residual at which they end.

    Returns:
        An optimizer whose ``update(grads, state, params, *batch)`` also takes the batch; its state
        is the last solution, from which the next one starts. It runs SciPy, so it is not compiled.

    Raises:
        ArgumentError: if a number is out of range.

    >>> import numpy as np
    >>> import pullback as pb
    >>> x, y = np.array([[1.0, 2.0], [1.0, -1.0], [1.0, 5.0]]), np.array([5.0, -1.0, 11.0])
    >>> model = lambda w, x, y: x @ w
    >>> loss = lambda z, x, y: np.sum((z - y) ** 2) / 2
    >>> optimizer = pb.optim.natural_gradient(model, loss, damping=0.0)
    >>> w = np.zeros(2)
    >>> gradient = pb.grad(lambda w: loss(model(w, x, y), x, y))(w)
    >>> w, state = optimizer.update(gradient, optimizer.init(w), w, x, y)
    >>> w.round(6)  # one step solves a linear problem
    array([1., 2.])
    """
    learning_rate = number("learning_rate", learning_rate, 0, math.inf)
    damping = number("damping", damping, 0, math.inf)

    def init(params: Any) -> Any:
        return tree.map(np.zeros_like, params)

    def update(grads: Any, state: Any, params: Any, *batch: Any) -> tuple[Any, Any]:
        right, unravel = tree.ravel(grads)
        z, push = linearize(lambda p: model(p, *batch), params)
        _, pull = vjp(lambda p: model(p, *batch), params)
        slope = grad(lambda z: loss(z, *batch))

        def product(v: Any) -> Any:
            bent = jvp(slope, (z,), (push(unravel(v.astype(right.dtype, copy=False))),))[1]
            return tree.joined(pull(bent)[0]) + damping * v

        operator = LinearOperator((right.size, right.size), product, dtype=right.dtype)
        start = tree.joined(state)
        found, _ = cg(operator, right, start, rtol=tol, maxiter=max_iterations)
        step = unravel(np.asarray(found, right.dtype))
        return tree.map(lambda x, s: x - learning_rate * s, params, step), step

    return Optimizer(init, update)


@dataclasses.dataclass(frozen=True)
class KFACState:
    """Steps taken; for each parameter the running means of its Kronecker factors.

    ``inputs`` and ``outputs`` are ``E[x x^T]`` and ``E[d d^T]`` of a weight; of another parameter
    ``inputs`` is empty, and ``outputs`` the whole Fisher block.
    """

    step: Any
    inputs: Any
    outputs: Any


tree.dataclass(KFACState)


def kfac(
    loss: Function,
    learning_rate: float = 0.1,
    damping: float = 1e-3,
    decay: float = 0.95,
) -> Optimizer:
    """Natural gradient with a Kronecker product ``A (x) G`` for the Fisher block of each weight.

    ``step = (A + pi c I)^{-1} grads (G + c / pi I)^{-1}`` with ``c = sqrt(damping)``, for a weight
    ``(in, out)`` that multiplies inputs ``x`` from the right; ``A = E[x x^T]``, ``G = E[d d^T]``
    over the examples, ``d`` the derivative for ``x @ weight``, and ``pi`` the root of the ratio of
    the mean diagonals of ``A`` and ``G`` (Martens & Grosse 2015, section 6.3). Parameters that are
    no factor of a matrix product (biases, scales) have their whole block.

    Args:
        loss: ``loss(params, *example)``, the negative log-likelihood of a single example, whose
            targets are *drawn from the model*: with the targets of the data it is the empirical
            Fisher matrix, which is another one.
        learning_rate, damping: not negative.
        decay: of the running means, in ``[0, 1)``.

    Returns:
        An optimizer whose ``update(grads, state, params, *batch)`` also takes a batch with such
        targets. It can be compiled.

    Raises:
        ArgumentError: if a number is out of range.

    >>> import numpy as np
    >>> import pullback as pb
    >>> rng = np.random.default_rng(0)
    >>> x, w = rng.normal(size=(64, 3)) * [1.0, 10.0, 100.0], np.zeros((3, 2))
    >>> y = x @ np.ones((3, 2))
    >>> loss = lambda w, x, y: np.sum((x @ w - y) ** 2) / 2
    >>> optimizer = pb.optim.kfac(loss, learning_rate=1.0, damping=1e-8)
    >>> gradient = pb.grad(lambda w: np.mean(pb.vmap(loss, (None, 0, 0))(w, x, y)))(w)
    >>> drawn = x @ w + rng.normal(size=(64, 2))
    >>> w, state = optimizer.update(gradient, optimizer.init(w), w, x, drawn)
    >>> bool(np.ptp((w - 1) @ np.ones(2)) < 1)  # badly scaled inputs do no harm
    True
    """
    learning_rate = number("learning_rate", learning_rate, 0, math.inf)
    damping, decay = number("damping", damping, 0, math.inf), number("decay", decay, 0, 1)

    def init(params: Any) -> KFACState:
        def inner(x: Any) -> Any:
            return np.zeros((x.shape[0],) * 2 if np.ndim(x) == 2 else (0, 0), x.dtype)

        def outer(x: Any) -> Any:
            return np.zeros((x.shape[1] if np.ndim(x) == 2 else np.size(x),) * 2, x.dtype)

        return KFACState(np.zeros((), np.int64), tree.map(inner, params), tree.map(outer, params))

    def update(grads: Any, state: KFACState, params: Any, *batch: Any) -> tuple[Any, KFACState]:
        step = state.step + 1
        found = factors(loss, params, *batch)
        inner, outer = (
            tree.map(lambda old, new: decay * old + (1 - decay) * new, old, new)
            for old, new in zip((state.inputs, state.outputs), found, strict=True)
        )
        weight = 1 - decay**step  # the means start at 0

        def moved(x: Any, grad: Any, a: Any, b: Any) -> Any:
            scale = weight.astype(x.dtype)
            return x - learning_rate * solved(grad, a / scale, b / scale, damping)

        return tree.map(moved, params, grads, inner, outer), KFACState(step, inner, outer)

    return Optimizer(init, update)


def solved(grad: Any, inner: Any, outer: Any, damping: float) -> Any:
    """The gradient of one parameter times the inverse of its damped block."""
    if not np.size(inner):
        block = outer + damping * np.eye(len(outer), dtype=outer.dtype)
        return np.linalg.solve(block, np.reshape(grad, -1)).reshape(np.shape(grad))
    tiny = np.finfo(grad.dtype).tiny
    ratio = np.sqrt((np.trace(inner) / len(inner) + tiny) / (np.trace(outer) / len(outer) + tiny))
    root = math.sqrt(damping)
    left = inner + ratio * root * np.eye(len(inner), dtype=inner.dtype)
    right = outer + root / ratio * np.eye(len(outer), dtype=outer.dtype)
    return np.linalg.solve(right, np.linalg.solve(left, grad).T).T


def factors(loss: Function, params: Any, *batch: Any) -> tuple[Any, Any]:
    """Means over the examples of both Kronecker factors of each parameter's Fisher block."""
    leaves, structure = as_leaves(params, "params")

    def of_one(*example: Any) -> tuple[list[Any], list[Any]]:
        trace, run, formed = swept(loss, leaves, structure, example)
        pairs = [
            moments(ct, trace.pairs(leaf), leaf)
            for ct, leaf in zip(formed, run.inputs, strict=True)
        ]
        return [pair[0] for pair in pairs], [pair[1] for pair in pairs]

    inner, outer = vmap(of_one)(*batch)
    return (
        tree.unflatten(structure, [np.mean(x, axis=0) for x in inner]),
        tree.unflatten(structure, [np.mean(x, axis=0) for x in outer]),
    )


def moments(formed: Any, pairs: list[tuple[Any, Any]], leaf: Any) -> tuple[Any, Any]:
    """``x^T x`` (the mean of the rows) and ``d^T d`` of one example."""
    shape, dtype = leaf.shape, leaf.dtype
    if len(shape) == 2:
        if not pairs:  # no factor of a product: its rows count as outputs of their own
            flat = np.zeros(shape, dtype) if formed is None else formed
            return np.eye(shape[0], dtype=dtype), np.matmul(flat.T, flat) / shape[0]
        x = np.concatenate([np.reshape(a, (-1, shape[0])) for a, _ in pairs])
        d = np.concatenate([np.reshape(b, (-1, shape[1])) for _, b in pairs])
        return np.matmul(x.T, x) / len(x), np.matmul(d.T, d)
    flat = np.zeros(math.prod(shape), dtype) if formed is None else np.reshape(formed, -1)
    return np.zeros((0, 0), dtype), np.outer(flat, flat)

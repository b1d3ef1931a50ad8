"""Fresh initial weights for any function: drawn to suit the activations, or fitted to the data."""

from __future__ import annotations

from typing import Any

import numpy as np

from pullback import tree
from pullback.core.graph import Variable
from pullback.flow.problem import Problem, as_problem
from pullback.flow.recording import record
from pullback.flow.structure import Network, Weighted
from pullback.nn import init

__all__ = ["fresh", "lsuv", "redrawn", "reference_gain"]

ROWS = 256
LSUV_TOLERANCE = 0.1
LSUV_STEPS = 10
# Gains that keep signals at scale, by the activation that follows. For tanh and the sigmoid this is
# Xavier's choice; for the others the second moment of a unit normal is kept.
GAINS = {"relu": 2**0.5, "leaky_relu": 2**0.5, "elu": 1.245, "gelu": 1.5335, "silu": 1.6765}


def reference_gain(kind: str) -> float:
    """Standard deviation times sqrt(fan-in) for weights before an activation of this kind."""
    return GAINS.get(kind, 1.0)


def _network(problem: Problem) -> Network:
    rows = problem.sample(ROWS)
    with np.errstate(all="ignore"):
        return Network(record(problem.loss, problem.params, rows, root=problem.root))


def _weighted_leaves(network: Network) -> list[tuple[int, Weighted, str]]:
    """Position of the leaf, weighted step, and the activation that follows."""
    kinds = {a.before: a.kind for a in network.activations}
    order = {v: i for i, v in enumerate(network.run.leaves)}
    found, seen = [], set()
    for w in network.weighted:
        if w.weight not in seen:
            seen.add(w.weight)
            kind = "linear" if w.output is network.output else kinds.get(w.output, "linear")
            found.append((order[w.weight], w, kind))
    return found


def redrawn(problem: Problem, rng: np.random.Generator, scheme: str = "scaled") -> Any:
    """Parameters with new weights and biases of 0.

    Every array that multiplies a signal is drawn with a gain that suits the activation after it:
    ``"scaled"`` normal numbers, ``"orthogonal"`` orthonormal rows or columns. Other arrays of one
    axis that are added to signals become 0; what is left keeps its value.
    """
    network = _network(problem)
    leaves, structure = tree.flatten(problem.params)
    new = [np.array(leaf) for leaf in leaves]
    for at, w, kind in _weighted_leaves(network):
        gain = reference_gain(kind)
        if new[at].ndim > 2 and not w.is_conv:  # matrices, of which each step of a loop takes one
            parts = new[at].reshape(-1, *new[at].shape[-2:])
            drawn = np.stack([_draw(rng, part, gain, scheme) for part in parts])
            new[at] = drawn.reshape(new[at].shape)
        else:
            new[at] = _draw(rng, new[at], gain, scheme)
    for at in _biases(network):
        new[at] = np.zeros_like(new[at])
    return tree.unflatten(structure, new)


def _draw(rng: np.random.Generator, weight: Any, gain: float, scheme: str) -> Any:
    layout = "oi" + "hwdt"[: weight.ndim - 2] if weight.ndim > 2 else "io"
    shape = weight.shape if weight.ndim > 1 else (weight.size, 1)
    if scheme == "orthogonal":
        drawn = init.orthogonal(rng, shape, gain=gain, layout=layout, dtype=weight.dtype)
    else:
        drawn = init.lecun(rng, shape, gain=gain, layout=layout, dtype=weight.dtype)
    return drawn.reshape(weight.shape)


def _biases(network: Network) -> list[int]:
    """Leaves that are added to the result of a weighted step."""
    run = network.run
    order: dict[Any, int] = {v: i for i, v in enumerate(run.leaves)}
    found = []
    for w in network.weighted:
        for step in run.steps[w.at : w.end + 1]:
            if step.equation.primitive.name == "add":
                found += [order[v] for v in step.equation.inputs if v in order]
    return found


def fresh(problem: Problem, seed: int) -> Any:
    """Initial parameters of the problem for a seed.

    From ``problem.init`` if there is one. Otherwise seed 0 takes the parameters as they are, and
    other seeds shuffle the entries of each weight array: another draw of the same distribution.
    """
    rng = np.random.default_rng(seed)
    if problem.init is not None:
        return problem.init(rng)
    if seed == 0:
        return problem.params
    return tree.map(lambda leaf: _shuffled(np.array(leaf), rng), problem.params)


def _shuffled(leaf: Any, rng: np.random.Generator) -> Any:
    return rng.permuted(leaf.reshape(-1)).reshape(leaf.shape) if leaf.ndim > 1 else leaf


def lsuv(loss: Any, params: Any = None, *batch: Any, seed: int = 0, **options: Any) -> Any:
    """Initial parameters whose layers have outputs of variance 1 on the given rows.

    Layer-sequential unit variance (Mishkin & Matas 2016, algorithm 1): orthonormal weights, then,
    layer by layer from the first, each weight is divided by the standard deviation of its layer's
    output until ``abs(variance - 1) < 0.1``. Works on models and on plain functions: a layer is a
    matrix product or convolution of a signal with parameters.

    Args:
        loss, params, batch, options: as for :func:`pullback.flow.probe`.

    Returns:
        New parameters; biases are 0, other parameters as they were.

    >>> import numpy as np
    >>> import pullback as pb
    >>> def loss(p, x):
    ...     h = np.tanh(x @ p["w"])
    ...     return np.mean((h @ p["v"]) ** 2)
    >>> x = 30 * np.random.default_rng(0).normal(size=(50, 4))
    >>> p = pb.flow.lsuv(loss, {"w": np.ones((4, 4)), "v": np.ones((4, 1))}, x)
    >>> bool(abs(np.var(x @ p["w"]) - 1) < 0.1)
    True
    """
    problem = as_problem(loss, params, batch, options)
    rng = np.random.default_rng(seed)
    problem = problem.with_params(redrawn(problem, rng, "orthogonal"))
    n_layers = len(_weighted_leaves(_network(problem)))
    for layer in range(n_layers):
        for _ in range(LSUV_STEPS):
            network = _network(problem)
            at, w, _ = _weighted_leaves(network)[layer]
            variance = _variance(network, w.output)
            if not variance > 0 or abs(variance - 1) < LSUV_TOLERANCE:
                break
            leaves, structure = tree.flatten(problem.params)
            leaves[at] = (np.array(leaves[at]) / np.sqrt(variance)).astype(leaves[at].dtype)
            problem = problem.with_params(tree.unflatten(structure, leaves))
    return problem.params


def _variance(network: Network, output: Variable) -> float:
    return float(np.var(np.asarray(network.run.values[output], dtype=float)))

"""What an optimizer is: a first state, and one step."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pullback import tree
from pullback.errors import ArgumentError

__all__ = ["Mask", "Optimizer", "Rate", "leafwise", "number", "rate", "zeros_like"]

# A number, or a function of the number of steps before (see pullback.optim.schedules).
Rate = float | Callable[[Any], Any]
# Which parameters, by their paths, such as "layers[0].weight".
Mask = Callable[[str], bool]


@dataclasses.dataclass(frozen=True)
class Optimizer:
    """A pair of pure functions over containers of parameters.

    ``init(params)`` returns the first state. ``update(grads, state, params, learning_rate=None)``
    returns the new parameters and the new state, and changes none of its arguments; a learning rate
    that is passed takes the place of the optimizer's own in this step. Both are NumPy code, so that
    a whole training step can be differentiated and compiled, with the learning rate as an ordinary
    argument. Dtypes are those of the parameters.

    >>> import numpy as np
    >>> import pullback as pb
    >>> optimizer = pb.optim.sgd(0.25)
    >>> params = {"x": np.array([4.0, 2.0])}
    >>> state = optimizer.init(params)
    >>> gradient = pb.grad(lambda params: np.sum(params["x"] ** 2))
    >>> for _ in range(3):
    ...     params, state = optimizer.update(gradient(params), state, params)
    >>> params["x"]
    array([0.5 , 0.25])
    """

    init: Callable[[Any], Any]
    update: Callable[..., tuple[Any, Any]]


Start = Callable[[Any], Sequence[Any]]
Move = Callable[..., tuple[Any, Sequence[Any]]]


def leafwise(
    kind: Any,
    start: Start,
    move: Move,
    learning_rate: Rate,
    *,
    weight_decay: float = 0.0,
    decay_mask: Mask | None = None,
) -> Optimizer:
    """An optimizer that treats each array of parameters by itself.

    Args:
        kind: the dataclass of the state: ``step``, the number of steps taken, and then a field for
            each thing that is kept for every array.
        start: these things for an array, before the first step; ``None`` for one that is not kept.
        move: ``move(x, grad, kept, step, rate, path)`` returns the array after the step, and what
            is kept; ``step`` counts from 1.
        learning_rate: the optimizer's own.
        weight_decay: arrays shrink by ``rate * weight_decay`` times themselves in each step
            (Loshchilov & Hutter 2019, "Decoupled Weight Decay Regularization", algorithm 2).
        decay_mask: which arrays shrink; all unless given.
    """
    learning_rate = rate("learning_rate", learning_rate)
    weight_decay = number("weight_decay", weight_decay, 0, math.inf)
    names = [field.name for field in dataclasses.fields(kind) if field.name != "step"]

    def pack(structure: tree.TreeDef, step: Any, kept: Sequence[Sequence[Any]]) -> Any:
        columns = zip(*kept, strict=True) if kept else [()] * len(names)
        fields = (
            None if any(x is None for x in column) else tree.unflatten(structure, list(column))
            for column in columns
        )
        return kind(**dict(zip(names, fields, strict=True)), step=step)

    def init(params: Any) -> Any:
        leaves, structure = tree.flatten(params)
        return pack(structure, np.zeros((), np.int64), [start(leaf) for leaf in leaves])

    def update(
        grads: Any, state: Any, params: Any, learning_rate: Any = learning_rate
    ) -> tuple[Any, Any]:
        if not isinstance(state, kind):
            raise ArgumentError(
                f"update: the state is a {type(state).__name__}, not a {kind.__name__}",
                fix="call update(grads, state, params), in this order, with the state from init",
            )
        leaves, structure = tree.flatten(params)
        slopes = tree.leaves(tree.map(lambda _, slope: slope, params, grads))
        kept = [tree.leaves(getattr(state, name)) or [None] * len(leaves) for name in names]
        value = learning_rate(state.step) if callable(learning_rate) else learning_rate
        step, moved = state.step + 1, []
        for path, x, slope, *own in zip(tree.paths(params), leaves, slopes, *kept, strict=True):
            step_size = value.astype(x.dtype) if hasattr(value, "dtype") else value
            path = path.lstrip(".")
            new, kept_next = move(x, slope, own, step, step_size, path)
            if weight_decay and (decay_mask is None or decay_mask(path)):
                new = new - step_size * weight_decay * x
            moved.append((new, kept_next))
        params = tree.unflatten(structure, [x for x, _ in moved])
        return params, pack(structure, step, [own for _, own in moved])

    return Optimizer(init, update)


def zeros_like(params: Any) -> Any:
    """A container of zeros with the shapes and dtypes of ``params``."""
    return tree.map(np.zeros_like, params)


def rate(name: str, value: Rate) -> Rate:
    """A learning rate: a number that is not negative, or a schedule."""
    return value if callable(value) else number(name, value, 0, math.inf)


def number(name: str, value: float, low: float, high: float) -> float:
    """A hyperparameter with ``low <= value < high``, as a float that widens no float32 array."""
    # Not "value < low": NaN must not pass.
    if not low <= value < high:
        interval = f"at least {low:g}" + ("" if high == float("inf") else f" and below {high:g}")
        raise ArgumentError(f"{name} is {value}", fix=f"choose a number that is {interval}")
    return float(value)

"""Around an optimizer: accumulation of gradients, running means of parameters, a stateful shell."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from pullback import tree
from pullback.control.cond import cond
from pullback.errors import ArgumentError
from pullback.optim.base import Optimizer, number, zeros_like

__all__ = ["AccumulatedState", "Stateful", "accumulated", "moved_average"]


@dataclasses.dataclass(frozen=True)
class AccumulatedState:
    """State of the optimizer inside, the sum of gradients since its last step, and their number."""

    inner: Any
    total: Any
    count: Any


tree.dataclass(AccumulatedState)


def accumulated(optimizer: Optimizer, every: int) -> Optimizer:
    """A step of ``optimizer`` with the mean of each ``every`` gradients in a row.

    The parameters stay in between. For batches that do not fit into memory: it equals a step with
    the joined batch, if the loss is a mean and the parts are equally large.

    Raises:
        ArgumentError: if ``every`` is less than 1.

    >>> import numpy as np
    >>> from pullback import optim
    >>> optimizer, params = optim.accumulated(optim.sgd(1.0), 2), np.array([0.0])
    >>> state = optimizer.init(params)
    >>> for grad in (1.0, 3.0, 100.0):
    ...     params, state = optimizer.update(np.array([grad]), state, params)
    ...     print(params)
    [0.]
    [-2.]
    [-2.]
    """
    if every < 1:
        raise ArgumentError(f"accumulated: every is {every}", fix="choose a number from 1 on")

    def init(params: Any) -> AccumulatedState:
        zero = np.zeros((), np.int64)
        return AccumulatedState(optimizer.init(params), zeros_like(params), zero)

    def update(grads: Any, state: Any, params: Any, learning_rate: Any = None) -> Any:
        rate = () if learning_rate is None else (learning_rate,)
        total, count = tree.map(np.add, state.total, grads), state.count + 1

        def apply(params: Any, inner: Any, total: Any, *rate: Any) -> Any:
            mean = tree.map(lambda x: x / every, total)
            params, inner = optimizer.update(mean, inner, params, *rate)
            return params, inner, zeros_like(total)

        def keep(params: Any, inner: Any, total: Any, *_: Any) -> Any:
            return params, inner, total

        operands = params, state.inner, total, *rate
        params, inner, total = cond(count == every, apply, keep, *operands)
        return params, AccumulatedState(inner, total, count % every)

    return Optimizer(init, update)


def moved_average(average: Any, params: Any, decay: float) -> Any:
    """``decay * average + (1 - decay) * params``: a running mean of parameters over the steps.

    Start with ``average = params``. Averaged weights often score better than the last ones.

    Source: Polyak & Juditsky (1992), "Acceleration of Stochastic Approximation by Averaging",
    doi:10.1137/0330046; with exponential weights.

    Raises:
        ArgumentError: if ``decay`` is not in ``[0, 1)``.

    >>> import numpy as np
    >>> from pullback import optim
    >>> optim.moved_average({"w": np.array([4.0])}, {"w": np.array([8.0])}, 0.75)
    {'w': array([5.])}
    """
    decay = number("decay", decay, 0, 1)
    return tree.map(lambda mean, x: decay * mean + (1 - decay) * x, average, params)


class Stateful:
    """Parameters and the state of their optimizer, for loops that change them in place.

    Args:
        optimizer: a pair of pure functions.
        params: before the first step.

    >>> import numpy as np
    >>> import pullback as pb
    >>> fit = pb.optim.Stateful(pb.optim.sgd(0.25), {"x": np.array([4.0])})
    >>> for _ in range(3):
    ...     fit.step(pb.grad(lambda params: np.sum(params["x"] ** 2))(fit.params))
    >>> fit.params["x"]
    array([0.5])
    """

    def __init__(self, optimizer: Optimizer, params: Any) -> None:
        self.optimizer = optimizer
        self.params = params
        self.state = optimizer.init(params)

    def step(self, grads: Any, learning_rate: Any = None) -> None:
        """Take one step; a learning rate that is passed holds for this step only."""
        rate = () if learning_rate is None else (learning_rate,)
        self.params, self.state = self.optimizer.update(grads, self.state, self.params, *rate)

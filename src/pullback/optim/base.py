"""What an optimizer is: a first state, and one step."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from pullback import tree
from pullback.errors import ArgumentError

__all__ = ["Optimizer", "number", "zeros_like"]


@dataclasses.dataclass(frozen=True)
class Optimizer:
    """A pair of pure functions over containers of parameters.

    ``init(params)`` returns the first state. ``update(grads, state, params)`` returns the new
    parameters and the new state, and changes none of its arguments. Both are NumPy code, so that a
    whole training step can be differentiated and compiled. Dtypes are those of the parameters.

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
    update: Callable[[Any, Any, Any], tuple[Any, Any]]


def zeros_like(params: Any) -> Any:
    """A container of zeros with the shapes and dtypes of ``params``."""
    return tree.map(np.zeros_like, params)


def number(name: str, value: float, low: float, high: float) -> float:
    """A hyperparameter with ``low <= value < high``, as a float that widens no float32 array."""
    # Not "value < low": NaN must not pass.
    if not low <= value < high:
        interval = f"at least {low:g}" + ("" if high == float("inf") else f" and below {high:g}")
        raise ArgumentError(f"{name} is {value}", fix=f"choose a number that is {interval}")
    return float(value)

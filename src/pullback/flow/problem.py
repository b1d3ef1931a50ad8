"""A training problem: what is trained, on what, and how. Probes, verdicts and remedies share it."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pullback import tree
from pullback.errors import ArgumentError
from pullback.optim import Optimizer, sgd

__all__ = ["Problem", "as_problem"]

DEFAULT_STEPS = 60


@dataclass(frozen=True)
class Problem:
    """A loss, parameters and data, and the recipe they are trained with.

    Args:
        loss: ``loss(params, *batch)``, a scalar.
        params: a model or a container of float arrays: the present state.
        batch: the data: arrays with one row per example, inputs first, targets last.
        learning_rate: of the recipe; without one nothing about the step size is said.
        optimizer: a function of the learning rate, such as ``pullback.optim.adam``.
        n_steps: how many steps the recipe takes; without one nothing is said about their number.
        batch_size: rows per step; ``None`` takes all rows in every step.
        shuffles: whether the recipe draws rows in random order.
        init: a function of a ``numpy.random.Generator`` that makes fresh parameters; lets
            remedies start from several initial weights.
        name: what reports call it.
    """

    loss: Callable[..., Any]
    params: Any
    batch: tuple[Any, ...]
    learning_rate: float | None = None
    optimizer: Callable[[float], Optimizer] = sgd
    n_steps: int | None = None
    batch_size: int | None = None
    shuffles: bool = True
    init: Callable[[np.random.Generator], Any] | None = None
    name: str = ""

    def __post_init__(self) -> None:
        if not callable(self.loss):
            raise ArgumentError(
                f"flow: the loss is a {type(self.loss).__name__}, not a function",
                fix="pass loss(params, *batch) first, then params, then the data",
            )
        if not any(hasattr(leaf, "dtype") for leaf in tree.leaves(self.params)):
            raise ArgumentError(
                f"flow: params is a {type(self.params).__name__} without arrays",
                fix="pass the model or a container of float arrays second: (loss, params, x, y)",
            )
        for name in ("n_steps", "batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ArgumentError(f"flow: {name} is {value}", fix="choose a number from 1 on")
        if self.learning_rate is not None and not self.learning_rate > 0:
            raise ArgumentError(
                f"flow: learning_rate is {self.learning_rate}", fix="choose a positive number"
            )

    @property
    def root(self) -> str:
        """The name of the parameters in the user's loss."""
        try:
            names = list(inspect.signature(self.loss).parameters)
        except (TypeError, ValueError):  # builtins may have no signature
            return "params"
        return names[0] if names else "params"

    @property
    def title(self) -> str:
        name: str = self.name or getattr(self.loss, "__name__", "loss")
        return name

    @property
    def n_rows(self) -> int:
        """Rows that all arrays of the data share; 0 if they share none."""
        sizes = {np.shape(part)[0] for part in self.batch if np.ndim(part)}
        return sizes.pop() if len(sizes) == 1 else 0

    def rows(self, index: Any) -> tuple[Any, ...]:
        """The batch of the given rows."""
        if not self.n_rows:
            return self.batch
        return tuple(part[index] if np.ndim(part) else part for part in self.batch)

    def sample(self, n: int, seed: int = 0) -> tuple[Any, ...]:
        """At most ``n`` rows, drawn without replacement and kept in order."""
        if self.n_rows <= n:
            return self.batch
        rng = np.random.default_rng(seed)
        return self.rows(np.sort(rng.choice(self.n_rows, n, replace=False)))

    def with_params(self, params: Any) -> Problem:
        return dataclasses.replace(self, params=params)

    def n_parameters(self) -> int:
        return sum(int(np.size(leaf)) for leaf in tree.leaves(self.params))


def as_problem(
    loss: Callable[..., Any] | Problem, params: Any, batch: Sequence[Any], options: dict[str, Any]
) -> Problem:
    """A problem from the arguments of the functions that users call."""
    if isinstance(loss, Problem):
        return dataclasses.replace(loss, **options) if options else loss
    known = {field.name for field in dataclasses.fields(Problem)}
    unknown = sorted(set(options) - known)
    if unknown:
        raise ArgumentError(
            f"flow: unknown option {unknown[0]!r}",
            fix=f"use one of {', '.join(sorted(known - {'loss', 'params', 'batch'}))}",
        )
    if not batch:
        raise ArgumentError(
            "flow: no data was passed", fix="call it as (loss, params, inputs, targets)"
        )
    return Problem(loss, params, tuple(batch), **options)

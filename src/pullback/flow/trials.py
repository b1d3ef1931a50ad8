"""Short training runs on the same data and in the same order of rows."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from pullback import tree
from pullback.flow.problem import DEFAULT_STEPS, Problem
from pullback.optim import Optimizer, clip_by_global_norm, global_norm
from pullback.transforms.derivatives import value_and_grad

__all__ = ["Recipe", "Trial", "batches", "train"]


@dataclass(frozen=True)
class Recipe:
    """How a trial trains, where it differs from the problem.

    Attributes:
        learning_rate: of the optimizer.
        warm_up: steps over which the learning rate grows to its value; 0 for none.
        clip: longest allowed gradient; ``None`` for no limit.
        n_steps: how many.
    """

    learning_rate: float
    n_steps: int
    warm_up: int = 0
    clip: float | None = None


@dataclass(frozen=True)
class Trial:
    """What happened in a short run.

    Attributes:
        first, last: loss on the probed rows before and after.
        losses: of the batches, step by step; shorter if the run stopped at a NaN or infinity.
        norms: of the gradients.
        clipped: share of the steps that were clipped.
        is_finite: whether it ended with finite numbers.
    """

    first: float
    last: float
    losses: tuple[float, ...]
    norms: tuple[float, ...]
    clipped: float
    is_finite: bool
    params: Any = dataclasses.field(repr=False, compare=False, default=None)

    @property
    def score(self) -> float:
        """The loss at the end, infinity if it is not finite."""
        return self.last if self.is_finite and math.isfinite(self.last) else math.inf


def batches(problem: Problem, n_steps: int, seed: int) -> Iterator[tuple[Any, ...]]:
    """The batches of a run: rows in the problem's order, or shuffled anew in each epoch."""
    n, size = problem.n_rows, problem.batch_size
    if not n or size is None or size >= n:
        for _ in range(n_steps):
            yield problem.batch
        return
    rng = np.random.default_rng(seed)
    order = np.arange(n)
    at = n
    for _ in range(n_steps):
        if at + size > n:
            at = 0
            if problem.shuffles:
                order = rng.permutation(n)
        yield problem.rows(order[at : at + size])
        at += size


def train(
    problem: Problem,
    recipe: Recipe,
    *,
    seed: int = 0,
    loss: Callable[..., Any] | None = None,
    params: Any = None,
) -> Trial:
    """Train from ``problem.params`` (or ``params``) and measure the loss on all rows before and
    after. The optimizer is the problem's.
    """
    loss = loss or problem.loss
    params = problem.params if params is None else params
    params = tree.map(lambda leaf: np.array(leaf), params)
    both = value_and_grad(loss)
    full = problem.sample(512)
    losses: list[float] = []
    norms: list[float] = []
    n_clipped = 0
    with np.errstate(all="ignore"):
        first = float(loss(params, *full))
        optimizer = problem.optimizer(recipe.learning_rate)
        state = optimizer.init(params)
        for step, batch in enumerate(batches(problem, recipe.n_steps, seed)):
            value, grads = both(params, *batch)
            norm = float(global_norm(grads))
            losses.append(float(value))
            norms.append(norm)
            if not (math.isfinite(losses[-1]) and math.isfinite(norm)):
                break
            if recipe.clip is not None and norm > recipe.clip:
                grads = clip_by_global_norm(grads, recipe.clip)
                n_clipped += 1
            step_optimizer = warmed(problem, recipe, step, optimizer)
            params, state = step_optimizer.update(grads, state, params)
        last = float(loss(params, *full))
    is_finite = math.isfinite(last) and len(losses) == recipe.n_steps
    return Trial(
        first, last, tuple(losses), tuple(norms), n_clipped / max(len(losses), 1), is_finite, params
    )


def warmed(problem: Problem, recipe: Recipe, step: int, optimizer: Optimizer) -> Optimizer:
    """The optimizer of a step: with a smaller learning rate while warming up."""
    if step >= recipe.warm_up:
        return optimizer
    return problem.optimizer(recipe.learning_rate * (step + 1) / (recipe.warm_up + 1))


def trial_steps(problem: Problem, most: int = 200) -> int:
    """How many steps a trial of the problem takes."""
    return min(problem.n_steps or DEFAULT_STEPS, most)

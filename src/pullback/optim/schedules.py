"""Learning rates over time, as values: functions of the number of steps taken before.

Each is NumPy code. Give one to an optimizer as its ``learning_rate``, or call it in your loop and
pass its value to ``update``: the step is compiled once either way.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from pullback import tree
from pullback.errors import ArgumentError
from pullback.optim.base import number

__all__ = ["Plateau", "cosine", "exponential", "one_cycle", "step_decay", "warm_up"]

Schedule = Callable[[Any], Any]


def cosine(rate: float, steps: int, *, floor: float = 0.0, warm_up: int = 0) -> Schedule:
    """Half a wave of a cosine from ``rate`` down to ``floor`` in ``steps``, and ``floor`` then.

    Args:
        rate: at the top, not negative.
        steps: until ``floor``, those of the warm-up included.
        floor: not negative.
        warm_up: first the rate rises in a line for so many steps.

    Source: Loshchilov & Hutter (2017), "SGDR: Stochastic Gradient Descent with Warm Restarts",
    eq. 5.

    >>> from pullback import optim
    >>> schedule = optim.cosine(1.0, 10)
    >>> [round(float(schedule(step)), 4) for step in (0, 5, 10, 20)]
    [1.0, 0.5, 0.0, 0.0]
    """
    rate, floor = number("rate", rate, 0, math.inf), number("floor", floor, 0, math.inf)
    steps = _steps("steps", steps, warm_up + 1)

    def schedule(step: Any) -> Any:
        share = np.clip((step - warm_up) / (steps - warm_up), 0, 1)
        falling = floor + (rate - floor) * 0.5 * (1 + np.cos(np.pi * share))
        return (
            falling
            if not warm_up
            else np.where(step < warm_up, _rise(rate, warm_up, step), falling)
        )

    return schedule


def warm_up(schedule: Schedule | float, steps: int) -> Schedule:
    """Rise in a line to what ``schedule`` starts with, in ``steps``, then follow it.

    >>> from pullback import optim
    >>> schedule = optim.warm_up(0.5, 5)
    >>> [round(float(schedule(step)), 4) for step in (0, 3, 4, 100)]
    [0.1, 0.4, 0.5, 0.5]
    """
    follow = schedule if callable(schedule) else lambda step: schedule + 0.0 * step
    steps = _steps("steps", steps, 1)
    return lambda step: np.where(
        step < steps, _rise(follow(0), steps, step), follow(np.maximum(step - steps, 0))
    )


def _rise(rate: Any, steps: int, step: Any) -> Any:
    return rate * (step + 1) / steps


def one_cycle(
    rate: float,
    steps: int,
    *,
    rising: float = 0.3,
    start_divisor: float = 25.0,
    end_divisor: float = 1e4,
) -> Schedule:
    """Up to ``rate`` and down again, both as half a wave of a cosine.

    Args:
        rate: at the top.
        steps: of the whole cycle.
        rising: share of the steps on the way up.
        start_divisor: it starts at ``rate / start_divisor``.
        end_divisor: and ends at the start divided by this.

    Source: Smith & Topin (2018), "Super-Convergence: Very Fast Training of Neural Networks Using
    Large Learning Rates"; the form is PyTorch's ``OneCycleLR``.

    >>> from pullback import optim
    >>> schedule = optim.one_cycle(1.0, 11, rising=0.5)
    >>> [round(float(schedule(step)), 4) for step in (0, 4, 5, 10)]
    [0.04, 0.9711, 0.9797, 0.0]
    """
    rate = number("rate", rate, 0, math.inf)
    steps = _steps("steps", steps, 2)
    top = number("rising", rising, 0, 1) * steps - 1
    start = rate / start_divisor
    end = start / end_divisor

    def wave(a: float, b: float, share: Any) -> Any:
        return b + (a - b) / 2 * (1 + np.cos(np.pi * np.clip(share, 0, 1)))

    def schedule(step: Any) -> Any:
        up = wave(start, rate, step / max(top, 1e-9))
        return np.where(step <= top, up, wave(rate, end, (step - top) / (steps - 1 - top)))

    return schedule


def step_decay(rate: float, every: int, factor: float = 0.1) -> Schedule:
    """``rate * factor ** (step // every)``.

    >>> from pullback import optim
    >>> schedule = optim.step_decay(1.0, 10, 0.5)
    >>> [float(schedule(step)) for step in (0, 9, 10, 20)]
    [1.0, 1.0, 0.5, 0.25]
    """
    rate, factor = number("rate", rate, 0, math.inf), number("factor", factor, 0, math.inf)
    every = _steps("every", every, 1)
    return lambda step: rate * np.power(factor, step // every)


def exponential(rate: float, factor: float) -> Schedule:
    """``rate * factor**step``.

    >>> from pullback import optim
    >>> float(optim.exponential(1.0, 0.5)(3))
    0.125
    """
    rate, factor = number("rate", rate, 0, math.inf), number("factor", factor, 0, math.inf)
    return lambda step: rate * np.power(factor, step)


def _steps(name: str, value: int, least: int) -> int:
    if value < least:
        raise ArgumentError(f"{name} is {value}", fix=f"choose a whole number from {least} on")
    return int(value)


@dataclasses.dataclass(frozen=True)
class Plateau:
    """A rate that falls when a value stops falling; ``update`` returns the next one.

    Args:
        rate: now; pass it to the optimizer's ``update``.
        factor: the rate falls to this share of itself, in ``(0, 1)``.
        patience: so many values in a row may be no better before it falls.
        threshold: a value is better if it is below ``(1 - threshold)`` times the best.
        best: value so far.
        waited: values in a row that were no better.

    >>> from pullback import optim
    >>> schedule = optim.Plateau(1.0, factor=0.5, patience=1)
    >>> for value in (3.0, 2.0, 2.0, 2.0):
    ...     schedule = schedule.update(value)
    >>> float(schedule.rate)
    0.5
    """

    rate: Any
    factor: float = 0.1
    patience: int = 10
    threshold: float = 1e-4
    best: Any = math.inf
    waited: Any = 0

    def update(self, value: Any) -> Plateau:
        """The schedule after it has seen ``value``."""
        is_better = value < self.best * (1 - self.threshold)
        waited = np.where(is_better, 0, self.waited + 1)
        is_late = waited > self.patience
        return dataclasses.replace(
            self,
            rate=self.rate * np.where(is_late, self.factor, 1.0),
            best=np.where(is_better, value, self.best),
            waited=np.where(is_late, 0, waited),
        )


tree.dataclass(Plateau, ("factor", "patience", "threshold"))

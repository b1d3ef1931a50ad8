"""Dropout: noise in training that is gone afterwards."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from pullback import tree
from pullback.core.source import here
from pullback.errors import ArgumentError

__all__ = ["Dropout", "dropout"]


def dropout(x: Any, rate: float, rng: Any) -> Any:
    """``x / (1 - rate)`` where a draw keeps the entry, 0 elsewhere: the mean stays that of ``x``.

    Args:
        x: any shape.
        rate: share of entries that become 0, in ``[0, 1)``.
        rng: a generator of :mod:`pullback.random`, or of NumPy outside of compiled functions; one
            draw per entry.

    Raises:
        ArgumentError: if ``rate`` is out of range, or ``rng`` is ``None``.

    Source: Srivastava et al. (2014), "Dropout: A Simple Way to Prevent Neural Networks from
    Overfitting", section 4, scaled in training instead of in use (section 10).

    >>> import numpy as np
    >>> import pullback as pb
    >>> pb.nn.dropout(np.ones(6), 0.5, pb.random.default_rng(1))
    array([0., 0., 0., 2., 0., 0.])
    """
    rate = _rate(rate)
    if rate == 0:
        return x
    if rng is None:
        raise ArgumentError(
            "dropout: there is no generator to draw from",
            where=str(here()),
            fix="pass one: net.train(x, rng) with rng = pullback.random.default_rng(seed)",
        )
    is_kept = rng.random(np.shape(x), dtype=np.float32) >= np.float32(rate)
    return np.where(is_kept, x * (1 / (1 - rate)), 0)


def _rate(rate: float) -> float:
    if not 0 <= rate < 1:
        raise ArgumentError(f"dropout: the rate is {rate}", fix="choose a number in [0, 1)")
    return float(rate)


@dataclasses.dataclass
class Dropout:
    """:func:`dropout` in training; nothing otherwise.

    Args:
        rate: share of entries that become 0, in ``[0, 1)``.

    Raises:
        ArgumentError: if ``rate`` is out of range; from :meth:`train`, without a generator.

    >>> import numpy as np
    >>> import pullback as pb
    >>> layer = pb.nn.Dropout(0.5)
    >>> layer(np.ones(3))
    array([1., 1., 1.])
    >>> layer.train(np.ones(6), pb.random.default_rng(1))[0]
    array([0., 0., 0., 2., 0., 0.])
    """

    rate: float

    def __post_init__(self) -> None:
        _rate(self.rate)

    def __call__(self, x: Any) -> Any:
        return x

    def train(self, x: Any, rng: Any = None) -> tuple[Any, Dropout]:
        """The entries that a draw keeps, and this layer."""
        return dropout(x, self.rate, rng), self


tree.dataclass(Dropout, ("rate",))

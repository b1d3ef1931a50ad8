"""Which states of a long loop to keep, and in which order to run it backward.

A *schedule* is a list of actions on states. Counts are of *advances*: steps that are run forward
only to get further. Each step is run once more with its tape when its turn to go backward comes, so
that a loop of ``l`` steps runs ``advances + l`` steps forward.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from math import comb
from typing import Any, Final, Literal, NamedTuple

import numpy as np

__all__ = [
    "MOST_MIXED",
    "Action",
    "advances",
    "kept_apart",
    "mixed_forwards",
    "mixed_schedule",
    "repetitions",
    "revolve",
    "revolve_between",
]

MOST_MIXED: Final = 4000  # steps: a table of more takes seconds

Kind = Literal["advance", "keep", "restore", "drop", "tape", "pull"]


class Action(NamedTuple):
    """``advance`` from ``step`` to ``stop``; ``keep`` the state at ``step``, ``restore`` or
    ``drop`` it; run ``step`` with its ``tape``; ``pull`` a cotangent through the tape of ``step``.
    """

    kind: Kind
    step: int
    stop: int = 0


def repetitions(length: int, slots: int) -> int:
    """The least ``r`` so that ``slots`` states are enough to run no step more than ``r`` times.

    ``binomial(slots + r, slots) >= length``: A. Griewank, A. Walther (2000), *Algorithm 799:
    Revolve*, ACM Transactions on Mathematical Software 26, theorem 1.
    """
    r = 0
    while comb(slots + r, slots) < length:
        r += 1
    return r


def advances(length: int, slots: int) -> int:
    """The least number of advances to run ``length`` steps backward with ``slots`` states.

    ``r l - binomial(slots + r, slots + 1)`` with the ``r`` of :func:`repetitions`; the first state
    takes one of the slots.

    >>> advances(100, 5), advances(10**6, 20)
    (316, 6815960)
    """
    r = repetitions(length, slots)
    return r * length - comb(slots + r, slots + 1)


def _split(length: int, slots: int) -> int:
    """How far to advance before the next state is kept; any number in a range is optimal."""
    r = repetitions(length, slots)
    return min(comb(slots + r - 1, slots), length - comb(slots + r - 2, slots - 1))


def revolve(length: int, slots: int, first: int = 0) -> Iterator[Action]:
    """The binomial schedule for steps ``first`` to ``first + length - 1``.

    The state at ``first`` is kept already, in one of the slots.
    """
    waiting: list[tuple[int, int, int] | Action] = [(first, length, slots)]
    while waiting:
        part = waiting.pop()
        if isinstance(part, Action):
            yield part
            continue
        start, n, free = part
        if n == 1:
            yield Action("restore", start)
            yield Action("tape", start)
            yield Action("pull", start)
            continue
        if free == 1:
            for step in range(start + n - 1, start - 1, -1):
                yield Action("restore", start)
                if step > start:
                    yield Action("advance", start, step)
                yield Action("tape", step)
                yield Action("pull", step)
            continue
        middle = start + _split(n, free)
        yield Action("restore", start)
        yield Action("advance", start, middle)
        yield Action("keep", middle)
        waiting.append((start, middle - start, free))
        waiting.append(Action("drop", middle))
        waiting.append((middle, start + n - middle, free - 1))


def revolve_between(starts: Sequence[int], length: int, slots: int) -> Iterator[Action]:
    """The binomial schedule for each part between states that are kept already, the last first.

    ``starts`` begins with 0. A part has the slots of what is not kept before it; at least one.
    """
    stops = [*starts[1:], length]
    for k in range(len(starts) - 1, -1, -1):
        yield from revolve(stops[k] - starts[k], max(1, slots - k), starts[k])


def kept_apart(kept: dict[int, Any], step: int, distance: int, slots: int) -> int:
    """Make room for a state at ``step``: drop every second one, and double the distance.

    Returns the distance from now on; a step that is no multiple of it is not kept.
    """
    while len(kept) >= slots and step % distance == 0:
        distance *= 2
        for i in [i for i in kept if i % distance]:
            del kept[i]
    return distance


class _Mixed:
    """Least forward steps for ``n`` steps with ``s`` slots for states or tapes, by dynamic
    programming; ``choice`` is 0 where the first step's tape is kept, else how far to advance.
    """

    def __init__(self, length: int, slots: int, tape: int) -> None:
        self.tape = tape
        unknown = np.iinfo(np.int64).max // 4
        self.best = np.full((slots + 1, length + 1), unknown)
        self.choice = np.zeros((slots + 1, length + 1), np.int64)
        self.best[:, 1] = 1
        n = np.arange(length + 1)
        for s in range(1, slots + 1):
            best, fewer = self.best[s], self.best[s - 1]
            for k in range(2, length + 1):
                ways = n[1:k] + best[1:k] + fewer[k - 1 : 0 : -1]  # keep the state after so many
                i = int(ways.argmin())
                best[k], self.choice[s, k] = ways[i], i + 1
                taped = 1 + self.best[s - tape, k - 1] if s >= tape else unknown
                if taped <= best[k]:
                    best[k], self.choice[s, k] = taped, 0


@lru_cache(maxsize=8)
def _mixed(length: int, slots: int, tape: int) -> _Mixed:
    return _Mixed(length, slots, tape)


def mixed_forwards(length: int, slots: int, tape: int = 1) -> int:
    """The least number of forward steps, taped ones included, if tapes can be kept, too.

    Each of ``slots`` holds a state, and ``tape`` of them a tape; the present state is held besides.
    J. R. Maddison (2024), *Step-based checkpointing with high-level algorithmic differentiation*,
    Journal of Computational Science 82, section 4.

    >>> mixed_forwards(100, 5), advances(100, 5) + 100
    (352, 416)
    """
    return int(_mixed(length, slots, tape).best[slots, length])


def mixed_schedule(length: int, slots: int, tape: int = 1) -> Iterator[Action]:
    """The schedule with as many forward steps as :func:`mixed_forwards` says."""
    table = _mixed(length, slots, tape)
    waiting: list[tuple[int, int, int] | Action] = [(0, length, slots)]
    while waiting:
        part = waiting.pop()
        if isinstance(part, Action):
            yield part
            continue
        start, n, free = part  # the present state is that of ``start``
        ahead = int(table.choice[free, n])
        if n == 1 or ahead == 0:
            yield Action("tape", start)
            waiting.append(Action("pull", start))
            if n > 1:
                waiting.append((start + 1, n - 1, free - table.tape))
            continue
        middle = start + ahead
        yield Action("keep", start)
        yield Action("advance", start, middle)
        waiting.append((start, ahead, free))
        waiting.append(Action("drop", start))
        waiting.append(Action("restore", start))
        waiting.append((middle, n - ahead, free - 1))

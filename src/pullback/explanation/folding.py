"""Rows that repeat, such as the layers of a deep network, told once with their count.

Algorithm: rows are equal up to numbers in their names; from each row on, the shortest period with
at least three repetitions is folded. Cost: rows times longest period. Known limits: a repetition
whose parts differ in more than numbers (a wider layer) begins anew.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pullback.explanation.rows import Row

__all__ = ["Fold", "folded"]

LONGEST = 40  # rows of a period
LEAST = 8  # repetitions: fewer are shown
NUMBER = re.compile(r"#\d+|\[\d+\]|\b(d?[a-z])\d+\b")


@dataclass(frozen=True)
class Fold:
    """Repetitions between the first and the last, which are shown."""

    rows: tuple[Row, ...]
    period: int

    @property
    def times(self) -> int:
        return len(self.rows) // self.period

    def __str__(self) -> str:
        above = "the row above" if self.period == 1 else f"the {self.period} rows above"
        return f"{self.times} times more: {above}"


def folded(rows: Sequence[Row]) -> list[Row | Fold]:
    """``rows`` with a :class:`Fold` in the place of the inner repetitions."""
    keys = [signature(row) for row in rows]
    result: list[Row | Fold] = []
    at = 0
    while at < len(rows):
        period, times = _repetition(keys, at)
        if times < LEAST:
            result.append(rows[at])
            at += 1
            continue
        inner, end = at + period, at + (times - 1) * period
        result += rows[at:inner]
        result.append(Fold(tuple(rows[inner:end]), period))
        result += rows[end : end + period]
        at = end + period
    return result


def signature(row: Row) -> tuple[object, ...]:
    """What rows that repeat have in common."""
    return (
        NUMBER.sub(r"\1", row.name),
        NUMBER.sub(r"\1", row.formula),
        row.type,
        row.lines,
    )


def _repetition(keys: Sequence[object], at: int) -> tuple[int, int]:
    """Shortest period from ``at`` on that repeats often enough, and how often."""
    for period in range(1, min(LONGEST, (len(keys) - at) // LEAST) + 1):
        block = keys[at : at + period]
        times = 1
        while keys[at + times * period : at + (times + 1) * period] == block:
            times += 1
        if times >= LEAST:
            return period, times
    return 0, 0

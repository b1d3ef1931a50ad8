"""Interleaved timing: the machine's moods hit all candidates alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any


def interleaved(
    candidates: Mapping[str, Callable[[], Any]],
    rounds: int,
    repeats: int = 1,
    summary: Callable[[list[float]], float] = statistics.median,
) -> dict[str, float]:
    """Seconds of one call of each candidate, called in turn, ``repeats`` at a time."""
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds + 1):
        for name, call in candidates.items():
            start = time.perf_counter()
            for _ in range(repeats):
                call()
            times[name].append((time.perf_counter() - start) / repeats)
    return {name: summary(ts[1:]) for name, ts in times.items()}  # the first warms up


def show(headings: list[str], rows: list[list[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
    for line in (headings, ["-" * width for width in widths], *rows):
        print("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)))

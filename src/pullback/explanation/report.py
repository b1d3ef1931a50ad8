"""The table as data, as text, and as a page."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pullback.analysis.cost import Cost
from pullback.explanation.folding import Fold, folded
from pullback.explanation.page import Walk, page
from pullback.explanation.rows import (
    BACKWARD_HEADINGS,
    COST_HEADINGS,
    FORWARD_HEADINGS,
    Row,
    aligned,
    cells,
    markdown,
)
from pullback.pages.document import fragment, save, table

__all__ = ["Report"]

LOOSE = 1e-5  # of the largest element: what central differences are right to, with a margin


def _unknown(step: str) -> None:
    """What a report that was made by hand knows of differences."""


@dataclass(frozen=True, slots=True)
class Report:
    """What :func:`pullback.explanation` found. ``print(report)`` shows the tables.

    Attributes:
        title: the function and its value.
        forward: one row per step of the function.
        rows: the backward table, in the order in which gradients are computed.
        forward_cost: flops and bytes moved by the function.
        backward_cost: the same for the backward pass alone.
        residual_bytes: memory of the computed values that are kept for the backward pass.
        peak_bytes: most memory alive during both passes, arguments not counted.
    """

    title: str
    forward: tuple[Row, ...]
    rows: tuple[Row, ...]
    forward_cost: Cost
    backward_cost: Cost
    residual_bytes: int
    peak_bytes: int
    compare: Callable[[str], Any] = field(default=_unknown, repr=False, compare=False)

    @property
    def flops_ratio(self) -> float:
        """Flops of value and gradient over those of the value."""
        forward = self.forward_cost.flops
        return (forward + self.backward_cost.flops) / forward if forward else float("nan")

    def __getitem__(self, step: str) -> Row:
        """The backward row of a value, by the user's name for it: ``report["z2"]``."""
        for row in self.rows:
            if step in (row.step, row.name):
                return row
        raise KeyError(f"{step!r} has no gradient row; rows: {[row.step for row in self.rows]}")

    def __str__(self) -> str:
        tables = [
            aligned(FORWARD_HEADINGS, _shown(self.forward)),
            aligned(BACKWARD_HEADINGS, _shown(self.rows, depends=True)),
        ]
        return "\n\n".join(
            [self.title, *tables, aligned(COST_HEADINGS, self.cost_rows()) + "\n" + self.memory()]
        )

    def tick(self, row: Row) -> str:
        """How far a gradient is from central differences of the program, in words."""
        found = self.compare(row.step)
        if found is None:
            return ""
        worst = float(np.max(np.abs(found - row.value), initial=0.0))
        scale = float(np.max(np.abs(row.value), initial=0.0))
        is_close = worst <= LOOSE * max(scale, LOOSE)
        return f"{'✓ agrees' if is_close else '✗ differs'}: largest difference {worst:.0e}"

    def to_json(self) -> dict[str, Any]:
        """Both passes step by step, as a page shows them: text, numbers and lists."""
        return self.walk().data()

    def walk(self) -> Walk:
        return Walk(self.title, self.forward, self.rows, self.tick)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write one self-contained page: the graph, walked forward and backward, and the tables.

        It needs no network and no other file, and prints, reads aloud and works with the keyboard.

        >>> import numpy as np
        >>> import pullback as pb
        >>> report = pb.explain(lambda x: np.sum(np.sin(x)), np.ones(3))
        >>> import tempfile
        >>> report.save(tempfile.mkdtemp() + "/graph.html").name
        'graph.html'
        """
        costs = table(COST_HEADINGS, self.cost_rows(), "What it costs")
        return save(path, page(self.walk(), costs, self.memory()))

    def _repr_html_(self) -> str:
        """What a notebook shows: both tables."""
        forward = table(FORWARD_HEADINGS, _shown(self.forward), self.title)
        backward = table(BACKWARD_HEADINGS, _shown(self.rows, depends=True), self.memory())
        return fragment(forward + backward)

    def to_markdown(self) -> str:
        """The same tables in Markdown."""
        tables = [
            markdown(FORWARD_HEADINGS, [cells(row) for row in self.forward]),
            markdown(BACKWARD_HEADINGS, [cells(row, depends=True) for row in self.rows]),
            markdown(COST_HEADINGS, self.cost_rows()),
        ]
        return "\n\n".join([f"**{self.title}**", *tables, self.memory()]) + "\n"

    def cost_rows(self) -> list[list[str]]:
        forward, backward = self.forward_cost, self.backward_cost
        rows = []
        for what in ("flops", "bytes"):
            f, b = getattr(forward, what), getattr(backward, what)
            ratios = [f"{b / f:.2f}", f"{(f + b) / f:.2f}"] if f else ["-", "-"]
            rows.append([what, f"{f:,}", f"{b:,}", *ratios])
        return rows

    def memory(self) -> str:
        return (
            f"kept for the backward pass: {self.residual_bytes:,} bytes; "
            f"peak of both passes: {self.peak_bytes:,} bytes"
        )


def _shown(rows: Sequence[Row], depends: bool = False) -> list[list[str]]:
    """Cells of the rows; those that repeat are one row of one cell."""
    return [
        [str(part)] if isinstance(part, Fold) else cells(part, depends) for part in folded(rows)
    ]

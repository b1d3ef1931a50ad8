"""Rows of the table, and rows as text."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pullback.analysis.cost import Cost
from pullback.core.types import ArrayType

__all__ = ["Dependency", "Row", "aligned", "cells", "markdown", "shape_of"]

Kind = Literal["argument", "cached", "recomputed", "cotangent", "constant"]


@dataclass(frozen=True, slots=True)
class Dependency:
    """A value that a row reads, and where it comes from.

    ``argument``: a differentiated argument, which lives anyway. ``cached``: a residual, kept from
    the forward run. ``recomputed``: computed again, inside a checkpoint. ``cotangent``: an earlier
    row of the backward table.
    """

    name: str
    kind: Kind
    nbytes: int

    def __str__(self) -> str:
        return f"{self.name} ({self.kind})" if self.kind in ("cached", "recomputed") else self.name


@dataclass(frozen=True, slots=True)
class Row:
    """One step: ``name = formula``.

    Attributes:
        name: the user's name of the value, ``z2``; in the backward table that of its gradient,
            ``dL/dz2``.
        step: the name of the value that the row is about, ``z2`` in both tables.
        primitives: the operations of the step, in the order in which they run.
        depends: what the step reads.
        lines: the user's lines that it comes from, as ``model.py:42``.
        value: the array itself.
    """

    name: str
    step: str
    formula: str
    type: ArrayType
    primitives: tuple[str, ...]
    depends: tuple[Dependency, ...]
    lines: tuple[str, ...]
    cost: Cost
    value: Any

    @property
    def shape(self) -> tuple[int, ...]:
        return self.type.shape

    @property
    def dtype(self) -> Any:
        return self.type.dtype


WIDTH = 100  # columns of a terminal
NARROWEST = 12  # of a column whose cells are broken
FORWARD_HEADINGS = ("forward", "formula", "shape", "dtype", "operations", "flops", "line")
BACKWARD_HEADINGS = ("backward", "formula", "shape", "depends on", "flops", "line")
COST_HEADINGS = ("cost", "forward", "backward", "ratio", "gradient / function")


def shape_of(row: Row) -> str:
    """``4 x 3``, or ``scalar``."""
    return " x ".join(map(str, row.shape)) or "scalar"


def cells(row: Row, depends: bool = False) -> list[str]:
    """The cells of a row, as text."""
    middle = (
        [", ".join(map(str, row.depends)) or "-"]
        if depends
        else [str(row.dtype), ", ".join(row.primitives)]
    )
    return [
        row.name,
        row.formula,
        shape_of(row),
        *middle,
        f"{row.cost.flops:,}",
        ", ".join(row.lines),
    ]


def aligned(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns of text within ``WIDTH``: the widest ones are broken into several lines.

    A row of one cell goes across all columns.
    """
    full = [row for row in rows if len(row) == len(headings)]
    widths = [max(map(len, column)) for column in zip(headings, *full, strict=True)]
    while sum(widths) + 2 * (len(widths) - 1) > WIDTH and max(widths) > NARROWEST:
        widths[widths.index(max(widths))] -= 1
    lines = [*_broken(headings, widths), "  ".join("-" * width for width in widths)]
    for row in rows:
        lines += _broken(row, widths) if len(row) == len(headings) else ["  " + row[0]]
    return "\n".join(lines)


def _broken(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    """The lines of a row whose cells are broken where they are too wide."""
    cells = [
        textwrap.wrap(cell, width, break_on_hyphens=False) or [""]
        for cell, width in zip(row, widths, strict=True)
    ]
    height = max(map(len, cells))
    lines = []
    for i in range(height):
        parts = [cell[i] if i < len(cell) else "" for cell in cells]
        padded = (part.ljust(width) for part, width in zip(parts, widths, strict=True))
        lines.append("  ".join(padded).rstrip())
    return lines


def markdown(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [headings, ["---"] * len(headings), *rows]
    escaped = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    return "\n".join("| " + " | ".join(line) + " |" for line in escaped)

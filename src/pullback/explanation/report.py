"""The table as data and as text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pullback.analysis.cost import Cost
from pullback.core.types import ArrayType

__all__ = ["Dependency", "Report", "Row"]

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
            aligned(FORWARD_HEADINGS, [cells(row) for row in self.forward]),
            aligned(BACKWARD_HEADINGS, [cells(row, depends=True) for row in self.rows]),
        ]
        return "\n\n".join(
            [self.title, *tables, aligned(COST_HEADINGS, self.cost_rows()) + "\n" + self.memory()]
        )

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


FORWARD_HEADINGS = ("forward", "formula", "shape", "dtype", "operations", "flops", "line")
BACKWARD_HEADINGS = ("backward", "formula", "shape", "depends on", "flops", "line")
COST_HEADINGS = ("cost", "forward", "backward", "ratio", "gradient / function")


def cells(row: Row, depends: bool = False) -> list[str]:
    middle = (
        [", ".join(map(str, row.depends)) or "-"]
        if depends
        else [str(row.dtype), ", ".join(row.primitives)]
    )
    shape = " x ".join(map(str, row.shape)) or "scalar"
    return [row.name, row.formula, shape, *middle, f"{row.cost.flops:,}", ", ".join(row.lines)]


def aligned(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns of text; numbers need no alignment of their own at this size."""
    widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
    lines = [headings, ["-" * width for width in widths], *rows]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def markdown(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    escaped = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    return "\n".join("| " + " | ".join(line) + " |" for line in escaped)

"""Tables and paragraphs of at most 100 columns."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence

__all__ = ["WIDTH", "columns", "number", "paragraph"]

WIDTH = 100


def number(value: float) -> str:
    """Three significant digits; ``-`` for NaN."""
    return "-" if math.isnan(value) else f"{value:.3g}"


def columns(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """An aligned table; the last column is cut where the line would grow too long."""
    if not rows:
        return ""
    widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
    lines = [headings, ["-" * width for width in widths], *rows]
    return "\n".join(
        shorten("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip())
        for line in lines
    )


def shorten(line: str) -> str:
    return line if len(line) <= WIDTH else line[: WIDTH - 3] + "..."


def paragraph(text: str, indent: str = "", first: str | None = None) -> str:
    """Text in lines of at most 100 columns; ``first`` opens the first line."""
    return textwrap.fill(
        text,
        WIDTH,
        initial_indent=indent if first is None else first,
        subsequent_indent=indent,
        break_long_words=True,
        break_on_hyphens=False,
    )

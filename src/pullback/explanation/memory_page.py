"""The page of a memory report: bytes over time, and what is kept, by line."""

from __future__ import annotations

from html import escape
from typing import Any

from pullback.analysis.sizes import show_bytes
from pullback.pages.charts import bars, curves
from pullback.pages.document import Section, document, table

__all__ = ["memory_page", "summary"]

MEGA = 1e6
SHOWN = 12  # lines that a chart has; the table has all


def memory_page(report: Any, text: str) -> str:
    """One self-contained HTML page; ``text`` is what a terminal shows."""
    held = [n / MEGA for n in report.held]
    n = report.n_forward
    passes: dict[str, list[float | None]] = {"forward pass": [*held[:n]]}
    if n < len(held):
        passes["backward pass"] = [*[None] * n, *held[n:]]
    drawn = curves(passes, "MB held while each operation runs", "operation", logarithmic=False)
    kept = {part.line: part.bytes / MEGA for part in report.kept[:SHOWN]}
    lines = table(
        ["line", "bytes", "values"],
        [(part.line, f"{part.bytes:,}", ", ".join(part.types)) for part in report.kept],
        "Kept for the backward pass",
    )
    sections = [
        Section("Summary", summary(report)),
        Section("Over time", drawn),
        Section("Kept", bars(kept, "Kept for the backward pass, by line", "MB") + lines),
        Section("As text", f"<pre>{escape(text)}</pre>"),
    ]
    peak = report.eager
    lead = (
        f"Peak {show_bytes(peak.total)} in NumPy, in the {peak.pass_name} pass while "
        f"{peak.operation} runs. {peak.line}"
    )
    return document(f"Memory of {report.name}", lead, sections, report.to_json())


def summary(report: Any) -> str:
    """The figures of a report as a table."""
    rows = [
        ("arguments", show_bytes(report.arguments)),
        ("results", show_bytes(report.results)),
        ("kept for the backward pass", show_bytes(report.kept_bytes)),
        ("peak in NumPy", show_bytes(report.eager.total)),
        ("peak compiled", "unknown" if report.compiled is None else show_bytes(report.compiled)),
    ]
    return table(["what", "how much"], rows, f"Memory of {report.name}")

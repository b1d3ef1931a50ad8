"""One row of a results table: what was measured, what is expected, and the tolerance."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """``low <= measured <= high`` is the claim; ``source`` says whose."""

    id: str
    what: str
    measured: float
    low: float
    high: float
    expected: str
    source: str

    @property
    def holds(self) -> bool:
        return self.low <= self.measured <= self.high

    def cells(self) -> list[str]:
        verdict = "yes" if self.holds else "NO"
        return [self.id, self.what, self.expected, f"{self.measured:.4g}", verdict, self.source]


def near(
    id: str, what: str, measured: float, expected: float, tolerance: float, source: str
) -> Row:
    """Within a relative tolerance."""
    span = abs(expected) * tolerance
    text = f"{expected:.4g} +- {tolerance:.0%}"
    return Row(id, what, float(measured), expected - span, expected + span, text, source)


def between(id: str, what: str, measured: float, low: float, high: float, source: str) -> Row:
    return Row(id, what, float(measured), low, high, f"{low:.4g} to {high:.4g}", source)

"""Verdicts as data, and the order in which they are told."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from pullback.flow.measurements import to_json
from pullback.flow.text import paragraph
from pullback.flow.thresholds import Threshold

__all__ = ["EXPLAINS", "SEVERITIES", "Finding", "ranked"]

Severity = Literal["severe", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("severe", "warning", "note")


@dataclass(frozen=True)
class Finding:
    """One verdict.

    Attributes:
        kind: what it is, such as ``vanishing gradient``; the keys of ``EXPLAINS`` are all kinds.
        severity: ``severe`` (training cannot work), ``warning`` or ``note``.
        confidence: 0 to 1: how far the measurement is from its threshold, and how specific it is.
        evidence: what was measured, in words and numbers.
        place: path of the layer, parameter or array; ``line`` the user's line.
        value: the measurement that was compared with ``threshold``.
        alternatives: what else the evidence is consistent with.
        remedies: names of remedies worth trying; see :func:`pullback.flow.remedies`.
        advice: what to change, in words.
    """

    kind: str
    severity: Severity
    confidence: float
    evidence: tuple[str, ...]
    place: str = ""
    line: str = ""
    value: float = float("nan")
    threshold: Threshold | None = None
    alternatives: tuple[str, ...] = ()
    remedies: tuple[str, ...] = ()
    advice: str = ""

    def to_json(self) -> dict[str, Any]:
        found: dict[str, Any] = to_json(self)
        return found

    def __str__(self) -> str:
        where = f" at {self.place}" if self.place else ""
        lines = [
            paragraph(
                f"{self.kind}{where} ({self.severity}, confidence {self.confidence:.0%})", "  ", ""
            )
        ]
        if self.line:
            lines.append(paragraph(self.line, "    ", "  line: "))
        lines += [paragraph(text, "    ", "  - ") for text in self.evidence]
        if self.threshold is not None:
            t = self.threshold
            text = f"limit: {t.value:g} for the {t.meaning} [{t.source}]"
            lines.append(paragraph(text, "    ", "  "))
        if self.alternatives:
            text = f"also consistent with: {'; '.join(self.alternatives)}"
            lines.append(paragraph(text, "    ", "  "))
        if self.advice:
            lines.append(paragraph(f"change: {self.advice}", "    ", "  "))
        return "\n".join(lines)


SYMPTOMS = {
    "vanishing gradient",
    "exploding gradient",
    "dead units",
    "saturated units",
    "shattered gradients",
    "step size too large",
    "step size too small",
    "too few steps",
    "loss scale",
    "bad initialization",
    "non-finite values",
    "target scale",
}
# What a cause also brings about; such symptoms are told after it.
EXPLAINS: dict[str, set[str]] = {
    "non-finite values": SYMPTOMS - {"non-finite values"},
    "disconnected parameter": set(),
    "constant labels": {"labels unrelated to inputs", "order of the data", *SYMPTOMS},
    "labels out of range": {"labels unrelated to inputs", "loss and output", *SYMPTOMS},
    "loss and output": SYMPTOMS | {"labels unrelated to inputs"},
    "input scale": SYMPTOMS | {"labels unrelated to inputs"},
    "outlier": SYMPTOMS | {"input scale"},
    "equal initial weights": SYMPTOMS,
    "labels unrelated to inputs": {"step size too small", "too few steps", "step size too large"},
    "order of the data": {"step size too large", "step size too small", "too few steps"},
    "batch statistics": SYMPTOMS,
    "missing non-linearity": {"too few steps", "step size too small"},
    "sum instead of mean": {"loss scale", "step size too large", "exploding gradient"},
    "target scale": SYMPTOMS - {"target scale"},
    "loss scale": {
        "step size too small",
        "step size too large",
        "too few steps",
        "vanishing gradient",
    },
    "bad initialization": SYMPTOMS - {"bad initialization", "loss scale", "target scale"},
    "vanishing gradient": {"step size too small", "too few steps", "saturated units"},
    "exploding gradient": {"step size too large"},
    "dead units": {"step size too small", "too few steps", "vanishing gradient"},
    "saturated units": {"vanishing gradient", "step size too small", "too few steps"},
    "shattered gradients": {"exploding gradient", "step size too small"},
    "step size too large": {"too few steps"},
    "step size too small": {"too few steps"},
    "too few steps": set(),
}


def ranked(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Causes before what they explain, then by severity and confidence.

    A finding is placed after a finding of another kind that explains it, unless the explaining one
    is weaker by a whole step of severity and is itself a symptom.
    """
    left = sorted(findings, key=_strength)
    placed: list[Finding] = []
    while left:
        free = [f for f in left if not any(_comes_after(f, other) for other in left)]
        chosen = (free or left)[0]
        placed.append(chosen)
        left.remove(chosen)
    return tuple(placed)


def _strength(finding: Finding) -> tuple[int, float]:
    return SEVERITIES.index(finding.severity), -finding.confidence


def _comes_after(finding: Finding, cause: Finding) -> bool:
    if finding.kind == cause.kind or finding.kind not in EXPLAINS.get(cause.kind, ()):
        return False
    weaker = SEVERITIES.index(cause.severity) - SEVERITIES.index(finding.severity)
    return weaker <= 0 or (weaker == 1 and cause.kind not in SYMPTOMS)

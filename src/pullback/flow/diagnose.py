"""``diagnose``: from measurements to verdicts."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pullback.flow import rules_data, rules_flow, rules_head, rules_step
from pullback.flow.evidence import Evidence
from pullback.flow.findings import Finding, ranked
from pullback.flow.page import cards, diagnosis_page
from pullback.flow.probe import Probe, probe
from pullback.flow.problem import Problem, as_problem
from pullback.pages.document import fragment, save

__all__ = ["Diagnosis", "diagnose", "evidence_of"]

RULES = (*rules_data.RULES, *rules_head.RULES, *rules_flow.RULES, *rules_step.RULES)


@dataclass(frozen=True)
class Diagnosis:
    """Verdicts, causes first. ``print`` it, or read ``findings``.

    Attributes:
        probe: the measurements behind it.
        findings: causes before what they explain, then by severity and confidence.
    """

    probe: Probe
    findings: tuple[Finding, ...]

    @property
    def is_healthy(self) -> bool:
        """Whether nothing is wrong beyond notes."""
        return all(f.severity == "note" for f in self.findings)

    @property
    def problem(self) -> Problem:
        return self.probe.problem

    def __getitem__(self, kind: str) -> Finding:
        """The first finding of a kind: ``diagnosis["vanishing gradient"]``."""
        for finding in self.findings:
            if finding.kind == kind:
                return finding
        raise KeyError(f"no finding {kind!r}; found: {[f.kind for f in self.findings]}")

    def to_json(self) -> dict[str, Any]:
        """Measurements and findings as what ``json.dumps`` takes."""
        return {
            "is_healthy": self.is_healthy,
            "findings": [f.to_json() for f in self.findings],
            "probe": self.probe.to_json(),
        }

    def dumps(self) -> str:
        return json.dumps(self.to_json(), indent=1)

    def save(self, path: str | os.PathLike[str], remedies: Any = None) -> Path:
        """Write one self-contained page: verdicts, curves over the depth, tables.

        Args:
            path: of the file.
            remedies: what :func:`pullback.flow.remedies` returned, to be shown with it.
        """
        return save(path, diagnosis_page(self, remedies))

    def _repr_html_(self) -> str:
        return fragment(cards(self.findings))

    def verdict(self) -> str:
        """The findings as text, without the measurements."""
        if not self.findings:
            return "No fault found."
        return "\n\n".join(f"{i}. {f}" for i, f in enumerate(self.findings, 1))

    def __str__(self) -> str:
        return f"{self.verdict()}\n\n{self.probe}"


def diagnose(
    loss: Callable[..., Any] | Problem | Probe,
    params: Any = None,
    *batch: Any,
    extras: str | Sequence[str] = (),
    **options: Any,
) -> Diagnosis:
    """Say why a network does not learn, or that nothing is wrong with how it does.

    Reads a :func:`pullback.flow.probe` of gradient flow, replays the loss with other outputs, tests
    the data, and, if a learning rate is given, trains shortly with it and with others.

    Args:
        loss: ``loss(params, *batch)``; or a :class:`Problem`, or a probe that was made already.
        params, batch, extras, options: as for :func:`pullback.flow.probe`. ``learning_rate``,
            ``optimizer``, ``n_steps``, ``batch_size`` and ``shuffles`` describe the training; what
            is left out is not judged.

    Returns:
        Findings, each with severity, confidence, evidence, place, threshold and its source, and
        what else it could be.

    Raises:
        ArgumentError: if an option is unknown or there is no data.

    >>> import numpy as np
    >>> import pullback as pb
    >>> from pullback import nn
    >>> rng = np.random.default_rng(0)
    >>> net = nn.mlp(rng, (8, *[32] * 12, 3), activation=nn.sigmoid, initializer=nn.init.xavier)
    >>> x = rng.normal(size=(64, 8))
    >>> def loss(net, x, label):
    ...     return nn.softmax_cross_entropy(net(x), label)
    >>> found = pb.flow.diagnose(loss, net, x, np.argmax(x[:, :3], axis=1))
    >>> found.findings[0].kind, found.findings[0].place
    ('vanishing gradient', 'net.layers[0]')
    """
    if isinstance(loss, Probe):
        measured = loss
    else:
        measured = probe(as_problem(loss, params, batch, options), extras=extras)
    evidence = Evidence(measured.problem, measured)
    with np.errstate(all="ignore"):
        found = [finding for rule in RULES for finding in rule(evidence)]
    return Diagnosis(measured, ranked(_merged(found)))


def evidence_of(problem: Problem) -> Evidence:
    """What verdicts about a problem would be made of."""
    return Evidence(problem, probe(problem))


def _merged(findings: Sequence[Finding]) -> list[Finding]:
    """One finding of each kind: the strongest."""
    best: dict[str, Finding] = {}
    for finding in ranked(findings):
        best.setdefault(finding.kind, finding)
    return list(best.values())

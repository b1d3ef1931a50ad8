"""A monitor for training loops: probes now and then, at a bounded cost, with a bounded log."""

from __future__ import annotations

import math
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pullback.errors import ArgumentError
from pullback.flow import rules_flow
from pullback.flow.evidence import Evidence, certainty
from pullback.flow.findings import Finding, ranked
from pullback.flow.measurements import to_json
from pullback.flow.page import monitor_page
from pullback.flow.probe import Probe, probe
from pullback.flow.problem import Problem
from pullback.flow.text import columns, number
from pullback.flow.thresholds import limit
from pullback.pages.document import save

__all__ = ["Monitor", "Sample"]

WINDOW = 100
ENOUGH = 20  # losses before a spike can be told, and from one look at the median to the next


@dataclass(frozen=True)
class Sample:
    """One probe during training, reduced to numbers.

    Attributes:
        step: of the loop, from 1.
        loss: of the probed rows; ``ratio`` and ``gain`` as in a :class:`Probe`.
        dead, saturated: largest share over the layers.
        layers: pairs (name, RMS of dL/da).
    """

    step: int
    loss: float
    ratio: float
    gain: float
    dead: float
    saturated: float
    layers: tuple[tuple[str, float], ...]

    @classmethod
    def of(cls, step: int, found: Probe) -> Sample:
        return cls(
            step,
            found.loss,
            found.ratio,
            found.gain,
            max((u.dead for u in found.units), default=0.0),
            max((u.saturated for u in found.units), default=0.0),
            tuple((layer.name, layer.ct_rms) for layer in found.layers),
        )


class Monitor:
    """Call it after every step of a training loop; it probes when its share of time allows.

    Every call looks at the loss (finite? a spike of 6 median absolute deviations over the median of
    the last 100 steps, which is computed every 20 steps?). A probe, forward and backward on at most
    ``max_rows`` rows, runs when all probes so far and this one take at most ``share`` of the time
    since the first call; the first runs at the second call, and its cost is paid before the next.
    The log holds at most ``max_samples``: when it is full, every second sample is dropped and the
    spacing doubles.

    Args:
        loss: ``loss(params, *batch)``, as for :func:`pullback.flow.probe`.
        share: of the time; 0.05 by default.
        max_rows, max_samples: bounds of the cost of a probe, and of the log.
        on_finding: is told each new kind of finding with the step; by default it goes to stderr.
        clock: seconds; for tests.

    Raises:
        ArgumentError: if ``share`` is not between 0 and 1.

    >>> import numpy as np
    >>> import pullback as pb
    >>> def loss(w, x):
    ...     return np.mean((x @ w) ** 2)
    >>> monitor, w, x = pb.flow.Monitor(loss), np.ones(3), np.eye(3)
    >>> for _ in range(5):
    ...     value, grads = pb.value_and_grad(loss)(w, x)
    ...     w = w - 0.1 * grads
    ...     monitor(w, x, value=value)
    >>> monitor.n_steps, monitor.findings
    (5, ())
    """

    def __init__(
        self,
        loss: Callable[..., Any],
        *,
        share: float = 0.05,
        max_rows: int = 128,
        max_samples: int = 256,
        on_finding: Callable[[int, Finding], Any] | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        if not 0 < share < 1:
            raise ArgumentError(
                f"flow.Monitor: share is {share}", fix="use 0.05 for 5% of the time"
            )
        self.loss = loss
        self.share = share
        self.max_rows = max_rows
        self.max_samples = max_samples
        self.on_finding = on_finding or _to_stderr
        self.clock = clock
        self.n_steps = 0
        self.n_probes = 0
        self.spent_s = 0.0
        self.samples: list[Sample] = []
        self._spacing = 1
        self._last = 0.0
        self._start: float | None = None
        self._cost = 0.0
        self._recent: deque[float] = deque(maxlen=WINDOW)
        self._bar = math.inf
        self._age = 0  # losses since the bar was computed
        self._found: dict[str, tuple[int, Finding]] = {}

    def __call__(self, params: Any, *batch: Any, value: Any = None) -> None:
        """Look at a step: the new parameters, the rows that it used, and its loss if known."""
        now = self.clock()
        if self._start is None:
            self._start = now
        self.n_steps += 1
        if value is not None:
            self._look(float(value))
        before = self.n_probes
        if self._is_due(now):
            self._probe(params, batch)
        spent = self.clock() - now
        self.spent_s += spent
        if self.n_probes > before:
            self._cost = max(self._cost, spent)
            self._last = now

    def _is_due(self, now: float) -> bool:
        """Whether a probe as long as the longest so far fits into the share of time.

        The cost of the first is not known: it runs once a step took time at all, and the next ones
        wait until its cost is paid.
        """
        assert self._start is not None
        elapsed = now - self._start
        if not self.n_probes:
            return elapsed > 0
        if self.spent_s + self._cost > self.share * elapsed:
            return False
        return now - self._last >= self._spacing * self._cost / self.share

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All kinds found so far, causes first."""
        return ranked(finding for _, finding in self._found.values())

    @property
    def cost(self) -> float:
        """The share of the time since the first call that was spent here."""
        if self._start is None:
            return 0.0
        total = self.clock() - self._start
        return self.spent_s / total if total > 0 else 0.0

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write one self-contained page: loss, layers against steps, findings."""
        return save(path, monitor_page(self))

    def to_json(self) -> dict[str, Any]:
        return {
            "n_steps": self.n_steps,
            "n_probes": self.n_probes,
            "samples": to_json(self.samples),
            "findings": [{"step": s, **f.to_json()} for s, f in self._found.values()],
        }

    def __str__(self) -> str:
        head = (
            f"{self.n_steps} steps, {self.n_probes} probes, {self.cost:.1%} of the time, "
            f"{len(self._found)} kinds of findings"
        )
        rows = [
            (
                f"{s.step}",
                number(s.loss),
                number(s.ratio),
                number(s.gain),
                f"{s.dead:.0%}",
                f"{s.saturated:.0%}",
            )
            for s in self.samples[-12:]
        ]
        headings = ("step", "loss", "first/last dL/da", "gain", "dead", "saturated")
        found = [f"step {step}: {finding}" for step, finding in self._found.values()]
        return "\n\n".join(part for part in (head, columns(headings, rows), *found) if part)

    # -- what a step shows --------------------------------------------------------------------
    def _look(self, value: float) -> None:
        if not math.isfinite(value):
            self._tell(
                Finding(
                    "non-finite values",
                    "severe",
                    0.99,
                    (f"the loss is {value}",),
                    advice="run the step inside pullback.debug_nonfinite()",
                )
            )
            return
        if value > self._bar:
            self._tell(self._spike(value))
        self._recent.append(value)
        self._age += 1
        if self._age >= ENOUGH:
            self._age = 0
            self._bar = self._spike_bar()

    def _spike_bar(self) -> float:
        """The loss above which a step is a spike, from the last ``WINDOW`` steps."""
        middle = median(self._recent)
        width = median(abs(v - middle) for v in self._recent)
        bar = middle + limit("spike").value * max(width, 0.01 * abs(middle))
        return max(bar, 2 * middle)

    def _spike(self, value: float) -> Finding:
        middle = median(self._recent)
        return Finding(
            "step size too large",
            "warning",
            certainty((value - middle) / max(self._bar - middle, 1e-300), 5),
            (
                f"the loss jumps to {value:.4g}; the median of the last "
                f"{len(self._recent)} steps is {middle:.4g}",
            ),
            value=value,
            threshold=limit("spike"),
            alternatives=("an outlier in this batch",),
            remedies=("clip", "lower learning rate", "warm-up"),
            advice="clip the gradient, or lower the learning rate",
        )

    def _probe(self, params: Any, batch: tuple[Any, ...]) -> None:
        self.n_probes += 1
        found = probe(Problem(self.loss, params, batch), max_rows=self.max_rows)
        self.samples.append(Sample.of(self.n_steps, found))
        if len(self.samples) > self.max_samples:
            self.samples = self.samples[::2]
            self._spacing *= 2
        evidence = Evidence(found.problem, found)
        with np.errstate(all="ignore"):
            for rule in rules_flow.RULES:
                for finding in rule(evidence):
                    self._tell(finding)

    def _tell(self, finding: Finding) -> None:
        if finding.kind not in self._found:
            self._found[finding.kind] = (self.n_steps, finding)
            self.on_finding(self.n_steps, finding)


def median(values: Iterable[float]) -> float:
    """The middle value, by sorting: a tenth of the time of NumPy's for a hundred numbers."""
    ordered = sorted(values)
    n = len(ordered)
    return 0.5 * (ordered[(n - 1) // 2] + ordered[n // 2])


def _to_stderr(step: int, finding: Finding) -> None:
    sys.stderr.write(f"step {step}: {finding}\n")

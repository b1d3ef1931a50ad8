"""What verdicts are made of: a probe, the head, the data, and trial runs; each computed once."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import numpy as np

from pullback import tree
from pullback.core.graph import Variable
from pullback.flow.head import Head
from pullback.flow.probe import Probe
from pullback.flow.problem import Problem
from pullback.flow.thresholds import limit
from pullback.flow.trials import Recipe, Trial, train, trial_steps
from pullback.flow.why import why_zero
from pullback.nn.normalization import BatchNorm

__all__ = ["Evidence", "certainty"]

FACTORS = (0.1, 1.0, 10.0, 100.0)


def as_tuple(answers: Any) -> tuple[Any, ...]:
    return answers if isinstance(answers, tuple) else (answers,)


def certainty(excess: float, decisive: float) -> float:
    """0.5 at the threshold, towards 0.97 where the excess over it is ``decisive``."""
    if not excess > 1:
        return 0.5
    share = min(1.0, math.log(excess) / math.log(decisive))
    return round(0.5 + 0.47 * share, 2)


class Evidence:
    """Lazy: a rule that asks for nothing expensive costs nothing."""

    def __init__(self, problem: Problem, probe: Probe) -> None:
        self.problem = problem
        self.probe = probe
        self.network = probe.network
        self.run = probe.run

    # -- the head -----------------------------------------------------------------------------
    @cached_property
    def head(self) -> Head | None:
        output = self.network.output
        if output is None or self.run.output is None or not np.isfinite(self.probe.loss):
            return None
        return Head(self.network, output)

    # -- the data -----------------------------------------------------------------------------
    @cached_property
    def rows(self) -> tuple[Any, ...]:
        """The rows that were probed."""
        return self.problem.sample(512)

    @cached_property
    def inputs(self) -> Any:
        """What the first weighted step reads, if it is float data."""
        for w in self.network.weighted:
            if w.signal not in self.run.live and w.signal.type.dtype.kind == "f":
                return np.asarray(self.run.read(w.signal), dtype=float)
        return None

    @cached_property
    def targets(self) -> Any:
        """The last array of the batch, if there are several."""
        if len(self.rows) < 2 or not np.ndim(self.rows[-1]):
            return None
        targets = np.asarray(self.rows[-1])
        return targets if targets.dtype.kind in "fiub" else None

    @property
    def is_categorical(self) -> bool:
        """Whether the targets are class numbers, 0/1, or one-hot rows."""
        y = self.targets
        if y is None:
            return False
        return y.dtype.kind in "iub" or (bool(np.all((y == 0) | (y == 1))) and y.size > 1)

    def norms(self) -> list[tuple[str, BatchNorm]]:
        """The batch normalizations among the parameters, with their paths."""
        params, root = self.problem.params, self.problem.root
        paths = tree.paths(params, root)
        found, at = [], 0
        for part in tree.leaves_until(params, BatchNorm):
            if isinstance(part, BatchNorm):
                found.append((paths[at].rpartition(".")[0], part))
            at += len(tree.leaves(part))
        return found

    # -- weights ------------------------------------------------------------------------------
    def weight_scales(self) -> list[tuple[str, float, str]]:
        """Path, std * sqrt(fan-in), and the activation that follows, of the hidden weights."""
        kinds = {a.before: a.kind for a in self.network.hidden}
        found = []
        for w in self.network.weighted:
            if w.output is self.network.output:
                continue
            value = np.asarray(self.run.read(w.used), dtype=float)
            scale = float(np.sqrt(np.mean(value**2) * w.fan_in))
            found.append((w.path, scale, kinds.get(w.output, "linear")))
        return found

    @cached_property
    def normalizes(self) -> bool:
        """Whether the network divides a signal by its own spread."""
        end = self.run.maker(self.network.output) if self.network.output is not None else 0
        curved = {"var", "sqrt"}
        return any(
            s.equation.primitive.name in curved and s.equation.outputs[0] in self.network.signals
            for s in self.run.steps[:end]
        )

    def suffers(self, direction: float) -> int:
        """0 to 2: how much the flow shows weights that are too small (< 0) or too large."""
        probe = self.probe
        ratio = probe.ratio
        forward = [layer.rms for layer in probe.hidden if layer.rms > 0]
        growth = forward[-1] / forward[0] if len(forward) > 1 else 1.0
        flat = max((u.saturated for u in probe.units), default=0.0)
        if direction < 0:
            low = min(ratio if math.isfinite(ratio) else 1.0, growth)
            return (low < limit("vanishing").value) + (low < limit("vanishing, severe").value)
        high = max(ratio if math.isfinite(ratio) else 1.0, growth)
        return max(
            (high > limit("exploding").value) + (high > limit("exploding, severe").value),
            (flat > limit("saturated").value) + (flat > limit("saturated, severe").value),
        )

    def why_cut(self) -> str:
        """Where the gradient of the first disconnected parameter is cut."""
        first = next((p.path for p in self.probe.parameters if not p.is_connected), "")
        answers = why_zero(self.problem.loss, self.problem.params, *self.rows)
        paths = tree.paths(self.problem.params, self.problem.root)
        for path, answer in zip(paths, as_tuple(answers), strict=True):
            if path == first and answer.cuts:
                cut = answer.cuts[0]
                where = f" ({cut.line})" if cut.line else ""
                return f"{first}: {cut.reason}: {cut.evidence}{where}"
        return ""

    # -- trials -------------------------------------------------------------------------------
    @cached_property
    def n_steps(self) -> int:
        return trial_steps(self.problem)

    def trial(self, factor: float = 1.0, times: int = 1) -> Trial:
        """A run with the learning rate times ``factor``, for ``times`` as many steps."""
        found = self._trials.get((factor, times))
        if found is None:
            rate = self.problem.learning_rate
            assert rate is not None
            recipe = Recipe(rate * factor, self.n_steps * times)
            found = self._trials[factor, times] = train(self.problem, recipe)
        return found

    @cached_property
    def _trials(self) -> dict[tuple[float, int], Trial]:
        return {}

    def first_signal(self) -> Variable | None:
        return self.network.weighted[0].output if self.network.weighted else None

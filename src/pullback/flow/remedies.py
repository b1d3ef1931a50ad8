"""Remedies, each tried on the same data, in the same order of rows, from the same seeds."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pullback.errors import ArgumentError
from pullback.flow.changes import DEFAULT, REMEDIES, Remedy
from pullback.flow.diagnose import Diagnosis
from pullback.flow.measurements import to_json
from pullback.flow.problem import Problem, as_problem
from pullback.flow.starts import fresh
from pullback.flow.text import columns, number, paragraph
from pullback.flow.trials import Recipe, Trial, train, trial_steps

__all__ = ["Outcome", "Treatment", "remedies"]

N_SEEDS = 3
# Two-sided 95% quantiles of Student's t by degrees of freedom; beyond ten, that of ten.
T_95 = (math.inf, 12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
WORSE = 1.02
WORST = 10.0  # times the first loss: what a run that diverged counts as


@dataclass(frozen=True)
class Outcome:
    """The measured effect of one remedy.

    Attributes:
        remedy: its title; ``change`` what to change in the code.
        start: ``"start"`` (fresh weights) or ``"now"`` (the present parameters).
        losses: at the end, one per seed; ``controls`` those without the remedy.
        ratio: geometric mean of loss / control; ``low`` and ``high`` its 95% interval.
        n_better: on how many seeds the loss is lower.
    """

    remedy: str
    change: str
    start: str
    losses: tuple[float, ...]
    controls: tuple[float, ...]
    ratio: float
    low: float
    high: float
    n_better: int

    @property
    def helps(self) -> bool:
        """Whether the loss is lower on at least 2 of 3 seeds and by the geometric mean."""
        return self.ratio < 1 / WORSE and self.n_better * 3 >= 2 * len(self.losses)

    @property
    def harms(self) -> bool:
        return self.ratio > WORSE and self.n_better * 2 < len(self.losses)


@dataclass(frozen=True)
class Treatment:
    """What the remedies did, best first.

    Attributes:
        outcomes: of those that were tried, those that help first;
            ``untried`` names the others, each with the reason.
        n_steps: of every run; ``n_seeds`` how many runs each.
    """

    outcomes: tuple[Outcome, ...]
    untried: tuple[tuple[str, str], ...]
    n_steps: int
    n_seeds: int

    @property
    def best(self) -> Outcome | None:
        """The outcome with the smallest ratio, if it helps."""
        return next((o for o in self.outcomes if o.helps), None)

    def to_json(self) -> Any:
        return to_json(self)

    def dumps(self) -> str:
        return json.dumps(self.to_json(), indent=1)

    def __str__(self) -> str:
        head = (
            f"{len(self.outcomes)} remedies tried, {self.n_seeds} seeds, {self.n_steps} steps, "
            "on equal batches"
        )
        rows = [
            (
                o.remedy,
                o.start,
                number(float(np.mean(o.controls))),
                number(float(np.mean(o.losses))),
                f"{o.ratio:.3g} ({o.low:.2g} to {o.high:.2g})",
                f"{o.n_better}/{len(o.losses)}",
                "helps" if o.helps else "harms" if o.harms else "no effect",
            )
            for o in self.outcomes
        ]
        headings = ("remedy", "from", "control", "loss", "loss / control (95%)", "better", "")
        lines = [head, columns(headings, rows)]
        if self.best is None:
            lines.append("None of them helped.")
        else:
            lines.append(paragraph(f"Best: {self.best.remedy}. Change: {self.best.change}"))
        if self.untried:
            reasons = dict.fromkeys(why for _, why in self.untried)
            for reason in reasons:
                names = ", ".join(name for name, why in self.untried if why == reason)
                lines.append(paragraph(f"Untried, needs {reason}: {names}"))
        return "\n\n".join(lines)


def remedies(
    loss: Callable[..., Any] | Problem | Diagnosis,
    params: Any = None,
    *batch: Any,
    names: Sequence[str] | None = None,
    seeds: int | Sequence[int] = N_SEEDS,
    n_steps: int | None = None,
    **options: Any,
) -> Treatment:
    """Try remedies and report what each did to the loss, best first.

    Each remedy and the control train for the same number of steps on the same rows in the same
    order: from fresh weights (from ``init`` if the problem has one, else the present parameters
    with their entries shuffled), and, where a remedy can be applied in the middle of training,
    from the present parameters. Nothing is recommended that was not measured.

    Args:
        loss: a loss, a :class:`Problem`, or a :class:`Diagnosis`, whose findings name what to try.
        params, batch, options: as for :func:`pullback.flow.diagnose`; ``learning_rate`` is needed.
        names: which remedies; by default those that the findings name, else the common ones.
        seeds: how many, or which.
        n_steps: of each run; by default the recipe's number, at most 200.

    Raises:
        ArgumentError: without a learning rate, or for an unknown name.

    >>> import numpy as np
    >>> import pullback as pb
    >>> def loss(w, x, y):
    ...     return np.mean((x @ w - y) ** 2)
    >>> x = np.random.default_rng(0).normal(size=(40, 3))
    >>> found = pb.flow.remedies(
    ...     loss, np.zeros(3), x, x @ np.ones(3), learning_rate=1e-4, n_steps=20,
    ...     names=["higher learning rate", "lower learning rate"], seeds=2)
    >>> found.best.remedy
    'higher learning rate: x 100'
    """
    if isinstance(loss, Diagnosis):
        wanted = [name for f in loss.findings for name in f.remedies]
        names = names if names is not None else list(dict.fromkeys(wanted)) or None
        loss = loss.problem
    problem = as_problem(loss, params, batch, options)
    if problem.learning_rate is None:
        raise ArgumentError(
            "flow.remedies: no learning rate", fix="pass learning_rate= as you train with"
        )
    chosen = _chosen(names)
    numbers = list(range(seeds)) if isinstance(seeds, int) else list(seeds)
    recipe = Recipe(problem.learning_rate, n_steps or trial_steps(problem))
    outcomes: list[Outcome] = []
    untried: list[tuple[str, str]] = []
    starts = {seed: problem.with_params(fresh(problem, seed)) for seed in numbers}
    now = dict.fromkeys(numbers, problem)
    controls = {
        "start": {seed: train(p, recipe, seed=seed) for seed, p in starts.items()},
        "now": {seed: train(p, recipe, seed=seed) for seed, p in now.items()},
    }
    for remedy in chosen:
        modes = [("start", starts), *([("now", now)] if remedy.from_now else [])]
        for mode, problems in modes:
            outcome = _try(remedy, mode, problems, recipe, controls[mode])
            if outcome is None:
                untried.append((remedy.title, remedy.needs or "something else"))
                break
            outcomes.append(outcome)
    known = {r.name for r in REMEDIES}
    untried += [(n, "a change of your code") for n in names or () if n not in known]
    ordered = sorted(outcomes, key=lambda o: (not o.helps, o.ratio))
    return Treatment(tuple(ordered), tuple(dict(untried).items()), recipe.n_steps, len(numbers))


def _chosen(names: Sequence[str] | None) -> list[Remedy]:
    wanted = DEFAULT if names is None else tuple(names)
    named_by_findings = {"loss", "learning rate", "batch statistics", "looks-linear"}
    known = {r.name for r in REMEDIES} | named_by_findings
    for name in wanted:
        if name not in known:
            raise ArgumentError(
                f"flow.remedies: unknown remedy {name!r}",
                fix=f"use one of {', '.join(sorted({r.name for r in REMEDIES}))}",
            )
    if "learning rate" in wanted:
        wanted = (*wanted, "lower learning rate", "higher learning rate")
    return [r for r in REMEDIES if r.name in wanted]


def _try(
    remedy: Remedy,
    mode: str,
    problems: dict[int, Problem],
    recipe: Recipe,
    controls: dict[int, Trial],
) -> Outcome | None:
    losses, bases = [], []
    for seed, problem in problems.items():
        changed = remedy.apply(problem, recipe, np.random.default_rng(seed))
        if changed is None:
            return None
        trial = train(changed[0], changed[1], seed=seed)
        unit = _unit(problem, changed[0])
        losses.append(_bounded(trial, controls[seed].first * unit) / unit)
        bases.append(_bounded(controls[seed], controls[seed].first))
    logs = np.log(np.maximum(losses, 1e-300)) - np.log(np.maximum(bases, 1e-300))
    mean, n = float(np.mean(logs)), len(logs)
    half = T_95[min(n - 1, 10)] * float(np.std(logs, ddof=1)) / math.sqrt(n) if n > 1 else math.inf
    return Outcome(
        remedy.title,
        remedy.change,
        mode,
        tuple(losses),
        tuple(bases),
        math.exp(mean),
        math.exp(mean - min(half, 50.0)),
        math.exp(mean + min(half, 50.0)),
        sum(a < b for a, b in zip(losses, bases, strict=True)),
    )


def _unit(before: Problem, after: Problem) -> float:
    """The unit of the changed loss in that of the control: scaled losses and targets differ."""
    if after.loss is not before.loss:
        rows = before.sample(256)
        return float(after.loss(before.params, *rows)) / float(before.loss(before.params, *rows))
    if len(after.batch) == len(before.batch) > 1:
        old, new = np.asarray(before.batch[-1]), np.asarray(after.batch[-1])
        if old is not new and old.dtype.kind == "f" and np.std(old) > 0:
            return float(np.var(new) / np.var(old))  # of a squared error
    return 1.0


def _bounded(trial: Trial, first: float) -> float:
    worst = WORST * abs(first) if math.isfinite(first) and first else WORST
    return max(min(trial.score, worst), 1e-300)

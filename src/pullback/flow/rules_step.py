"""Verdicts on the step size and the number of steps, from short runs on the same data."""

from __future__ import annotations

import math

import numpy as np

from pullback.flow.evidence import Evidence, certainty
from pullback.flow.findings import Finding
from pullback.flow.problem import DEFAULT_STEPS
from pullback.flow.thresholds import limit
from pullback.flow.trials import Trial

__all__ = ["RULES"]

LONGER = 4


def step_size(evidence: Evidence) -> list[Finding]:
    """The present learning rate against smaller and larger ones."""
    if evidence.problem.learning_rate is None or not np.isfinite(evidence.probe.loss):
        return []
    now = evidence.trial()
    missed = limit("missed decrease")
    if not now.is_finite or now.score > now.first or _jumps(now):
        for factor in (0.1, 0.01):
            smaller = evidence.trial(factor)
            share = _missed(now, smaller)
            if share > missed.value or (factor < 0.1 and not now.is_finite):
                return [_too_large(evidence, now, smaller, share)]
    elif _progress(now) < 0.75 or _is_restless(now):
        smaller = min((evidence.trial(f) for f in (0.1, 0.01)), key=lambda trial: trial.score)
        if smaller.score < 0.6 * now.score:
            return [_too_large(evidence, now, smaller, 1 - smaller.score / now.score)]
    if _progress(now) >= 0.5:
        return []
    return _too_small(evidence, now)


def _too_small(evidence: Evidence, now: Trial) -> list[Finding]:
    missed = limit("missed decrease")
    found: list[Finding] = []
    tenfold = up = evidence.trial(10.0)
    if _missed(now, up) > 0.2 and up.is_finite:
        further = evidence.trial(100.0)
        up = further if further.score < up.score else up
    share = _missed(now, up)
    if share > missed.value:
        rate = evidence.problem.learning_rate or 0.0
        used = 100 if up is not tenfold else 10
        found.append(
            Finding(
                "step size too small",
                "severe" if share > 0.9 else "warning",
                certainty(share / missed.value, 2),
                (
                    f"after {evidence.n_steps} steps the loss goes from {now.first:.4g} to "
                    f"{now.score:.4g}; with {used} times the learning rate to {up.score:.4g}",
                ),
                value=share,
                threshold=missed,
                alternatives=("too few steps", "gradients that vanish", "a loss scale"),
                remedies=("higher learning rate", "adam"),
                advice=f"use a learning rate of about {rate * used:.2g}",
            )
        )
    return found


def _too_large(evidence: Evidence, now: Trial, other: Trial, share: float) -> Finding:
    rate = evidence.problem.learning_rate or 0.0
    end = f"{now.score:.4g}" if now.is_finite else f"no finite number after {len(now.losses)} steps"
    texts = [
        f"in {evidence.n_steps} steps the loss goes from {now.first:.4g} to {end}; with a smaller "
        f"learning rate to {other.score:.4g}"
    ]
    c = evidence.probe.curvature
    if c is not None and c.sharpness > limit("sharpness").value:
        texts.append(f"learning rate times largest Hessian eigenvalue: {c.sharpness:.3g} > 2")
    return Finding(
        "step size too large",
        "severe" if not now.is_finite or now.score > now.first else "warning",
        certainty(max(share, 0.5) / 0.45, 2),
        tuple(texts),
        value=share,
        threshold=limit("missed decrease"),
        alternatives=("Jacobians that explode", "outliers in the data"),
        remedies=("lower learning rate", "clip", "warm-up"),
        advice=f"use a learning rate of about {rate / 10:.2g}, or clip the gradient",
    )


def few_steps(evidence: Evidence) -> list[Finding]:
    """Whether the same recipe, run longer, goes on to lower the loss by much."""
    problem = evidence.problem
    if problem.learning_rate is None or problem.n_steps is None:
        return []
    if not np.isfinite(evidence.probe.loss) or problem.n_steps > 200:
        return []
    now = evidence.trial()
    if not now.is_finite or now.score > now.first or _progress(now) > 0.9:
        return []
    times = max(LONGER, -(-DEFAULT_STEPS // problem.n_steps))
    longer = evidence.trial(1.0, times)
    share = _missed(now, longer)
    if _epochs(evidence) < 2:  # then even a loss that halves says that training was cut short
        share = max(share, 1 - longer.score / now.score if now.score > 0 else 0.0)
    if not share > limit("missed decrease").value:
        return []
    return [
        Finding(
            "too few steps",
            "severe" if share > 0.85 else "warning",
            certainty(share / limit("missed decrease").value, 2),
            (
                f"{problem.n_steps} steps lower the loss from {now.first:.4g} to {now.score:.4g}, "
                f"{times} times as many to {longer.score:.4g}",
            ),
            value=share,
            threshold=limit("missed decrease"),
            alternatives=("step size too small",),
            remedies=("more steps", "higher learning rate", "adam"),
            advice=f"train for {times} times as many steps or more",
        )
    ]


def _epochs(evidence: Evidence) -> float:
    """Passes over the rows in the recipe."""
    problem = evidence.problem
    size = problem.batch_size or problem.n_rows
    return (problem.n_steps or 0) * size / max(problem.n_rows, 1)


def _missed(now: Trial, other: Trial) -> float:
    """The share of the decrease that ``other`` reaches and ``now`` does not."""
    if not other.is_finite or not math.isfinite(other.score) or other.score >= other.first:
        return 0.0
    reached = other.first - other.score
    if reached < 0.02 * abs(other.first):
        return 0.0
    return (min(now.score, max(now.first, other.first)) - other.score) / reached


def _progress(now: Trial) -> float:
    """The decrease as a share of the first loss."""
    return (now.first - now.score) / abs(now.first) if now.first else 0.0


def _jumps(now: Trial) -> bool:
    """Whether the loss of the second half of the run goes up about as often as down, by much."""
    losses = np.array(now.losses[len(now.losses) // 2 :])
    if len(losses) < 8:
        return False
    return bool(
        np.std(np.diff(losses)) > 0.3 * abs(np.median(losses)) and now.score > 0.5 * now.first
    )


def _is_restless(now: Trial) -> bool:
    """Whether the losses of the second half change by more than half of their median a step."""
    losses = np.array(now.losses[len(now.losses) // 2 :])
    if len(losses) < 8 or now.score < 0.05 * now.first:
        return False
    return bool(np.std(np.diff(losses)) > 0.5 * abs(np.median(losses)))


RULES = (step_size, few_steps)

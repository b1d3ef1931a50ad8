"""Verdicts on the loss and the network's output."""

from __future__ import annotations

import math

import numpy as np

from pullback.flow.evidence import Evidence, certainty
from pullback.flow.findings import Finding
from pullback.flow.head import Head
from pullback.flow.measure import rms
from pullback.flow.recording import record
from pullback.flow.thresholds import limit

__all__ = ["RULES"]

LARGE_OUTPUT = 8.0
MANY_ROWS = 0.05  # share of rows on a flat part of the loss


def loss_and_output(evidence: Evidence) -> list[Finding]:
    """Losses that no output of this network can make small, or whose gradient dies when wrong."""
    head = evidence.head
    if head is None:
        return []
    found = (
        _broadcast(evidence, head)
        or _constant_loss(head)
        or _unbounded(head)
        or _unreachable(evidence, head)
        or _wrong_without_gradient(evidence, head)
    )
    line = evidence.run.source(head.output)
    where = evidence.network.weighted[-1].path
    return [
        Finding(
            "loss and output",
            "severe" if confidence > 0.7 else "warning",
            confidence,
            tuple(texts),
            place=where,
            line=str(line or ""),
            value=value,
            threshold=limit("unreachable") if math.isfinite(value) else None,
            alternatives=others,
            remedies=("target shape", "target range", "loss", "adam", "higher learning rate"),
            advice=advice,
        )
        for confidence, texts, value, others, advice in found
    ]


Verdict = tuple[float, list[str], float, tuple[str, ...], str]


def _broadcast(evidence: Evidence, head: Head) -> list[Verdict]:
    shapes = head.broadcast
    y = evidence.targets
    if shapes is None or y is None or y.ndim != 1 or y.dtype.kind != "f":
        return []
    text = f"the loss combines shapes {' and '.join(map(str, shapes))} and compares every pair"
    advice = "give predictions and targets the same shape, e.g. output[:, 0]"
    return [(0.97, [text], math.nan, (), advice)]


def _constant_loss(head: Head) -> list[Verdict]:
    rng = np.random.default_rng(1)
    tries = [head.at(rng.normal(size=head.start.shape) * s) for s in (0.5, 2.0)]
    if any(np.any(ct) for _, ct in tries):
        return []
    text = "the loss is the same for all outputs: its gradient at the output is exactly 0"
    advice = "a softmax over one unit is always 1: use a sigmoid, or one output per class"
    others = ("a comparison or an integer cast between output and loss",)
    return [(0.97, [text], math.nan, others, advice)]


def _unbounded(head: Head) -> list[Verdict]:
    best, where = head.best
    if not best < -1 or rms(where) < LARGE_OUTPUT:
        return []
    text = f"the loss has no minimum: outputs of size {rms(where):.3g} give {best:.3g}"
    advice = "check the range of the targets that this loss expects"
    others = ("targets out of the loss's range",)
    return [(0.95, [text], math.nan, others, advice)]


def _unreachable(evidence: Evidence, head: Head) -> list[Verdict]:
    if not head.is_separate:
        return []
    best, _ = head.best
    constant = head.constant
    share = best / constant if constant > 0 else 0.0
    if not share > limit("unreachable").value:
        return []
    activation = head.activation
    inner = activation is not None and (activation.is_bounded or activation.rests)
    if head.plateau < MANY_ROWS:
        return []
    kind = activation.kind if activation is not None else "the output layer"
    texts = [
        f"the best outputs that exist leave a loss of {best:.3g}; one constant output for all rows "
        f"reaches {constant:.3g}"
    ]
    y = evidence.targets
    advice = "use a loss that takes the output as it is: logits, not probabilities"
    if inner and y is not None and y.dtype.kind == "f":
        texts.append(f"targets from {np.min(y):.3g} to {np.max(y):.3g} pass through {kind}")
        advice = f"leave out {kind} after the last layer, or scale the targets into its range"
    others = ("a softmax or sigmoid that is applied twice", "targets outside of the output's range")
    return [(certainty(share / limit("unreachable").value, 4), texts, share, others, advice)]


def _wrong_without_gradient(evidence: Evidence, head: Head) -> list[Verdict]:
    if not evidence.is_categorical or head.wrong > 1e-3 or not head.is_separate:
        return []
    text = (
        f"confidently wrong outputs get {head.wrong:.2g} times the gradient of undecided ones: "
        "what is wrong is not repaired"
    )
    advice = "use cross entropy on the logits instead of a squared error of probabilities"
    others = ("a rectified output",)
    return [(0.8, [text], math.nan, others, advice)]


def initial_loss(evidence: Evidence) -> list[Finding]:
    """The loss against ln(classes), which undecided outputs have."""
    head, y = evidence.head, evidence.targets
    if head is None or y is None or not evidence.is_categorical or not head.is_softmax:
        return []
    n_classes = head.start.shape[-1]
    expected = math.log(n_classes)
    ratio = evidence.probe.loss / expected
    if not ratio > limit("initial loss").value or rms(head.start) < 4:
        return []
    is_severe = ratio > limit("initial loss, severe").value
    return [
        Finding(
            "bad initialization",
            "severe" if is_severe else "warning",
            certainty(ratio / limit("initial loss").value, 5),
            (
                f"the loss is {evidence.probe.loss:.3g}; undecided outputs for {n_classes} classes "
                f"have ln {n_classes} = {expected:.3g}",
                f"outputs have RMS {rms(head.start):.3g}: confident before anything was learned",
            ),
            place=evidence.network.weighted[-1].path,
            value=ratio,
            threshold=limit("initial loss, severe" if is_severe else "initial loss"),
            alternatives=("a network that was trained on other labels", "inputs of large scale"),
            remedies=("initializer", "lsuv", "normalization"),
            advice="start the last layer with smaller weights",
        )
    ]


def loss_scale(evidence: Evidence) -> list[Finding]:
    """A loss multiplied by a number that makes all gradients tiny or huge."""
    head = evidence.head
    if head is None or evidence.run.output is None:
        return []
    strength = head.at_zero
    small = limit("loss scale").value
    if not 0 < strength < small and not strength > 1 / small:
        return []
    y = evidence.targets
    if y is not None and y.dtype.kind == "f" and not evidence.is_categorical:
        size = rms(y)
        if size > 0 and (size < 0.03) == (strength < small):
            return []  # the scale is that of the targets, which has a verdict of its own
    lost = max((layer.subnormal for layer in evidence.probe.layers), default=0.0)
    half = max((layer.half for layer in evidence.probe.layers), default=0.0)
    excess = small / strength if strength < small else strength * small
    return [
        Finding(
            "loss scale",
            "severe" if lost > 0.05 else "warning",
            certainty(excess, 30),
            (
                f"near output 0 the loss changes by {strength:.2g} per unit of one example's "
                "output; losses that are means of squares or cross entropies change by about 1",
                f"{lost:.0%} of the gradient entries are below the smallest normal number of their "
                f"dtype, {half:.0%} would be 0 in float16",
            ),
            value=strength,
            threshold=limit("loss scale"),
            alternatives=("targets of that scale", "a loss that is nearly solved"),
            remedies=("learning rate", "loss scale"),
            advice="take the mean over examples without further factors",
        )
    ]


def sum_for_mean(evidence: Evidence) -> list[Finding]:
    """Whether the loss grows with the number of rows."""
    problem, rows = evidence.problem, evidence.rows
    n = np.shape(rows[0])[0] if rows and np.ndim(rows[0]) else 0
    if n < 4 or problem.n_rows < 4 or evidence.head is None:
        return []
    half = n // 2
    values = []
    for part in (slice(0, half), slice(half, 2 * half), slice(0, 2 * half)):
        batch = [x[part] if np.ndim(x) else x for x in rows]
        run = record(problem.loss, problem.params, batch, root=problem.root)
        values.append(float(run.value))
    a, b, both = values
    close = 0.03 * abs(both)
    if abs(a + b - both) > close or abs((a + b) / 2 - both) < 5 * close:
        return []
    return [
        Finding(
            "sum instead of mean",
            "warning",
            0.95,
            (
                f"two halves of the rows have losses {a:.4g} and {b:.4g}, all of them {both:.4g}: "
                "the loss is a sum over rows",
                f"so the gradient is {problem.batch_size or n} times that of the mean, and grows "
                "with the batch",
            ),
            value=both / ((a + b) / 2),
            alternatives=("a sum on purpose, with a learning rate to match",),
            remedies=("lower learning rate",),
            advice="take np.mean over the rows, or divide the learning rate by their number",
        )
    ]


def target_scale(evidence: Evidence) -> list[Finding]:
    """Outputs that must grow or shrink far from 1 before the loss is small."""
    head, y = evidence.head, evidence.targets
    if head is None or y is None or y.dtype.kind != "f" or evidence.is_categorical:
        return []
    if head.activation is not None and head.activation.is_bounded:
        return []
    asked = rms(head.best[1])
    large, small = limit("target scale").value, limit("target scale, small").value
    size = rms(y)
    if not (asked > large and size > large) and not (asked < small and 0 < size < small):
        return []
    excess = asked / large if asked > large else small / max(asked, 1e-12)
    return [
        Finding(
            "target scale",
            "severe" if excess > 10 else "warning",
            certainty(excess, 10),
            (
                f"targets have mean {np.mean(y):.3g} and RMS {size:.3g}; the network starts with "
                f"outputs of RMS {rms(head.start):.3g}",
            ),
            place=f"batch[{len(evidence.rows) - 1}]",
            value=asked,
            threshold=limit("target scale" if asked > large else "target scale, small"),
            alternatives=("a loss scale or learning rate that does not fit",),
            remedies=("scale targets",),
            advice="train on (y - mean) / std of the targets, and undo it after predicting",
        )
    ]


RULES = (loss_and_output, initial_loss, loss_scale, sum_for_mean, target_scale)

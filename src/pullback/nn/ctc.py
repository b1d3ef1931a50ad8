"""Connectionist temporal classification: a loss for labels that are not aligned with the input."""

from __future__ import annotations

from typing import Any

import numpy as np

from pullback.control.scan import scan
from pullback.core.source import here
from pullback.errors import ArgumentError, ShapeError
from pullback.nn.functional import log_softmax

__all__ = ["ctc_loss"]

# Stands for the logarithm of 0: an infinity would make derivatives NaN.
LOWEST = -1e30


def ctc_loss(
    logits: Any, targets: Any, input_lengths: Any, target_lengths: Any, *, blank: int = 0
) -> Any:
    """Mean over examples of ``-log p(target) / length of the target``.

    ``p`` adds up the probabilities of all paths, a class for each step, that become the target
    when repeated classes are joined and blanks are then left out.

    Args:
        logits: ``(batch, T, classes)``.
        targets: integers ``(batch, S)``; what follows an example's length is not read.
        input_lengths: integers ``(batch,)``, steps of each example, from 1 to ``T``.
        target_lengths: integers ``(batch,)``, from 0 to ``S``; an empty target counts as length 1.
        blank: the class that stands for nothing.

    Returns:
        A scalar; infinity if a target needs more steps than there are, with no derivative there.

    Raises:
        ShapeError: if the shapes do not fit together.
        ArgumentError: if a length or class is out of range, where values are known.

    Source: Graves et al. (2006), "Connectionist Temporal Classification", eq. 6 to 8; the mean as
    PyTorch takes it.

    >>> import numpy as np
    >>> from pullback import nn
    >>> logits = np.log([[[0.4, 0.6], [0.3, 0.7]]])  # 1 comes from the paths 11, 1-, -1
    >>> loss = nn.ctc_loss(logits, np.array([[1]]), np.array([2]), np.array([1]))
    >>> round(float(np.exp(-loss)), 6), round(0.6 * 0.7 + 0.6 * 0.3 + 0.4 * 0.7, 6)
    (0.88, 0.88)
    """
    targets, input_lengths, target_lengths = (
        x if hasattr(x, "dtype") else np.asarray(x)
        for x in (targets, input_lengths, target_lengths)
    )
    _check(logits, targets, input_lengths, target_lengths, blank)
    batch, n_steps, _ = np.shape(logits)
    blanks = np.full((batch, np.shape(targets)[1]), blank)
    labels = np.reshape(np.stack([blanks, targets], axis=-1), (batch, -1))
    labels = np.concatenate([labels, np.full((batch, 1), blank)], axis=1)
    before = np.concatenate([np.full((batch, 2), blank), labels[:, :-2]], axis=1)
    can_skip = (labels != blank) & (labels != before)

    picks = np.broadcast_to(labels[:, None, :], (batch, n_steps, np.shape(labels)[1]))
    rows = np.swapaxes(np.take_along_axis(log_softmax(logits), picks, axis=2), 0, 1)
    places = np.arange(np.shape(labels)[1])
    start = np.where(places < 2, rows[0], LOWEST)

    def step(paths: Any, x: Any) -> tuple[Any, Any]:
        row, time = x
        moved = np.logaddexp(paths, _shifted(paths, 1))
        moved = np.where(can_skip, np.logaddexp(moved, _shifted(paths, 2)), moved) + row
        # Values far below others are as good as 0; kept from growing without bound.
        moved = np.maximum(moved, LOWEST)
        return np.where(time < input_lengths[:, None], moved, paths), ()

    paths, _ = scan(step, start, (rows[1:], np.arange(1, n_steps)))
    last = 2 * target_lengths[:, None]
    # Ends in the last label or in the blank behind it; an empty target has the blank only.
    is_end = (places == last) | (places == last - 1)
    ends = np.where(is_end, paths, LOWEST)
    peak = np.max(ends, axis=1, keepdims=True)
    log_p = peak[:, 0] + np.log(np.sum(np.exp(ends - peak), axis=1))
    cost = np.where(log_p > LOWEST / 2, -log_p, np.inf)
    return np.mean(cost / np.maximum(target_lengths, 1).astype(cost.dtype))


def _shifted(paths: Any, n: int) -> Any:
    if np.shape(paths)[1] <= n:
        return np.full_like(paths, LOWEST)
    empty = np.full((np.shape(paths)[0], n), LOWEST, paths.dtype)
    return np.concatenate([empty, paths[:, :-n]], axis=1)


def _check(logits: Any, targets: Any, input_lengths: Any, target_lengths: Any, blank: int) -> None:
    shapes = [np.shape(x) for x in (logits, targets, input_lengths, target_lengths)]
    batch = shapes[0][:1]
    if [len(s) for s in shapes] != [3, 2, 1, 1] or any(s[:1] != batch for s in shapes):
        raise ShapeError(
            "ctc_loss: the shapes do not fit together",
            where=str(here()),
            details=[
                f"{name}: {shape}"
                for name, shape in zip(
                    ("logits", "targets", "input_lengths", "target_lengths"), shapes, strict=True
                )
            ],
            fix="logits are (batch, T, classes), targets (batch, S), both lengths (batch,)",
        )
    n_classes = shapes[0][2]
    limits = (
        ("targets", targets, 0, n_classes - 1),
        ("input_lengths", input_lengths, 1, shapes[0][1]),
        ("target_lengths", target_lengths, 0, shapes[1][1]),
        ("blank", np.asarray(blank), 0, n_classes - 1),
    )
    for name, values, low, high in limits:
        if not isinstance(values, np.ndarray):
            continue
        if values.dtype.kind not in "iu" or np.any((values < low) | (values > high)):
            raise ArgumentError(
                f"ctc_loss: {name} are not all whole numbers from {low} to {high}",
                where=str(here()),
                details=[f"{name}: {values.dtype} {np.shape(values)}"],
                fix="number the classes from 0 on, and give lengths within the shapes",
            )

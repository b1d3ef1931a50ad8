"""Losses: the mean over a batch, as a scalar with the dtype of the predictions."""

from __future__ import annotations

from typing import Any

import numpy as np

from pullback.core.source import here
from pullback.errors import ArgumentError, ShapeError
from pullback.nn.functional import log_softmax
from pullback.ops.special import log_expit

__all__ = ["binary_cross_entropy_with_logits", "mean_squared_error", "softmax_cross_entropy"]


def mean_squared_error(predictions: Any, targets: Any) -> Any:
    """``mean((predictions - targets)**2)`` over all entries.

    Args:
        predictions: any shape.
        targets: the same shape; nothing is broadcast.

    Raises:
        ShapeError: if the shapes differ.

    >>> import numpy as np
    >>> from pullback import nn
    >>> float(nn.mean_squared_error(np.array([1.0, 2.0]), np.array([1.0, 4.0])))
    2.0
    """
    _same_shape("mean_squared_error", predictions, targets)
    return np.mean((predictions - targets) ** 2)


def softmax_cross_entropy(logits: Any, targets: Any) -> Any:
    """Mean of ``-log softmax(logits)`` at the target class, or against target probabilities.

    The gradient with respect to the logits is ``(softmax(logits) - targets) / batch``.
    Source: Bridle (1990), "Probabilistic Interpretation of Feedforward Classification Network
    Outputs", doi:10.1007/978-3-642-76153-9_28.

    Args:
        logits: ``(..., classes)``.
        targets: integers ``(...)`` from 0 to ``classes - 1``, or probabilities
            ``(..., classes)``. An integer out of range raises where values are known, and makes
            the loss NaN inside a compiled function.

    Raises:
        ShapeError: if the shapes do not fit.
        ArgumentError: if a class number is out of range.

    >>> import numpy as np
    >>> from pullback import nn
    >>> logits = np.log(np.array([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]]))
    >>> round(float(nn.softmax_cross_entropy(logits, np.array([1, 2]))), 6)
    0.804719
    >>> round(float(nn.softmax_cross_entropy(logits, np.array([[0, 1, 0], [0, 0, 1.0]]))), 6)
    0.804719
    """
    targets = targets if hasattr(targets, "dtype") else np.asarray(targets)
    log_probabilities = log_softmax(logits)
    if targets.dtype.kind == "f":
        _same_shape("softmax_cross_entropy", logits, targets)
        return -np.mean(np.sum(targets * log_probabilities, axis=-1))
    if targets.dtype.kind not in "iu" or np.shape(targets) != np.shape(logits)[:-1]:
        raise ShapeError(
            "softmax_cross_entropy: targets do not fit the logits",
            where=str(here()),
            details=[_described("logits", logits), _described("targets", targets)],
            fix=f"pass integers of shape {np.shape(logits)[:-1]}, or float probabilities of shape "
            f"{np.shape(logits)}",
        )
    n_classes = np.shape(logits)[-1]
    if isinstance(targets, np.ndarray):
        _check_range(targets, n_classes)
    is_target = targets[..., None] == np.arange(n_classes)
    picked = np.sum(np.where(is_target, log_probabilities, 0), axis=-1)
    return -np.mean(np.where(np.sum(is_target, axis=-1) == 1, picked, np.nan))


def binary_cross_entropy_with_logits(logits: Any, targets: Any) -> Any:
    """Mean of ``-targets * log p - (1 - targets) * log(1 - p)`` with ``p = sigmoid(logits)``.

    Computed from the logits, so that no probability is rounded to 0 or 1 first.

    Args:
        logits: any shape.
        targets: the same shape, between 0 and 1.

    Raises:
        ShapeError: if the shapes differ.

    >>> import numpy as np
    >>> from pullback import nn
    >>> logits, targets = np.array([0.0, 800.0]), np.array([1.0, 0.0])
    >>> round(float(nn.binary_cross_entropy_with_logits(logits, targets)), 6)
    400.346574
    """
    _same_shape("binary_cross_entropy_with_logits", logits, targets)
    return -np.mean(targets * log_expit(logits) + (1 - targets) * log_expit(-logits))


def _same_shape(name: str, predictions: Any, targets: Any) -> None:
    if np.shape(predictions) != np.shape(targets):
        raise ShapeError(
            f"{name}: predictions and targets have different shapes",
            where=str(here()),
            details=[_described("predictions", predictions), _described("targets", targets)],
            fix="reshape one of them; a loss does not broadcast, since (n, 1) against (n,) would "
            "compare every pair",
        )


def _check_range(targets: np.ndarray[Any, Any], n_classes: int) -> None:
    wrong = (targets < 0) | (targets >= n_classes)
    if np.any(wrong):
        position = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise ArgumentError(
            f"softmax_cross_entropy: class {targets[position]} does not exist",
            where=str(here()),
            details=[f"targets{list(position)}, with {n_classes} logits per example"],
            fix=f"number the classes from 0 to {n_classes - 1}",
        )


def _described(name: str, value: Any) -> str:
    return f"{name}: {value.dtype} {np.shape(value)}"

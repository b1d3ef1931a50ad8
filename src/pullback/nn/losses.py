"""Losses: the mean over a batch, as a scalar with the dtype of the predictions."""

from __future__ import annotations

from typing import Any

import numpy as np

from pullback.core.source import here
from pullback.errors import ArgumentError, ShapeError
from pullback.nn.functional import log_softmax
from pullback.ops.special import log_expit

__all__ = [
    "binary_cross_entropy_with_logits",
    "focal_loss",
    "hinge",
    "huber",
    "kl_divergence",
    "mean_squared_error",
    "multi_margin",
    "softmax_cross_entropy",
]


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
    probabilities = f", or float probabilities of shape {np.shape(logits)}"
    is_target = _is_target("softmax_cross_entropy", logits, targets, probabilities)
    return -np.mean(_picked(is_target, log_probabilities))


def _is_target(name: str, logits: Any, targets: Any, alternative: str = "") -> Any:
    """Where the target class of an example is, ``(..., classes)``."""
    if targets.dtype.kind not in "iu" or np.shape(targets) != np.shape(logits)[:-1]:
        raise ShapeError(
            f"{name}: targets do not fit the logits",
            where=str(here()),
            details=[_described("logits", logits), _described("targets", targets)],
            fix=f"pass integers of shape {np.shape(logits)[:-1]}{alternative}",
        )
    n_classes = np.shape(logits)[-1]
    if isinstance(targets, np.ndarray):
        _check_range(name, targets, n_classes)
    return targets[..., None] == np.arange(n_classes)


def _picked(is_target: Any, values: Any) -> Any:
    """The value at the target class; NaN where there is no such class."""
    picked = np.sum(np.where(is_target, values, 0), axis=-1)
    return np.where(np.sum(is_target, axis=-1) == 1, picked, np.nan)


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


def huber(predictions: Any, targets: Any, delta: float = 1.0) -> Any:
    """Mean of ``e**2 / 2`` where the error ``e`` is at most ``delta``, else ``delta * (|e| - delta
    / 2)``: quadratic for small errors, linear for large ones.

    Args:
        predictions: any shape.
        targets: the same shape.
        delta: positive.

    Raises:
        ShapeError: if the shapes differ.
        ArgumentError: if ``delta`` is not positive.

    Source: Huber (1964), "Robust Estimation of a Location Parameter",
    doi:10.1214/aoms/1177703732.

    >>> import numpy as np
    >>> from pullback import nn
    >>> float(nn.huber(np.array([0.5, 10.0]), np.zeros(2)))
    4.8125
    """
    _same_shape("huber", predictions, targets)
    _positive("huber", "delta", delta)
    size = np.abs(predictions - targets)
    inner = np.minimum(size, delta)
    return np.mean(inner * (size - 0.5 * inner))


def kl_divergence(logits: Any, targets: Any) -> Any:
    """Mean over examples of ``sum(p * (log p - log softmax(logits)))``, where ``p`` are targets.

    Args:
        logits: ``(..., classes)``.
        targets: probabilities of the same shape; where one is 0 it adds nothing.

    Raises:
        ShapeError: if the shapes differ.

    Source: Kullback & Leibler (1951), "On Information and Sufficiency", eq. 2.4.

    >>> import numpy as np
    >>> from pullback import nn
    >>> float(nn.kl_divergence(np.zeros((1, 2)), np.array([[1.0, 0.0]])).round(6))
    0.693147
    """
    _same_shape("kl_divergence", logits, targets)
    is_possible = targets > 0
    log_targets = np.log(np.where(is_possible, targets, 1))
    return np.mean(np.sum(targets * (log_targets - log_softmax(logits)), axis=-1))


def hinge(scores: Any, targets: Any) -> Any:
    """Mean of ``max(0, 1 - targets * scores)``.

    Args:
        scores: any shape.
        targets: the same shape: -1 or 1.

    Raises:
        ShapeError: if the shapes differ.

    Source: Cortes & Vapnik (1995), "Support-Vector Networks", doi:10.1007/BF00994018.

    >>> import numpy as np
    >>> from pullback import nn
    >>> float(nn.hinge(np.array([0.5, -3.0]), np.array([1.0, -1.0])))
    0.25
    """
    _same_shape("hinge", scores, targets)
    return np.mean(np.maximum(0, 1 - targets * scores))


def multi_margin(scores: Any, targets: Any, margin: float = 1.0) -> Any:
    """Mean over examples of ``sum(max(0, margin - scores[target] + scores[j])) / classes`` over the
    other classes ``j``.

    Args:
        scores: ``(..., classes)``.
        targets: integers ``(...)`` from 0 to ``classes - 1``.
        margin: by which the right class should lead; positive.

    Raises:
        ShapeError, ArgumentError: as :func:`softmax_cross_entropy`.

    Source: Weston & Watkins (1999), "Support Vector Machines for Multi-Class Pattern Recognition",
    eq. 3; divided by the number of classes, as PyTorch has it.

    >>> import numpy as np
    >>> from pullback import nn
    >>> float(nn.multi_margin(np.array([[1.0, 0.5, -2.0, 1.0]]), np.array([0])))
    0.375
    """
    _positive("multi_margin", "margin", margin)
    targets = targets if hasattr(targets, "dtype") else np.asarray(targets)
    is_target = _is_target("multi_margin", scores, targets)
    lead = _picked(is_target, scores)[..., None] - scores
    return (
        np.mean(np.sum(np.where(is_target, 0, np.maximum(0, margin - lead)), axis=-1))
        / (np.shape(scores)[-1])
    )


def focal_loss(logits: Any, targets: Any, *, gamma: float = 2.0, alpha: float = 0.25) -> Any:
    """Mean of ``-weight * (1 - p_t)**gamma * log p_t``: examples that are easy count little.

    ``p_t`` is ``sigmoid(logits)`` for the target 1 and one minus that for 0; the weight is
    ``alpha`` and ``1 - alpha``.

    Args:
        logits: any shape.
        targets: the same shape: 0 or 1.
        gamma: not negative; with 0 and ``alpha=0.5`` half the binary cross entropy.
        alpha: weight of the class 1, between 0 and 1.

    Raises:
        ShapeError: if the shapes differ.
        ArgumentError: if a number is out of range.

    Source: Lin et al. (2017), "Focal Loss for Dense Object Detection", eq. 5.

    >>> import numpy as np
    >>> from pullback import nn
    >>> round(float(nn.focal_loss(np.zeros(1), np.ones(1))), 6)
    0.043322
    """
    _same_shape("focal_loss", logits, targets)
    if not (gamma >= 0 and 0 <= alpha <= 1):
        raise ArgumentError(
            f"focal_loss: gamma is {gamma}, alpha {alpha}",
            fix="choose gamma from 0 on and alpha between 0 and 1",
        )
    sign = 2 * targets - 1
    log_right, log_wrong = log_expit(sign * logits), log_expit(-sign * logits)
    weight = alpha * targets + (1 - alpha) * (1 - targets)
    return -np.mean(weight * np.exp(gamma * log_wrong) * log_right)


def _positive(name: str, what: str, value: float) -> None:
    if not value > 0:
        raise ArgumentError(f"{name}: {what} is {value}", fix="choose a positive number")


def _same_shape(name: str, predictions: Any, targets: Any) -> None:
    if np.shape(predictions) != np.shape(targets):
        raise ShapeError(
            f"{name}: predictions and targets have different shapes",
            where=str(here()),
            details=[_described("predictions", predictions), _described("targets", targets)],
            fix="reshape one of them; a loss does not broadcast, since (n, 1) against (n,) would "
            "compare every pair",
        )


def _check_range(name: str, targets: np.ndarray[Any, Any], n_classes: int) -> None:
    wrong = (targets < 0) | (targets >= n_classes)
    if np.any(wrong):
        position = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise ArgumentError(
            f"{name}: class {targets[position]} does not exist",
            where=str(here()),
            details=[f"targets{list(position)}, with {n_classes} logits per example"],
            fix=f"number the classes from 0 to {n_classes - 1}",
        )


def _described(name: str, value: Any) -> str:
    return f"{name}: {value.dtype} {np.shape(value)}"

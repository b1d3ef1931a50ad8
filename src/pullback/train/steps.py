"""One step of training, and one measurement, as functions that are compiled whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from pullback import tree
from pullback.compiler.jit import compile as compiled
from pullback.errors import ArgumentError, ShapeError
from pullback.nn.layers import trained
from pullback.nn.state import with_statistics_of
from pullback.optim import Optimizer, clip_by_global_norm, global_norm
from pullback.transforms.derivatives import value_and_grad

__all__ = ["FIRST_SCALE", "check_first", "evaluation", "training_step"]

FIRST_SCALE = 2.0**15  # of losses in mixed precision
PATIENT_STEPS = 200  # without overflow, before the scale doubles
Loss = Callable[..., Any]


def outputs_and_loss(model: Any, loss: Loss, batch: Any, rng: Any) -> tuple[Any, Any]:
    """Loss of a batch in training, and the model with its next statistics.

    A model that can be called is called on the first array, and the loss on what it returns and the
    other arrays; of parameters alone, the loss is ``loss(params, *batch)``.
    """
    if not callable(model):
        return loss(model, *batch), model
    x, *targets = batch
    y, model = trained(model, x, rng)
    return loss(y, *targets), model


def training_step(
    loss: Loss,
    optimizer: Optimizer,
    *,
    clip: float | None = None,
    is_mixed: bool = False,
    is_compiled: bool = True,
) -> Callable[..., Any]:
    """``step(model, state, scale, rng, rates, *batch)``: the next three, loss and gradient's norm.

    ``rates`` is empty or holds the learning rate. In mixed precision weights and activations are
    float16 inside, the loss is multiplied by a scale so that small gradients do not become 0, and a
    step in which something overflows is left out and halves the scale (Micikevicius et al. 2018,
    "Mixed Precision Training", section 3).
    """

    def step(model: Any, state: Any, scale: Any, rng: Any, rates: Any, *batch: Any) -> Any:
        def objective(model: Any) -> tuple[Any, Any]:
            if not is_mixed:
                value, moved = outputs_and_loss(model, loss, batch, rng)
                return value, (value, moved)
            halved = tree.map(_half, (model, batch))

            def in_single(y: Any, *rest: Any) -> Any:
                return loss(tree.map(_single, y), *map(_single, rest))

            value, moved = outputs_and_loss(halved[0], in_single, halved[1], rng)
            return value * scale[0], (value, tree.map(_like, model, moved))

        (_, (value, moved)), grads = value_and_grad(objective, has_aux=True)(model)
        if is_mixed:
            grads = tree.map(lambda grad: grad / scale[0].astype(grad.dtype), grads)
        norm = global_norm(grads)
        if clip is not None:
            grads = clip_by_global_norm(grads, clip)
        new, new_state = optimizer.update(grads, state, moved, *rates)
        new = with_statistics_of(new, moved)
        if is_mixed:
            is_good = np.isfinite(norm)
            new, new_state = tree.map(
                lambda a, b: np.where(is_good, a, b), (new, new_state), (model, state)
            )
            scale = _next_scale(scale, is_good)
        return new, new_state, scale, value, norm

    return compiled(step) if is_compiled else step


def _half(x: Any) -> Any:
    return x.astype(np.float16) if x.dtype.kind == "f" else x


def _single(x: Any) -> Any:
    return x.astype(np.float32) if x.dtype.kind == "f" else x


def _like(old: Any, new: Any) -> Any:
    return new.astype(old.dtype)


def _next_scale(scale: Any, is_good: Any) -> Any:
    size, waited = scale
    waited = np.where(is_good, waited + 1, 0.0)
    is_due = waited >= PATIENT_STEPS
    size = np.where(is_good, np.where(is_due, 2 * size, size), np.maximum(size / 2, 1.0))
    return size, np.where(is_due, 0.0, waited)


def evaluation(
    loss: Loss, metrics: Mapping[str, Callable[..., Any]], *, is_compiled: bool = True
) -> Callable[..., Any]:
    """``measure(model, *batch)``: the loss and a dictionary of metrics, without changing anything.

    A metric is a function of what the loss is a function of; it returns a mean over the batch.
    """

    def measure(model: Any, *batch: Any) -> Any:
        args = (model(batch[0]), *batch[1:]) if callable(model) else (model, *batch)
        return loss(*args), {name: metric(*args) for name, metric in metrics.items()}

    return compiled(measure) if is_compiled else measure


def check_first(model: Any, loss: Loss, batch: Any, rng: Any) -> None:
    """Run the loss once on a batch, so that mistakes come from plain values and name their line.

    Raises:
        ShapeError: if the loss is no number.
        ArgumentError: if the model has no parameters.
    """
    if not tree.leaves(model):
        raise ArgumentError("fit: the model has no parameters", fix="pass a network, or arrays")
    value, _ = outputs_and_loss(model, loss, batch, rng)
    if np.shape(value) != ():
        raise ShapeError(
            f"fit: the loss has shape {np.shape(value)}",
            fix="return one number, such as the mean over the batch",
        )

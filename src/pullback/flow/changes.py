"""The remedies: changes of a model, its initial weights, its data or its recipe.

A function that changes returns the changed problem and recipe, or ``None`` where it does not apply.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from pullback.flow.diagnose import evidence_of
from pullback.flow.problem import Problem
from pullback.flow.rules_data import shifts
from pullback.flow.starts import lsuv, redrawn
from pullback.flow.surgery import with_activation, with_normalization, with_shortcuts
from pullback.flow.trials import Recipe
from pullback.nn import functional
from pullback.optim import adam

__all__ = ["DEFAULT", "REMEDIES", "Remedy"]

Change = tuple[Problem, Recipe]
Apply = Callable[[Problem, Recipe, np.random.Generator], Change | None]


@dataclass(frozen=True)
class Remedy:
    """A change of the model, of its initial weights, of the data's scale, or of the recipe.

    Attributes:
        name: what findings call it; several variants may share it.
        variant: which of them.
        change: the change of the user's code.
        apply: makes the changed problem and recipe, or ``None`` where it does not apply.
        from_now: whether it can be applied to parameters in the middle of training.
        needs: why it may not apply.
    """

    name: str
    variant: str
    change: str
    apply: Apply = dataclasses.field(repr=False, compare=False)
    from_now: bool = False
    needs: str = ""

    @property
    def title(self) -> str:
        return f"{self.name}: {self.variant}" if self.variant else self.name


def _recipe(**changes: Any) -> Apply:
    def apply(problem: Problem, recipe: Recipe, rng: np.random.Generator) -> Change:  # noqa: ARG001
        given = {k: v(recipe) if callable(v) else v for k, v in changes.items()}
        return problem, dataclasses.replace(recipe, **given)

    return apply


def _rate(factor: float) -> Apply:
    return _recipe(learning_rate=lambda recipe: recipe.learning_rate * factor)


def _start(draw: Callable[[Problem, np.random.Generator], Any]) -> Apply:
    def apply(problem: Problem, recipe: Recipe, rng: np.random.Generator) -> Change | None:
        params = draw(problem, rng)
        return None if params is None else (problem.with_params(params), recipe)

    return apply


def _activation(name: str) -> Callable[[Problem, np.random.Generator], Any]:
    function = getattr(functional, name)

    def draw(problem: Problem, rng: np.random.Generator) -> Any:
        model = with_activation(problem.params, function)
        return None if model is None else redrawn(problem.with_params(model), rng)

    return draw


def _structure(change: Callable[[Any], Any]) -> Callable[[Problem, np.random.Generator], Any]:
    return lambda problem, rng: change(problem.params)  # noqa: ARG005


def _optimizer(problem: Problem, recipe: Recipe, rng: np.random.Generator) -> Change | None:  # noqa: ARG001
    changed = dataclasses.replace(problem, optimizer=adam)
    return changed, dataclasses.replace(recipe, learning_rate=1e-2)


def _shuffled(problem: Problem, recipe: Recipe, rng: np.random.Generator) -> Change | None:  # noqa: ARG001
    if problem.shuffles:
        return None
    return dataclasses.replace(problem, shuffles=True), recipe


def _scaled_inputs(problem: Problem, recipe: Recipe, rng: np.random.Generator) -> Change | None:  # noqa: ARG001
    x = np.asarray(problem.batch[0])
    if x.dtype.kind != "f" or x.ndim < 2:
        return None
    mean, std = np.mean(x, axis=0), np.std(x, axis=0)
    scaled = ((x - mean) / np.where(std > 0, std, 1)).astype(x.dtype)
    return dataclasses.replace(problem, batch=(scaled, *problem.batch[1:])), recipe


def _without_outliers(problem: Problem, recipe: Recipe, rng: np.random.Generator) -> Change | None:  # noqa: ARG001
    x = np.asarray(problem.batch[0])
    if x.dtype.kind != "f" or x.ndim < 2 or not problem.n_rows:
        return None
    sizes = np.sqrt(np.mean(x.reshape(len(x), -1) ** 2, axis=1))
    keep = sizes <= 20 * np.median(sizes)
    if keep.all():
        return None
    return dataclasses.replace(problem, batch=problem.rows(np.flatnonzero(keep))), recipe


def _scaled_targets(problem: Problem, recipe: Recipe, rng: np.random.Generator) -> Change | None:  # noqa: ARG001
    if len(problem.batch) < 2:
        return None
    y = np.asarray(problem.batch[-1])
    if y.dtype.kind != "f" or np.std(y) == 0:
        return None
    scaled = ((y - np.mean(y, axis=0)) / np.std(y)).astype(y.dtype)
    return dataclasses.replace(problem, batch=(*problem.batch[:-1], scaled)), recipe


def _aligned(problem: Problem, recipe: Recipe, rng: np.random.Generator) -> Change | None:  # noqa: ARG001
    if len(problem.batch) < 2 or not problem.n_rows:
        return None
    x, y = np.asarray(problem.batch[0]), np.asarray(problem.batch[-1])
    if x.dtype.kind != "f" or y.dtype.kind not in "fiub":
        return None
    found = shifts(x, y)
    return _with_targets(problem, np.roll(y, found[0], axis=0), recipe) if found else None


def _with_targets(problem: Problem, y: Any, recipe: Recipe) -> Change:
    return dataclasses.replace(problem, batch=(*problem.batch[:-1], y)), recipe


def _shaped_targets(problem: Problem, recipe: Recipe, rng: np.random.Generator) -> Change | None:  # noqa: ARG001
    """Targets in the shape of the outputs."""
    head = evidence_of(problem).head
    y = np.asarray(problem.batch[-1])
    if head is None or y.dtype.kind != "f" or not problem.n_rows:
        return None
    shape = (problem.n_rows, *head.start.shape[1:])
    if y.shape == shape or y.size != math.prod(shape):
        return None
    return _with_targets(problem, y.reshape(shape), recipe)


def _ranged_targets(problem: Problem, recipe: Recipe, rng: np.random.Generator) -> Change | None:  # noqa: ARG001
    """Targets moved and scaled to where the output's activation still has a slope."""
    head = evidence_of(problem).head
    y = np.asarray(problem.batch[-1])
    if head is None or head.activation is None or y.dtype.kind != "f":
        return None
    reach = head.reach
    if reach is None:
        return None
    low, high = reach
    bottom, top = float(np.min(y)), float(np.max(y))
    if top == bottom or (bottom >= low and top <= high):
        return None
    factor = (high - low) / (top - bottom) if math.isfinite(high) else 1.0
    return _with_targets(problem, (low + factor * (y - bottom)).astype(y.dtype), recipe)


def _unit_loss(problem: Problem, recipe: Recipe, rng: np.random.Generator) -> Change | None:  # noqa: ARG001
    first = float(problem.loss(problem.params, *problem.sample(256)))
    if not first > 0 or not math.isfinite(first):
        return None
    loss = problem.loss

    def scaled(*args: Any) -> Any:
        return loss(*args) / first

    return dataclasses.replace(problem, loss=scaled), recipe


MODEL = "a model of nn layers whose linear layers and activations are in a nn.Sequential"
REMEDIES: tuple[Remedy, ...] = (
    Remedy(
        "initializer",
        "scaled",
        "draw weights with std gain / sqrt(fan_in), biases 0: "
        "nn.init.he for relu, nn.init.lecun(gain=...)",
        _start(redrawn),
    ),
    Remedy(
        "orthogonal",
        "",
        "draw weights with nn.init.orthogonal(gain=...)",
        _start(lambda p, rng: redrawn(p, rng, "orthogonal")),
    ),
    Remedy(
        "lsuv",
        "",
        "params = pullback.flow.lsuv(loss, params, x, y)",
        _start(lambda p, rng: lsuv(p, seed=int(rng.integers(1 << 30)))),
    ),
    Remedy(
        "activation",
        "relu",
        "replace the activations by nn.relu, weights by nn.init.he",
        _start(_activation("relu")),
        needs=MODEL,
    ),
    Remedy(
        "activation",
        "gelu",
        "replace the activations by nn.gelu",
        _start(_activation("gelu")),
        needs=MODEL,
    ),
    Remedy(
        "leaky activation",
        "leaky_relu",
        "replace the activations by nn.leaky_relu",
        _start(_activation("leaky_relu")),
        needs=MODEL,
    ),
    Remedy(
        "leaky activation",
        "elu",
        "replace the activations by nn.elu",
        _start(_activation("elu")),
        needs=MODEL,
    ),
    Remedy(
        "skip",
        "",
        "write h = h + activation(layer(h)) where the widths are equal",
        _start(_structure(with_shortcuts)),
        needs=MODEL,
    ),
    Remedy(
        "normalization",
        "",
        "put nn.layer_norm(z, scale, shift) before each activation",
        _start(_structure(with_normalization)),
        needs=MODEL,
    ),
    Remedy("clip", "1", "grads = optim.clip_by_global_norm(grads, 1.0)", _recipe(clip=1.0), True),
    Remedy("lower learning rate", "x 0.1", "learning_rate / 10", _rate(0.1), True),
    Remedy("lower learning rate", "x 0.01", "learning_rate / 100", _rate(0.01), True),
    Remedy("lower learning rate", "x 0.001", "learning_rate / 1000", _rate(0.001), True),
    Remedy("higher learning rate", "x 10", "learning_rate * 10", _rate(10.0), True),
    Remedy("higher learning rate", "x 100", "learning_rate * 100", _rate(100.0), True),
    Remedy(
        "warm-up",
        "a third of the steps",
        "grow the learning rate linearly at the start",
        _recipe(warm_up=lambda r: r.n_steps // 3),
        True,
    ),
    Remedy("adam", "0.01", "optimizer = optim.adam(0.01)", _optimizer, True),
    Remedy(
        "shuffle",
        "",
        "draw the rows in random order in each epoch",
        _shuffled,
        True,
        "rows that are not shuffled yet",
    ),
    Remedy(
        "more steps",
        "x 4",
        "train four times as long (not at equal steps)",
        _recipe(n_steps=lambda r: 4 * r.n_steps),
        True,
    ),
    Remedy(
        "scale inputs",
        "",
        "x = (x - x.mean(axis=0)) / x.std(axis=0)",
        _scaled_inputs,
        needs="a first array of floats, one row per example",
    ),
    Remedy(
        "drop outliers",
        "",
        "drop rows more than 20 times as large as the median row",
        _without_outliers,
        needs="rows that stand out",
    ),
    Remedy(
        "scale targets",
        "",
        "y = (y - y.mean()) / y.std()",
        _scaled_targets,
        needs="a last array of floats",
    ),
    Remedy("loss scale", "", "divide the loss by its first value", _unit_loss, True),
    Remedy(
        "align targets",
        "",
        "move the targets by the number of rows that makes them depend on the inputs",
        _aligned,
        needs="targets that depend on the inputs when they are moved by one or two rows",
    ),
    Remedy(
        "target shape",
        "",
        "y = y.reshape(output.shape)",
        _shaped_targets,
        needs="as many targets as outputs, in another shape",
    ),
    Remedy(
        "target range",
        "",
        "move and scale y into the range of the last activation",
        _ranged_targets,
        needs="targets that an activation of the output cannot reach",
    ),
)
DEFAULT = (
    "initializer",
    "activation",
    "skip",
    "normalization",
    "clip",
    "lower learning rate",
    "higher learning rate",
    "warm-up",
    "leaky activation",
    "adam",
)

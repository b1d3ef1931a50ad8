"""Remedies, each tried on the same data, in the same order of rows, from the same seeds."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pullback.errors import ArgumentError
from pullback.flow.diagnose import Diagnosis
from pullback.flow.measurements import to_json
from pullback.flow.problem import Problem, as_problem
from pullback.flow.starts import fresh, lsuv, redrawn
from pullback.flow.surgery import with_activation, with_normalization, with_shortcuts
from pullback.flow.text import columns, number, paragraph
from pullback.flow.trials import Recipe, Trial, train, trial_steps
from pullback.nn import functional
from pullback.optim import adam

__all__ = ["REMEDIES", "Outcome", "Remedy", "Treatment", "remedies"]

N_SEEDS = 3
# Two-sided 95% quantiles of Student's t by degrees of freedom; beyond ten, that of ten.
T_95 = (math.inf, 12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
WORSE = 1.02
WORST = 10.0  # times the first loss: what a run that diverged counts as

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

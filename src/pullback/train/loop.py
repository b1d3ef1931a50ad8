"""The training loop: split, standardize, step through minibatches, measure.

:func:`fit` is a generator of its own progress, so that whoever runs it decides what to show, what
to record, and when to stop.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from pullback.compiler.jit import compile as compiled
from pullback.errors import ArgumentError, DataError, NonFiniteError
from pullback.nn.layers import Linear
from pullback.nn.losses import mean_squared_error, softmax_cross_entropy
from pullback.nn.residual import Residual
from pullback.optim import Optimizer, adam, clip_by_global_norm, global_norm, sgd
from pullback.optim.base import number
from pullback.train.model import DTYPE, INITIALIZERS, Model, Spec, choice
from pullback.train.table import Table
from pullback.transforms.derivatives import value_and_grad

__all__ = ["OPTIMIZERS", "Progress", "Scores", "Settings", "fit", "loss_of", "score", "split"]

Array = np.ndarray[Any, Any]
Step = Callable[..., Any]

TEST_FRACTION = VALIDATION_FRACTION = 0.2
DEFAULT_STEPS = 1000
ROWS_PER_COLUMN = 2  # at least, for least squares to come before the first step
MOST_STEPS = 5000  # where rows are set apart to tell when to stop
# An optimizer by name: its constructor, and the learning rate that suits it.
OPTIMIZERS: dict[str, tuple[Callable[[float], Optimizer], float]] = {
    "adam": (adam, 1e-3),
    "momentum": (lambda rate: sgd(rate, momentum=0.9), 0.02),
    "nesterov": (lambda rate: sgd(rate, momentum=0.9, nesterov=True), 0.02),
    "sgd": (sgd, 0.1),
}
# What suits the slope of an activation at 0; the others are like ReLU.
SUITABLE_INITIALIZER = {"selu": "lecun", "sigmoid": "xavier", "tanh": "xavier"}


@dataclasses.dataclass(frozen=True)
class Settings:
    """How to train.

    Args:
        optimizer: a key of ``OPTIMIZERS``.
        learning_rate: ``None`` takes the one that suits the optimizer.
        initializer: a key of ``INITIALIZERS``; ``"auto"`` takes the one that suits the activation.
        epochs: passes over the training rows; ``None`` takes as many as ``DEFAULT_STEPS`` need.
        batch_size: rows per step at most; the steps of an epoch are equal.
        clip: longest allowed gradient; ``None`` for no limit.
        validation: share of the training rows that are set apart to tell when to stop; ``None``
            takes a fifth for a regression with hidden layers, which soon learns noise, else none.
        patience: passes without a new least loss on these rows, before training ends.
        seed: of the split, the initial weights and the order of rows.
    """

    optimizer: str = "adam"
    learning_rate: float | None = None
    initializer: str = "auto"
    epochs: int | None = None
    batch_size: int = 32
    clip: float | None = None
    seed: int = 0
    validation: float | None = None
    patience: int = 20

    def __post_init__(self) -> None:
        choice("optimizer", self.optimizer, OPTIMIZERS)
        choice("initializer", self.initializer, {"auto": None, **INITIALIZERS})
        for name, least in (("epochs", 1), ("batch_size", 1), ("seed", 0), ("patience", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ArgumentError(f"{name} is {value}", fix=f"choose a number from {least} on")
        self.make_optimizer()
        if self.validation is not None:
            number("validation", self.validation, 0, 1)
        if self.clip is not None:
            number("clip", self.clip, 0, math.inf)

    @property
    def rate(self) -> float:
        """The learning rate in use."""
        default = OPTIMIZERS[self.optimizer][1]
        return default if self.learning_rate is None else self.learning_rate

    def make_optimizer(self) -> Optimizer:
        """The optimizer with its learning rate."""
        return OPTIMIZERS[self.optimizer][0](self.rate)

    def streams(self) -> list[np.random.Generator]:
        """Independent generators: the split, the weights, the order of rows, validation rows."""
        return np.random.default_rng(self.seed).spawn(4)

    def set_apart(self, spec: Spec, n_rows: int) -> int:
        """How many training rows tell when to stop."""
        share = self.validation
        if share is None:
            is_flexible = spec.task == "regression" and spec.hidden
            share = VALIDATION_FRACTION if is_flexible else 0.0
        n = round(share * n_rows)
        return n if n_rows - n >= 2 else 0


@dataclasses.dataclass(frozen=True)
class Progress:
    """Where training stands after a step.

    Args:
        epoch: from 1.
        n_epochs: how many there will be.
        step: within the epoch, from 1.
        n_steps: steps per epoch.
        loss: mean over this epoch so far.
        accuracy: share of right answers in this epoch so far; ``None`` for regression.
        first_norm: norm of the gradient of the first layer in this step.
        last_norm: norm of the gradient of the last layer in this step.
        model: with the weights after this step.
    """

    epoch: int
    n_epochs: int
    step: int
    n_steps: int
    loss: float
    accuracy: float | None
    first_norm: float
    last_norm: float
    model: Model


def split(spec: Spec, targets: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """Row numbers for training and for test, a fifth of the rows, of each class for classification.

    Raises:
        DataError: if there are fewer than two rows.

    >>> import numpy as np
    >>> from pullback.train.loop import split
    >>> from pullback.train.model import Spec
    >>> spec = Spec(("x",), "y", (), "classification", (0, 1), (), "relu")
    >>> train, test = split(spec, np.array([0] * 10 + [1] * 5), np.random.default_rng(0))
    >>> len(train), sorted(int(row) // 10 for row in test)
    (12, [0, 0, 1])
    """
    if len(targets) < 2:
        raise DataError("one row cannot be split into training and test", fix="add rows")
    groups = [np.arange(len(targets))]
    if spec.task == "classification":
        groups = [np.flatnonzero(targets == i) for i in range(len(spec.classes))]
    train, test = [], []
    for rows in groups:
        order = rng.permutation(rows)
        n_test = max(1, round(TEST_FRACTION * len(rows)))
        test.append(order[:n_test])
        train.append(order[n_test:])
    return np.sort(np.concatenate(train)), np.sort(np.concatenate(test))


def fit(
    spec: Spec,
    settings: Settings,
    table: Table,
    rows: Array,
    *,
    is_compiled: bool = False,
    monitor: Callable[..., Any] | None = None,
) -> Iterator[Progress]:
    """Train a network of the given description; yields after every step.

    Args:
        spec: what to learn.
        settings: how.
        table: with the columns of ``spec``.
        rows: numbers of the training rows.
        is_compiled: run each step as native code, compiled at the first one.
        monitor: is called after every step as ``monitor(network, x, y, value=loss)``, such as a
            :class:`pullback.flow.Monitor` of ``loss_of(spec)(network(x), y)``.

    Raises:
        NonFiniteError: in the step where the loss or a gradient stops being finite.
    """
    n_held = settings.set_apart(spec, len(rows))
    if not n_held:
        yield from _passes(spec, settings, table, rows, is_compiled, monitor)
        return
    order = settings.streams()[3].permutation(rows)
    held, kept = np.sort(order[:n_held]), np.sort(order[n_held:])
    watch = _Watch(settings.patience, spec, table, held)
    last: Any = None
    for last in _passes(spec, settings, table, kept, is_compiled, monitor, watch):
        yield last
    # When to stop is known now, and all rows are used to get there.
    if watch.epoch:
        whole = dataclasses.replace(settings, epochs=watch.epoch)
        yield from _passes(spec, whole, table, rows, is_compiled, monitor)
    else:
        yield dataclasses.replace(last, model=_start(spec, settings, table, rows)[0])


def _passes(
    spec: Spec,
    settings: Settings,
    table: Table,
    rows: Array,
    is_compiled: bool,
    monitor: Callable[..., Any] | None,
    watch: _Watch | None = None,
) -> Iterator[Progress]:
    """Epochs over the rows, as many as set or until ``watch`` has seen enough."""
    model, x, y = _start(spec, settings, table, rows)
    if watch is not None:
        watch.see(model, 0)
    optimizer = settings.make_optimizer()
    step = _step(spec, settings, optimizer)
    if is_compiled:
        step = compiled(step)
    network, state = model.network, optimizer.init(model.network)
    n_steps = -(-len(x) // settings.batch_size)
    # Steps of one size are one compiled program; an epoch leaves out fewer rows than it has steps.
    size = len(x) // n_steps
    n_epochs = settings.epochs or -(-(MOST_STEPS if watch else DEFAULT_STEPS) // n_steps)
    order_rng = settings.streams()[2]
    for epoch in range(1, n_epochs + 1):
        loss = n_right = 0.0
        order = order_rng.permutation(len(x))[: n_steps * size].reshape(n_steps, size)
        for i, batch in enumerate(order, 1):
            # Overflow is reported below, with the step that it happened in.
            with np.errstate(all="ignore"):
                network, state, *measured = step(network, state, x[batch], y[batch])
            value, right, first_norm, last_norm = (float(m) for m in measured)
            _check_finite(settings, epoch, i, value, first_norm, last_norm)
            if monitor is not None:
                monitor(network, x[batch], y[batch], value=value)
            loss += value
            n_right += right
            yield Progress(
                epoch,
                n_epochs,
                i,
                n_steps,
                loss / i,
                n_right / (i * size) if spec.task == "classification" else None,
                first_norm,
                last_norm,
                dataclasses.replace(model, network=network),
            )
        if watch is not None:
            watch.see(dataclasses.replace(model, network=network), epoch)
            if watch.is_over(epoch):
                return


class _Watch:
    """The loss on rows that are set apart, and the epoch after which it was least."""

    def __init__(self, patience: int, spec: Spec, table: Table, rows: Array) -> None:
        self.patience, self.measure = patience, loss_of(spec)
        self.features = table.features(spec.columns)[rows]
        self.targets = spec.targets(table)[rows]
        self.least, self.epoch = math.inf, 0

    def see(self, model: Model, epoch: int) -> None:
        """Measure a model after an epoch."""
        outputs = model.network(model.inputs(self.features))
        value = float(self.measure(outputs, _scaled(model, self.targets)))
        if value < self.least:
            self.least, self.epoch = value, epoch

    def is_over(self, epoch: int) -> bool:
        """Whether there has been no new least loss for long enough."""
        return epoch - self.epoch >= self.patience


def _start(spec: Spec, settings: Settings, table: Table, rows: Array) -> tuple[Model, Array, Array]:
    """A model before the first step, and the inputs and targets of its network."""
    features, targets = table.features(spec.columns)[rows], spec.targets(table)[rows]
    initializer = settings.initializer
    if initializer == "auto":
        initializer = SUITABLE_INITIALIZER.get(spec.activation, "he")
    network = spec.network(settings.streams()[1], initializer)
    model = _untrained(spec, network, features, targets, table.has_one_unit)
    x, y = model.inputs(features), _scaled(model, targets)
    if isinstance(network, Residual) and len(x) >= ROWS_PER_COLUMN * (x.shape[1] + 1):
        # Standardized, both have mean 0: least squares needs no constant.
        weight = np.linalg.lstsq(x.astype(np.float64), y.astype(np.float64))[0]
        straight = Linear(weight.astype(DTYPE), network.shortcut.bias)
        model = dataclasses.replace(model, network=dataclasses.replace(network, shortcut=straight))
    return model, x, y


def _scaled(model: Model, targets: Array) -> Array:
    """Targets as the network has them: classes as they are, numbers standardized in a column."""
    if model.spec.task == "classification":
        return targets
    scaled: Array = ((targets - model.target_mean) / model.target_std).astype(DTYPE)[:, None]
    return scaled


def _untrained(
    spec: Spec, network: Any, features: Array, targets: Array, has_one_unit: bool
) -> Model:
    mean, std = features.mean(axis=0), features.std(axis=0)
    if has_one_unit:
        # By its own spread, a pixel that is nearly always dark would outshine all others.
        std = np.full_like(std, np.sqrt(np.mean(std**2)))
    target_mean, target_std = np.zeros(()), np.ones(())
    if spec.task == "regression":
        target_mean, target_std = np.asarray(targets.mean()), np.asarray(targets.std())
    # A constant has no scale of its own; rounding can leave a trace of one.
    std = np.where(std > 1e-12 * np.abs(mean), std, 1)
    target_std = np.where(target_std > 1e-12 * np.abs(target_mean), target_std, 1)
    return Model(spec, network, mean, std, target_mean, target_std)


def loss_of(spec: Spec) -> Callable[[Any, Any], Any]:
    """The loss that suits the task, of outputs and targets."""
    return softmax_cross_entropy if spec.task == "classification" else mean_squared_error


def _step(spec: Spec, settings: Settings, optimizer: Optimizer) -> Step:
    is_classification = spec.task == "classification"
    measure = loss_of(spec)

    def objective(network: Any, x: Any, y: Any) -> tuple[Any, Any]:
        outputs = network(x)
        return measure(outputs, y), outputs

    def step(network: Any, state: Any, x: Any, y: Any) -> tuple[Any, ...]:
        (loss, outputs), grads = value_and_grad(objective, has_aux=True)(network, x, y)
        layers = (grads.branch if isinstance(grads, Residual) else grads).layers
        first_norm, last_norm = (global_norm(layers[i]) for i in (0, -1))
        if settings.clip is not None:
            grads = clip_by_global_norm(grads, settings.clip)
        network, state = optimizer.update(grads, state, network)
        right = np.sum(np.argmax(outputs, axis=1) == y) if is_classification else np.zeros(())
        return network, state, loss, right, first_norm, last_norm

    return step


def _check_finite(settings: Settings, epoch: int, step: int, *values: float) -> None:
    if all(math.isfinite(value) for value in values):
        return
    names = ("loss", "norm of the first layer's gradient", "norm of the last layer's gradient")
    raise NonFiniteError(
        f"training left the finite numbers in epoch {epoch}, step {step}",
        details=[f"{name}: {value:g}" for name, value in zip(names, values, strict=True)],
        fix=f"lower the learning rate (it is {settings.rate:g}), or clip the gradient (--clip 1)",
    )


@dataclasses.dataclass(frozen=True)
class Scores:
    """How well a model answers for some rows.

    Args:
        n_rows: how many rows.
        accuracy: share of right answers; ``None`` for regression.
        rmse: root of the mean squared error in units of the target; ``None`` for classification.
        r2: ``1 - squared error / variance of the targets``; ``None`` for classification.
    """

    n_rows: int
    accuracy: float | None = None
    rmse: float | None = None
    r2: float | None = None

    def __str__(self) -> str:
        if self.accuracy is not None:
            n_right = round(self.accuracy * self.n_rows)
            return f"accuracy {self.accuracy:.4f} ({n_right} of {self.n_rows} rows)"
        return f"RMSE {self.rmse:.6g}, R2 {self.r2:.4f} ({self.n_rows} rows)"


def score(model: Model, answers: Array, table: Table, rows: Array) -> Scores:
    """Compare ``answers`` for all rows of ``table`` with its target, on the given rows."""
    targets = model.spec.targets(table)[rows]
    answers = answers[rows]
    if model.spec.task == "classification":
        return Scores(len(rows), accuracy=float(np.mean(answers == targets)))
    mse = float(np.mean((answers - targets) ** 2))
    variance = float(np.var(targets))
    return Scores(len(rows), rmse=math.sqrt(mse), r2=1 - mse / variance if variance else math.nan)

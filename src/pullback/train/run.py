"""``fit``: train any model with any loss on any data, and lose nothing on the way."""

from __future__ import annotations

import dataclasses
import math
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from pullback import random, tree
from pullback.errors import ArgumentError, NonFiniteError, SnapshotError
from pullback.optim import Optimizer, Plateau, adam
from pullback.train.batches import Augment, Batches, batches_of
from pullback.train.reports import Reports
from pullback.train.snapshot import Progress, RunState, load_run, save_run
from pullback.train.steps import FIRST_SCALE, check_first, evaluation, training_step

__all__ = ["Result", "fit"]

Rate = float | Callable[[Any], Any] | Plateau


@dataclasses.dataclass(frozen=True)
class Result:
    """What a run came to.

    Args:
        model: after the best epoch if there is validation data, else after the last step.
        history: a dictionary of numbers per epoch: ``epoch``, ``loss`` (the mean over its steps),
            ``validation_loss`` and metrics.
        best_epoch: with the least validation loss (or loss, without such data); 0 if none ended.
        steps: taken in all.
        stopped: why it ended: ``"finished"``, ``"patience"``, ``"callback"`` or ``"interrupted"``.
    """

    model: Any
    history: list[dict[str, float]]
    best_epoch: int
    steps: int
    stopped: str


def fit(
    model: Any,
    loss: Callable[..., Any],
    data: Any,
    *,
    epochs: int = 10,
    batch_size: int = 32,
    optimizer: Optimizer | None = None,
    learning_rate: Rate | None = None,
    clip: float | None = None,
    precision: str = "full",
    validation: Any = None,
    metrics: Mapping[str, Callable[..., Any]] | None = None,
    patience: int | None = None,
    augment: Augment | None = None,
    target: str | None = None,
    seed: int = 0,
    snapshot: str | Path | None = None,
    snapshot_seconds: float = 60.0,
    resume: bool = False,
    callbacks: Sequence[Callable[[dict[str, float], Any], Any]] = (),
    monitor: Callable[..., Any] | None = None,
    log: str | Path | None = None,
    tensorboard: str | Path | None = None,
    curves: str | Path | None = None,
    show: bool | Callable[[str], Any] = True,
    compile: bool = True,
) -> Result:
    """Train ``model`` so that ``loss`` falls on ``data``.

    A model that can be called, such as a network of :mod:`pullback.nn`, is called on the first
    array of a batch, and the loss on what it returns and the other arrays: ``loss(model(x), y)``.
    Layers that behave differently in training, such as batch normalization and dropout, do. A model
    that cannot be called is a container of parameters: ``loss(params, *batch)``.

    Args:
        model: a network or parameters; it is not changed.
        loss: returns one number, the mean over a batch.
        data: arrays, a function of the epoch, or a file: see :func:`batches_of`.
        epochs: passes over the data.
        batch_size: rows per step at most.
        optimizer: Adam unless given.
        learning_rate: in place of the optimizer's own: a number, a schedule of
            :mod:`pullback.optim`, or a :class:`~pullback.optim.Plateau` that follows the validation
            loss. It is an argument of the compiled step, which no value compiles again.
        clip: longest allowed gradient.
        precision: ``"full"``, or ``"float16"``: weights and activations inside a step are float16,
            with a scale of the loss that follows overflows; parameters stay as they are.
        validation: data to measure on after each epoch, or the share of rows to set apart for it.
        metrics: functions like the loss, measured on the validation data (or all data) by name.
        patience: end when so many epochs in a row bring no new least validation loss.
        augment: ``augment(batch, rng)`` returns a changed batch; it runs in a thread.
        target: column to predict, if ``data`` is a table.
        seed: of the order of rows, noise, augmentation and the rows set apart.
        snapshot: file for the whole run, written after every epoch and when ``snapshot_seconds``
            have passed; killed at any time, a run loses no more than the steps since.
        resume: go on from that file if it is there; the result is that of a run without a break,
            bit by bit.
        callbacks: called as ``callback(numbers, model)`` after every epoch; true ends the run.
        monitor: called as ``monitor(model, *batch, value=loss)`` after every step, such as a
            :class:`pullback.flow.Monitor`.
        log: file for a line of JSON per epoch.
        tensorboard: folder for event files.
        curves: picture of the losses and metrics.
        show: whether to print a line per epoch on standard error, or what to do with such a line.
        compile: run the steps as native code.

    Returns:
        A :class:`Result`. Ctrl-C ends the run after the step, and saves it.

    Raises:
        ArgumentError: if an argument makes no sense; before the first step.
        NonFiniteError: in the step where the loss or its gradient stops being finite.
        SnapshotError: if the snapshot to resume from is damaged or of another run.

    >>> import numpy as np
    >>> import pullback as pb
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(256, 2))
    >>> y = np.sin(x[:, :1]) * x[:, 1:]
    >>> net = pb.nn.mlp(rng, (2, 32, 1), activation=pb.nn.tanh)
    >>> optimizer = pb.optim.adam(0.01)
    >>> result = pb.train.fit(
    ...     net, pb.nn.mean_squared_error, (x, y), epochs=60, optimizer=optimizer, show=False
    ... )
    >>> result.stopped, result.steps, bool(result.history[-1]["loss"] < 0.02)
    ('finished', 480, True)
    """
    _check(epochs, precision, patience, snapshot, resume)
    if isinstance(validation, float):
        data, validation = _set_apart(batches_of(data, batch_size, seed=seed, target=target),
                                      validation, seed)  # fmt: skip
    training = batches_of(data, batch_size, seed=seed, augment=augment, target=target)
    held = None if validation is None else batches_of(validation, batch_size, target=target)
    run = _Run(
        loss=loss,
        training=training,
        held=held,
        epochs=epochs,
        optimizer=optimizer or adam(),
        learning_rate=learning_rate,
        metrics=dict(metrics or {}),
        patience=patience,
        snapshot=snapshot,
        snapshot_seconds=snapshot_seconds,
        callbacks=callbacks,
        monitor=monitor,
        reports=Reports(log, tensorboard, curves, _printer(show)),
        clip=clip,
        is_mixed=precision == "float16",
        is_compiled=compile,
        settings={"seed": seed, "batch_size": batch_size, "rows": training.n_rows,
                  "precision": precision, "clip": clip},
    )  # fmt: skip
    try:
        run.start(model, seed, resume)
        return run.go()
    finally:
        run.reports.close()


def _check(
    epochs: int, precision: str, patience: int | None, snapshot: str | Path | None, resume: bool
) -> None:
    if epochs < 1:
        raise ArgumentError(f"epochs is {epochs}", fix="choose a number from 1 on")
    if precision not in ("full", "float16"):
        raise ArgumentError(f"precision is {precision!r}", fix="use 'full' or 'float16'")
    if patience is not None and patience < 1:
        raise ArgumentError(f"patience is {patience}", fix="choose a number from 1 on")
    if resume and snapshot is None:
        raise ArgumentError("resume=True without a snapshot", fix="name the file: snapshot=...")
    if snapshot is not None and not Path(snapshot).resolve().parent.is_dir():
        raise ArgumentError(
            f"snapshot: there is no folder {Path(snapshot).parent}", fix="make it first"
        )


def _set_apart(data: Batches, share: float, seed: int) -> tuple[Any, Any]:
    """Rows for training and for validation, drawn with the seed."""
    n = data.n_rows
    if data.arrays is None or n is None:
        raise ArgumentError(
            "validation is a share, and the data a function", fix="pass validation data of its own"
        )
    n_held = round(share * n)
    if not 0 < share < 1 or not 0 < n_held < n:
        raise ArgumentError(
            f"validation is {share:g} of {n} rows",
            fix="choose a share that leaves rows on both sides",
        )
    order = np.random.default_rng([seed, 0]).permutation(n)
    held, kept = np.sort(order[:n_held]), np.sort(order[n_held:])
    return tuple(tuple(x[rows] for x in data.arrays) for rows in (kept, held))  # type: ignore[return-value]


def _printer(show: bool | Callable[[str], Any]) -> Callable[[str], Any] | None:
    if callable(show):
        return show
    return (lambda line: print(line, file=sys.stderr, flush=True)) if show else None  # noqa: T201


@dataclasses.dataclass
class _Run:
    """What stays the same in a run, and where it stands (:meth:`start` sets that)."""

    loss: Callable[..., Any]
    training: Batches
    held: Batches | None
    epochs: int
    optimizer: Optimizer
    learning_rate: Rate | None
    metrics: dict[str, Callable[..., Any]]
    patience: int | None
    snapshot: str | Path | None
    snapshot_seconds: float
    callbacks: Sequence[Callable[..., Any]]
    monitor: Callable[..., Any] | None
    reports: Reports
    clip: float | None
    is_mixed: bool
    is_compiled: bool
    settings: dict[str, Any]

    def start(self, model: Any, seed: int, resume: bool) -> None:
        """Make the first state, or read it."""
        model = tree.map(np.asarray, model)
        rng = random.default_rng(seed)
        numbers = (FIRST_SCALE, 0) if self.is_mixed else ()
        scale = tuple(np.asarray(x, np.float32) for x in numbers)
        self.state = RunState(model, model, self.optimizer.init(model), rng, scale)
        self.progress = Progress()
        if resume and self.snapshot is not None and Path(self.snapshot).exists():
            self.state, self.progress = load_run(self.snapshot, self.state, self.settings)
        else:
            first = next(iter(self.training.epoch(1)), None)
            if first is None:
                raise ArgumentError("data: the first epoch has no batch", fix="give it rows")
            check_first(model, self.loss, first, random.default_rng(seed))
        self.step = training_step(
            self.loss,
            self.optimizer,
            clip=self.clip,
            is_mixed=self.is_mixed,
            is_compiled=self.is_compiled,
        )
        self.measure = evaluation(self.loss, self.metrics, is_compiled=self.is_compiled)
        self.saved_at = time.monotonic()

    def go(self) -> Result:
        """Run the epochs that are left."""
        progress, why = self.progress, "finished"
        with _interruptions() as interrupted:
            while not progress.is_done and progress.epoch <= self.epochs:
                self._epoch(interrupted)
                if interrupted.is_set():
                    why = "interrupted"
                    break
                why = self._after_epoch() or why
                progress.is_done = why != "finished"
                self._save(must=False)
        if self.snapshot is not None and why == "interrupted":
            self._save(must=True)
            if self.reports.show is not None:
                self.reports.show(
                    f"interrupted in epoch {progress.epoch} of {self.epochs}, after step "
                    f"{progress.total_steps}: saved {self.snapshot}; run again with resume=True to "
                    "go on"
                )
        is_best = self.held is not None and progress.best_epoch > 0
        return Result(
            self.state.best if is_best else self.state.model,
            progress.history,
            progress.best_epoch,
            progress.total_steps,
            why,
        )

    def _epoch(self, interrupted: threading.Event) -> None:
        """The steps that are left of an epoch, or until it is interrupted."""
        progress, state = self.progress, self.state
        for batch in self.training.epoch(progress.epoch, progress.step):
            # Overflow is reported below, with the step that it happened in.
            with np.errstate(all="ignore"):
                state.model, state.optimizer, state.scale, value, norm = self.step(
                    state.model, state.optimizer, state.scale, state.rng, self._rates(), *batch
                )
            value = float(value)
            if not (math.isfinite(value) and (self.is_mixed or math.isfinite(norm))):
                raise self._not_finite(value, float(norm))
            progress.step += 1
            progress.total_steps += 1
            progress.loss_sum += value
            if self.monitor is not None:
                self.monitor(state.model, *batch, value=value)
            if interrupted.is_set():
                return
            if time.monotonic() - self.saved_at > self.snapshot_seconds:
                self._save(must=False)

    def _rates(self) -> tuple[Any, ...]:
        if self.learning_rate is None:
            return ()
        if isinstance(self.learning_rate, Plateau):
            plateau = self.progress.plateau
            return (self.learning_rate.rate if plateau is None else plateau[0],)
        if callable(self.learning_rate):
            return (float(self.learning_rate(self.progress.total_steps)),)
        return (float(self.learning_rate),)

    def _after_epoch(self) -> str | None:
        """Measure, report, remember the best; the reason to stop, if there is one."""
        progress = self.progress
        n_steps = max(progress.step, 1)
        numbers: dict[str, float] = {"epoch": progress.epoch, "loss": progress.loss_sum / n_steps}
        if self.held is not None or self.metrics:
            prefix = "" if self.held is None else "validation_"
            found = _means(self.measure, self.state.model, self.held or self.training)
            if self.held is None:
                found.pop("loss")
            numbers |= {prefix + name: value for name, value in found.items()}
        rates = self._rates()
        if rates and not isinstance(self.learning_rate, float):
            numbers["rate"] = float(rates[0])
        progress.history.append(numbers)
        watched = numbers.get("validation_loss", numbers["loss"])
        if watched < progress.best_loss:
            progress.best_loss, progress.best_epoch = watched, progress.epoch
            self.state.best = self.state.model
        self._move_plateau(watched)
        self.reports.epoch(progress.history, self.epochs)
        progress.epoch, progress.step, progress.loss_sum = progress.epoch + 1, 0, 0.0
        calls = [callback(numbers, self.state.model) for callback in self.callbacks]
        if any(calls):
            return "callback"
        if self.patience is not None and progress.epoch - 1 - progress.best_epoch >= self.patience:
            return "patience"
        return None

    def _move_plateau(self, value: float) -> None:
        if not isinstance(self.learning_rate, Plateau):
            return
        schedule = self.learning_rate
        if self.progress.plateau is not None:
            rate, best, waited = self.progress.plateau
            schedule = dataclasses.replace(schedule, rate=rate, best=best, waited=waited)
        schedule = schedule.update(value)
        self.progress.plateau = [float(schedule.rate), float(schedule.best), float(schedule.waited)]

    def _save(self, *, must: bool) -> None:
        """Write the snapshot; where that fails in between, the one before stays and the run goes
        on.
        """
        if self.snapshot is None:
            return
        try:
            save_run(self.snapshot, self.state, self.progress, self.settings)
        except SnapshotError as error:
            if must:
                raise
            warnings.warn(f"no new snapshot: {error}", RuntimeWarning, stacklevel=5)
        self.saved_at = time.monotonic()

    def _not_finite(self, value: float, norm: float) -> NonFiniteError:
        progress = self.progress
        details = [f"loss: {value:g}", f"norm of the gradient: {norm:g}"]
        if self.snapshot is not None:
            details.append(f"{self.snapshot} holds the run as it was before")
        return NonFiniteError(
            f"training left the finite numbers in epoch {progress.epoch}, step {progress.step + 1}",
            details=details,
            fix="lower the learning rate, clip the gradient (clip=1.0), or look at the data",
        )


def _means(measure: Callable[..., Any], model: Any, data: Batches) -> dict[str, float]:
    """Means over all rows of the loss and the metrics of batches."""
    totals: dict[str, float] = {}
    n_rows = 0
    for batch in data.in_order():
        n = len(batch[0])
        value, metrics = measure(model, *batch)
        for name, number in {"loss": value, **metrics}.items():
            totals[name] = totals.get(name, 0.0) + n * float(number)
        n_rows += n
    return {name: total / n_rows for name, total in totals.items()}


@contextmanager
def _interruptions() -> Iterator[threading.Event]:
    """An event that Ctrl-C sets; a second one interrupts as ever. Only in the main thread."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return

    def note(*_: Any) -> None:
        event.set()
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, before)

"""A run on disk: all that it needs to go on, in one file that is complete or not there.

Weights, the best weights, the optimizer and the generator are arrays; the position in the data, the
metrics and the schedule are text. The file is that of :mod:`pullback.io`: checksummed, written
beside its place and moved there, and checked as a whole before anything is taken from it.
"""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from pullback import io, tree
from pullback.errors import SnapshotError

__all__ = ["Progress", "RunState", "load_run", "save_run"]

KEY = "pullback.run"
FORMAT = 1


@dataclasses.dataclass
class RunState:
    """The arrays of a run: a container.

    Args:
        model: the network, or parameters, after the last step.
        best: the same after the best epoch.
        optimizer: its state.
        rng: the generator of noise in training.
        scale: that losses are multiplied by in mixed precision, and steps since it last changed.
    """

    model: Any
    best: Any
    optimizer: Any
    rng: Any
    scale: Any


tree.dataclass(RunState)


@dataclasses.dataclass
class Progress:
    """The numbers of a run; text in the file.

    Args:
        epoch: which one runs, from 1.
        step: steps of it that are done.
        total_steps: done in all epochs.
        loss_sum: of the losses of the epoch's steps so far.
        history: a dictionary of numbers for each epoch that is done.
        best_loss: least so far; infinity before the first epoch ends.
        best_epoch: when that was; 0 before.
        plateau: what a :class:`pullback.optim.Plateau` remembers: rate, best value, epochs waited.
        is_done: whether the run has ended, by itself or by early stopping.
    """

    epoch: int = 1
    step: int = 0
    total_steps: int = 0
    loss_sum: float = 0.0
    history: list[dict[str, float]] = dataclasses.field(default_factory=list)
    best_loss: float = math.inf
    best_epoch: int = 0
    plateau: list[float] | None = None
    is_done: bool = False


def save_run(
    path: str | Path, state: RunState, progress: Progress, settings: dict[str, Any]
) -> None:
    """Write a run; ``settings`` are what it can only go on with.

    Raises:
        SnapshotError: if it cannot be written; the file before stays as it was.
    """
    text = {"format": FORMAT, "settings": settings, "progress": dataclasses.asdict(progress)}
    io.save(path, state, {KEY: json.dumps(text)})


def load_run(
    path: str | Path, like: RunState, settings: dict[str, Any]
) -> tuple[RunState, Progress]:
    """Read what :func:`save_run` wrote.

    Raises:
        SnapshotError: if the file is missing, damaged, of another program, or of a run with other
            settings or another model.
    """
    text = io.metadata(path).get(KEY)
    if text is None:
        raise SnapshotError(
            f"{path} is no snapshot of a run",
            details=["it may hold weights alone"],
            fix="resume from a file that fit(snapshot=...) wrote",
        )
    try:
        content = json.loads(text)
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']}, not {FORMAT}")
        saved, progress = content["settings"], Progress(**content["progress"])
        _check(progress)
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise SnapshotError(
            f"{path}: the description of the run is damaged",
            details=[str(error)],
            fix="start again, or restore the file from a copy",
        ) from error
    different = [
        f"{name}: {saved.get(name)!r} in the file, {settings.get(name)!r} now"
        for name in {**saved, **settings}
        if saved.get(name) != settings.get(name)
    ]
    if different:
        raise SnapshotError(
            f"{path} is a snapshot of another run",
            details=different,
            fix="resume with the settings and data that it started with, or name another file",
        )
    state = io.load(path, like)
    return tree.map(_same_kind, like, state), progress


def _same_kind(like: Any, leaf: Any) -> Any:
    """A number where the run has a number: it would be compiled anew as an array."""
    return type(like)(leaf) if isinstance(like, float | int | np.generic) else leaf


KINDS: dict[str, Any] = {
    "int": int,
    "float": (float, int),
    "bool": bool,
    "list[dict[str, float]]": list,
    "list[float] | None": (list, type(None)),
}


def _check(progress: Progress) -> None:
    for field in dataclasses.fields(Progress):
        value = getattr(progress, field.name)
        if not isinstance(value, KINDS[str(field.type)]):
            raise TypeError(f"{field.name} is {value!r}")
    if progress.epoch < 1 or progress.step < 0:
        raise ValueError(f"epoch {progress.epoch}, step {progress.step}")

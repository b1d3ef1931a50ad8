"""``pullback train``."""

from __future__ import annotations

import dataclasses
import os
import sys
import time
from collections.abc import Callable
from io import StringIO
from json import dumps
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from pullback import io
from pullback.errors import ArgumentError
from pullback.train.display import follow
from pullback.train.loop import DEFAULT_STEPS, OPTIMIZERS, Scores, Settings, fit, score, split
from pullback.train.model import (
    ACTIVATIONS,
    DEFAULT_HIDDEN,
    INITIALIZERS,
    Model,
    Spec,
    describe,
)
from pullback.train.table import DIGITS, DIGITS_TARGET, Table, listed, read_table

__all__ = ["train"]


Data = Annotated[str, typer.Option(help="'digits', a .csv file or an .npz file.")]
Target = Annotated[str | None, typer.Option(help="Column to predict. Not needed for the digits.")]
Task = Annotated[
    str,
    typer.Option(
        help="classification, regression, or auto: classes if the target is text or whole numbers."
    ),
]
Ignore = Annotated[str, typer.Option(help="Columns not to read, separated by commas.")]
Hidden = Annotated[str, typer.Option(help="Widths of the hidden layers; '' for none.")]
Activation = Annotated[str, typer.Option(help=f"One of {', '.join(ACTIVATIONS)}.")]
Init = Annotated[
    str,
    typer.Option(
        help=f"Initial weights: {', '.join(INITIALIZERS)}, or auto: what suits the activation."
    ),
]
OptimizerName = Annotated[str, typer.Option(help=f"One of {', '.join(OPTIMIZERS)}.")]
Rate = Annotated[
    float | None, typer.Option(help="Learning rate; by default what suits the optimizer.")
]
Clip = Annotated[float | None, typer.Option(help="Longest allowed gradient; by default no limit.")]
Epochs = Annotated[
    int | None,
    typer.Option(help=f"Passes over the training rows; by default {DEFAULT_STEPS} steps."),
]
BatchSize = Annotated[int, typer.Option(help="Rows per step.")]
Seed = Annotated[int, typer.Option(help="Of the split, the weights, the order of rows.")]
Compile = Annotated[
    bool, typer.Option("--compile", help="Run the steps as native code; pays off in long runs.")
]
Out = Annotated[Path, typer.Option(help="File for the weights.")]
Validation = Annotated[
    float | None,
    typer.Option(
        help="Share of the training rows that tell when to stop; by default a fifth for a "
        "regression with hidden layers, else 0."
    ),
]
Patience = Annotated[int, typer.Option(help="Passes without progress on these rows.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as one line of JSON only.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]

INTERRUPTED = 130  # the exit code of what Ctrl-C ends, as shells have it
# As the option is written.
HIDDEN = ",".join(map(str, DEFAULT_HIDDEN))


def train(
    data: Data,
    target: Target = None,
    task: Task = "auto",
    ignore: Ignore = "",
    hidden: Hidden = HIDDEN,
    activation: Activation = "relu",
    init: Init = "auto",
    optimizer: OptimizerName = "adam",
    lr: Rate = None,
    clip: Clip = None,
    epochs: Epochs = None,
    batch_size: BatchSize = 32,
    seed: Seed = 0,
    compile: Compile = False,
    validation: Validation = None,
    patience: Patience = 20,
    json: Json = False,
    quiet: Quiet = False,
    out: Out = Path("model.safetensors"),
) -> None:
    """Train a network on a table, score it on rows it has not seen, and save it.

    Ctrl-C ends the training: what is trained by then is scored and saved.
    """
    settings = Settings(
        optimizer,
        lr,
        init,
        epochs,
        batch_size,
        clip,
        seed,
        validation=validation,
        patience=patience,
    )
    _check_out(out)
    say = _nothing if json or quiet else print
    table = read_table(data)
    target = _target(data, target, list(table.columns))
    spec = describe(
        table,
        target,
        task=task,
        ignored=_names(ignore),
        hidden=_widths(hidden),
        activation=activation,
    )
    train_rows, test_rows = split(spec, spec.targets(table), settings.streams()[0])
    _announce(spec, settings, len(train_rows), len(test_rows), say)

    start = time.perf_counter()
    training = fit(spec, settings, table, train_rows, is_compiled=compile)
    last, is_interrupted = follow(training, StringIO() if say is _nothing else sys.stdout)
    seconds = time.perf_counter() - start
    if is_interrupted:
        say(f"interrupted in epoch {last.epoch} of {last.n_epochs}: saving what is trained")

    rows = {"training": train_rows, "test": test_rows}
    _finish(last.model, table, rows, out, seconds, say, as_json=json, is_interrupted=is_interrupted)
    if is_interrupted:
        raise typer.Exit(INTERRUPTED)


def _finish(
    model: Model,
    table: Table,
    rows: dict[str, np.ndarray[Any, Any]],
    out: Path,
    seconds: float,
    say: Callable[..., None],
    *,
    as_json: bool,
    is_interrupted: bool,
) -> None:
    """Save the model, score it, and say so."""
    answers = model.answers(model.outputs(table))
    io.save(out, model, model.spec.metadata())
    scores = {name: score(model, answers, table, part) for name, part in rows.items()}
    say(f"trained in {seconds:.1f} s")
    for name, found in scores.items():
        say(f"{name} {found}")
    say(f"saved {out}")
    if as_json:
        print(_line(seconds, is_interrupted, out, scores))


def _line(seconds: float, is_interrupted: bool, out: Path, scores: dict[str, Scores]) -> str:
    parts = {
        name: {k: v for k, v in dataclasses.asdict(found).items() if v is not None}
        for name, found in scores.items()
    }
    return dumps({"seconds": seconds, "interrupted": is_interrupted, "saved": str(out), **parts})


def _nothing(*_: object, **__: object) -> None:
    """Say nothing."""


def _check_out(out: Path) -> None:
    """Find out before the training whether its result can be written."""
    if not out.parent.is_dir():
        raise ArgumentError(f"--out {out}: there is no folder {out.parent}", fix="make it first")
    if out.is_dir():
        raise ArgumentError(f"--out {out} is a folder", fix="name a file in it")
    if not os.access(out if out.exists() else out.parent, os.W_OK):
        raise ArgumentError(f"--out {out} may not be written", fix="name another file")


def _announce(
    spec: Spec, settings: Settings, n_train: int, n_test: int, say: Callable[..., None]
) -> None:
    kind = f"{len(spec.classes)} classes" if spec.classes else "numbers"
    say(f"{spec.task}: {spec.target!r} ({kind}) from {listed(spec.columns, 4)}")
    held = settings.set_apart(spec, n_train)
    say(
        f"{n_train} rows for training, {n_test} for test"
        + (f"; {held} of the first tell when to stop" if held else "")
    )
    say(
        f"network {' > '.join(map(str, spec.widths))}, {spec.activation}, "
        f"{spec.n_parameters:,} parameters",
        flush=True,
    )


def _target(data: str, target: str | None, columns: list[str]) -> str:
    if target is not None:
        return target
    if data == DIGITS:
        return DIGITS_TARGET
    raise ArgumentError(
        "--target is missing: which column shall be predicted?",
        details=[f"columns of {data}: {listed(columns)}"],
        fix=f"add --target {columns[-1]!r}, or another of these",
    )


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _widths(text: str) -> tuple[int, ...]:
    try:
        widths = tuple(int(part) for part in _names(text))
    except ValueError:
        widths = (0,)
    if any(width < 1 for width in widths):
        raise ArgumentError(
            f"--hidden {text!r} is no list of widths", fix="write whole numbers: --hidden 64,64"
        )
    return widths

"""``pullback train``."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from pullback import io
from pullback.errors import ArgumentError
from pullback.train.display import follow
from pullback.train.loop import DEFAULT_STEPS, OPTIMIZERS, Settings, fit, score, split
from pullback.train.model import ACTIVATIONS, DEFAULT_HIDDEN, INITIALIZERS, Spec, describe
from pullback.train.table import DIGITS, DIGITS_TARGET, listed, read_table

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
    out: Out = Path("model.safetensors"),
) -> None:
    """Train a network on a table, score it on rows it has not seen, and save it.

    Ctrl-C ends the training: what is trained by then is scored and saved.
    """
    settings = Settings(optimizer, lr, init, epochs, batch_size, clip, seed)
    if not out.parent.is_dir():
        raise ArgumentError(f"--out {out}: there is no folder {out.parent}", fix="make it first")
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
    _announce(spec, len(train_rows), len(test_rows))

    start = time.perf_counter()
    training = fit(spec, settings, table, train_rows, is_compiled=compile)
    last, is_interrupted = follow(training, sys.stdout)
    seconds = time.perf_counter() - start
    if is_interrupted:
        print(f"interrupted in epoch {last.epoch} of {last.n_epochs}: saving what is trained")

    answers = last.model.answers(last.model.outputs(table))
    io.save(out, last.model, spec.metadata())
    print(f"trained in {seconds:.1f} s")
    print(f"training {score(last.model, answers, table, train_rows)}")
    print(f"test {score(last.model, answers, table, test_rows)}")
    print(f"saved {out}")
    if is_interrupted:
        raise typer.Exit(INTERRUPTED)


def _announce(spec: Spec, n_train: int, n_test: int) -> None:
    kind = f"{len(spec.classes)} classes" if spec.classes else "numbers"
    print(f"{spec.task}: {spec.target!r} ({kind}) from {listed(spec.columns, 4)}")
    print(f"{n_train} rows for training, {n_test} for test")
    print(
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

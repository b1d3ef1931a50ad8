"""``pullback predict``."""

from __future__ import annotations

import csv
import sys
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, TextIO

import numpy as np
import typer

from pullback import io
from pullback.errors import ArgumentError
from pullback.files import replacing
from pullback.nn.functional import softmax
from pullback.train.loop import score
from pullback.train.model import Model, Spec, empty_model
from pullback.train.table import read_table

__all__ = ["predict"]


def predict(
    snapshot: Annotated[Path, typer.Argument(help="File written by 'pullback train'.")],
    data: Annotated[str, typer.Option(help="'digits', a .csv file or an .npz file.")],
    out: Annotated[
        Path | None,
        typer.Option(
            help="CSV file for the answers, which appears complete or not at all; by default they "
            "are printed."
        ),
    ] = None,
) -> None:
    """Answer for every row of a table; score the answers if it has the target, too."""
    text = io.metadata(snapshot)
    spec = Spec.from_metadata(text, str(snapshot), snapshot.stat().st_size)
    model = io.load(snapshot, empty_model(spec))
    model.check(str(snapshot))
    table = read_table(data)
    outputs = model.outputs(table)
    answers = model.answers(outputs)
    scores = None
    if spec.target in table.columns:
        scores = score(model, answers, table, np.arange(len(table)))
    if out is None:
        _write(model, outputs, answers, sys.stdout)
    else:
        try:
            with replacing(out) as content:
                file = TextIOWrapper(content, encoding="utf-8", newline="")
                _write(model, outputs, answers, file)
                file.detach()
        except OSError as error:
            raise ArgumentError(
                f"--out {out} cannot be written: {error.strerror}", fix="name another file"
            ) from error
        print(f"saved {out}: {len(table)} rows")
    if scores is not None:
        print(f"all rows: {scores}", file=sys.stderr)


def _write(
    model: Model,
    outputs: np.ndarray[tuple[int, ...], np.dtype[np.floating]],
    answers: np.ndarray[tuple[int, ...], np.dtype[np.generic]],
    file: TextIO,
) -> None:
    writer = csv.writer(file, lineterminator="\n")
    if model.spec.task == "regression":
        writer.writerow(["row", model.spec.target])
        writer.writerows((row, repr(float(answer))) for row, answer in enumerate(answers, 1))
        return
    writer.writerow(["row", model.spec.target, "probability"])
    probabilities = softmax(outputs.astype(np.float64))
    for row, answer in enumerate(answers.tolist()):
        probability = f"{probabilities[row, answer]:.6f}"
        writer.writerow([row + 1, model.spec.classes[answer], probability])

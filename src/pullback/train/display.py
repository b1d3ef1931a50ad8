"""What training shows: a live bar in a terminal, a line per epoch elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TextIO

from pullback.errors import ArgumentError
from pullback.train.loop import Progress

__all__ = ["describe", "follow"]


def describe(progress: Progress, digits: int = 2) -> str:
    """Loss, accuracy, and gradient norms of the first and the last layer, in one line."""
    accuracy = "" if progress.accuracy is None else f" accuracy {progress.accuracy:.4f}"
    return (
        f"loss {progress.loss:.4f}{accuracy}"
        f" gradient first {progress.first_norm:.{digits}e} last {progress.last_norm:.{digits}e}"
    )


def follow(training: Iterable[Progress], stream: TextIO) -> tuple[Progress, bool]:
    """Run a training, show it on ``stream``; where it stands then, and whether Ctrl-C ended it.

    Raises:
        ArgumentError: if there is nothing to run.
        KeyboardInterrupt: if it is interrupted before its first step is done.
    """
    show = _live if stream.isatty() else _lines
    last, is_interrupted = None, False
    try:
        for progress in show(training, stream):
            last = progress
    except KeyboardInterrupt:
        if last is None:
            raise
        is_interrupted = True
    if last is None:
        raise ArgumentError("the training has no steps", fix="give it rows and epochs")
    return last, is_interrupted


def _epoch(progress: Progress) -> str:
    return f"epoch {progress.epoch}/{progress.n_epochs}"


def _lines(training: Iterable[Progress], stream: TextIO) -> Iterator[Progress]:
    for progress in training:
        if progress.step == progress.n_steps:
            print(f"{_epoch(progress)} {describe(progress)}", file=stream, flush=True)
        yield progress


def _live(training: Iterable[Progress], stream: TextIO) -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bar

    # Short enough for a terminal of 80 columns.
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=6),
        TextColumn("{task.fields[numbers]}", markup=False),
    )
    with Bar(*columns, console=Console(file=stream)) as bar:
        task = bar.add_task("", total=None, numbers="")
        for progress in training:
            bar.update(
                task,
                total=progress.n_epochs * progress.n_steps,
                advance=1,
                description=_epoch(progress),
                numbers=describe(progress, digits=0),
            )
            yield progress

"""What a run of :func:`~pullback.train.fit` leaves behind: lines, a log, events, a picture."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pullback.drawing import new_figure
from pullback.errors import ArgumentError
from pullback.files import replacing
from pullback.train.tensorboard import EventFile

__all__ = ["Reports", "curves", "described"]

Numbers = Mapping[str, float]


def described(numbers: Numbers, n_epochs: int) -> str:
    """One line about an epoch.

    >>> from pullback.train.reports import described
    >>> described({"epoch": 2, "loss": 0.25, "validation_loss": 0.5, "rate": 0.001}, 10)
    'epoch 2/10 loss 0.25 validation_loss 0.5 rate 0.001'
    """
    rest = " ".join(f"{k} {v:.5g}" for k, v in numbers.items() if k != "epoch")
    return f"epoch {numbers['epoch']}/{n_epochs} {rest}"


def curves(history: Sequence[Numbers], path: str | Path | None = None) -> Any:
    """A figure of what was measured over the epochs; also saved if a path is given.

    Losses share an axis with a logarithmic scale, each metric has its own.

    Raises:
        ArgumentError: if there is no epoch.

    >>> from pullback.train import curves
    >>> figure = curves([{"epoch": 1, "loss": 2.0}, {"epoch": 2, "loss": 1.0, "accuracy": 0.5}])
    >>> [axes.get_ylabel() for axes in figure.axes]
    ['loss', 'accuracy']
    """
    if not history:
        raise ArgumentError("curves: no epoch has ended", fix="train for one at least")
    names = list(dict.fromkeys(name for row in history for name in row))
    losses = [name for name in names if name.endswith("loss")]
    others = [name for name in names if name not in ("epoch", *losses)]
    groups = [losses, *([name] for name in others)]
    figure = new_figure(4.5 * len(groups), 3.5)
    for axes, group in zip(figure.subplots(1, len(groups), squeeze=False)[0], groups, strict=True):
        for name in group:
            rows = [row for row in history if name in row]
            axes.plot([r["epoch"] for r in rows], [r[name] for r in rows], label=name)
        axes.set_xlabel("epoch")
        axes.set_ylabel("loss" if group is losses else group[0])
        if group is losses:
            if all(row[name] > 0 for row in history for name in losses if name in row):
                axes.set_yscale("log")
            axes.legend()
    if path is not None:
        kind = Path(path).suffix.lstrip(".") or "png"
        with replacing(path) as file:
            figure.savefig(file, format=kind)
    return figure


class Reports:
    """Opens what was asked for before the first step, and writes to it after every epoch.

    Args:
        log: file for a line of JSON per epoch; appended to, since a run can go on.
        events: folder for TensorBoard.
        picture: file for the curves, drawn anew after every epoch.
        show: takes a line of text; ``None`` for silence.
    """

    def __init__(
        self,
        log: str | Path | None,
        events: str | Path | None,
        picture: str | Path | None,
        show: Callable[[str], Any] | None,
    ) -> None:
        self.picture, self.show = picture, show
        for name, path in (("log", log), ("curves", picture)):
            if path is not None and not Path(path).resolve().parent.is_dir():
                raise ArgumentError(
                    f"{name}: there is no folder {Path(path).parent}", fix="make it first"
                )
        try:
            self.log = None if log is None else Path(log).open("a", encoding="utf-8")  # noqa: SIM115
            self.events = None if events is None else EventFile(events)
        except OSError as error:
            raise ArgumentError(
                f"{error.filename} cannot be written: {error.strerror}", fix="name another place"
            ) from error

    def epoch(self, history: Sequence[Numbers], n_epochs: int) -> None:
        """Write down the last epoch."""
        numbers = history[-1]
        if self.show is not None:
            self.show(described(numbers, n_epochs))
        if self.log is not None:
            print(json.dumps(numbers), file=self.log, flush=True)
        if self.events is not None:
            self.events.add(int(numbers["epoch"]), numbers)
        if self.picture is not None:
            curves(history, self.picture)

    def close(self) -> None:
        """Close the files."""
        for file in (self.log, self.events):
            if file is not None:
                file.close()

"""What is shown in a terminal and in a log."""

import io
import re
from collections.abc import Iterator

import pytest

from pullback.errors import ArgumentError
from pullback.train.display import describe, follow
from pullback.train.loop import Progress
from pullback.train.model import Spec, empty_model

SPEC = Spec(("x",), "y", (), "classification", (0, 1), (), "relu")
MODEL = empty_model(SPEC)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def steps(accuracy: float | None = 0.9) -> list[Progress]:
    return [
        Progress(epoch, 12, step, 2, 1 / (epoch * step), accuracy, 1.25e-2, 3.5, MODEL)
        for epoch in range(1, 13)
        for step in (1, 2)
    ]


def test_a_log_has_a_line_per_epoch() -> None:
    stream = io.StringIO()
    last, is_interrupted = follow(steps(), stream)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 12
    assert lines[3] == (
        "epoch 4/12 loss 0.1250 accuracy 0.9000 gradient first 1.25e-02 last 3.50e+00"
    )
    assert (last.epoch, last.step) == (12, 2)
    assert not is_interrupted


def test_regression_has_no_accuracy() -> None:
    assert "accuracy" not in describe(steps(None)[0])


def test_a_terminal_of_80_columns_shows_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    last, is_interrupted = follow(iter(steps()), stream)
    assert not is_interrupted
    assert (last.epoch, last.step) == (12, 2)
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", stream.getvalue())
    final = text.splitlines()[-1].strip()
    assert re.fullmatch(
        r"epoch 12/12 \S+ loss 0\.0417 accuracy 0\.9000 gradient first 1e-02 last 4e\+00", final
    )


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()])
def test_an_interruption_returns_what_was_done_before(stream: io.StringIO) -> None:
    def interrupted(n: int) -> Iterator[Progress]:
        yield from steps()[:n]
        raise KeyboardInterrupt

    last, is_interrupted = follow(interrupted(3), stream)
    assert (last.epoch, last.step, is_interrupted) == (2, 1, True)
    with pytest.raises(KeyboardInterrupt):
        follow(interrupted(0), stream)


def test_nothing_to_show() -> None:
    with pytest.raises(ArgumentError, match="no steps"):
        follow([], io.StringIO())

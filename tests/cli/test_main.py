"""The command line as a user meets it: exit codes, and messages without tracebacks."""

import subprocess
import sys
from pathlib import Path

import pytest

from pullback import __version__
from pullback.cli import main as cli


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int | str | None:
    """Exit code of a command run in this process."""
    monkeypatch.setattr(sys, "argv", ["pullback", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code


def test_version_and_help(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "--version") == 0
    assert capsys.readouterr().out == f"pullback {__version__}\n"
    assert call(monkeypatch, "--help") == 0
    assert {"train", "predict"} <= set(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    "arguments",
    [("fly",), ("train", "--dta", "x.csv"), ("train", "--data", "x.csv", "--epochs", "many")],
)
def test_wrong_usage_exits_with_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    assert call(monkeypatch, *arguments) == 2
    assert "Usage: pullback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("train", "--data", "none.csv", "--target", "y"), 2, "none.csv: there is no such file"),
        (("train", "--data", "x.csv", "--optimizer", "best"), 2, "unknown optimizer 'best'"),
        (
            ("train", "--data", "x.csv", "--target", "y", "--hidden", "8,no"),
            2,
            "--hidden '8,no' is no list",
        ),
        (("train", "--data", "x.csv", "--out", "no/file"), 2, "--out no/file: there is no folder"),
        (("predict", "none", "--data", "digits"), 1, "none cannot be read: there is no such file"),
    ],
)
def test_errors_are_messages_with_a_remedy(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    code: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("x.csv").write_text("x,y\n1,2.5\n2,3.5\n")
    assert call(monkeypatch, *arguments) == code
    captured = capsys.readouterr().err
    assert captured.startswith(f"error: {message}")
    assert "\n  Fix: " in captured
    assert "Traceback" not in captured


@pytest.mark.parametrize(
    ("missing", "arguments"),
    [("sklearn", ["train", "--data", "digits"]), ("typer", ["--version"])],
)
def test_a_missing_extra_is_named(tmp_path: Path, missing: str, arguments: list[str]) -> None:
    code = (
        f"import sys; sys.modules['{missing}'] = None; sys.argv[1:] = {arguments!r}\n"
        "from pullback.cli.main import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 1
    assert missing in done.stderr
    assert "pip install 'pullback[" in done.stderr
    assert "Traceback" not in done.stderr

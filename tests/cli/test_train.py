"""The main job: train on the digits; train on a user's table."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pullback import io
from pullback.cli.main import main


def run(monkeypatch: pytest.MonkeyPatch, folder: Path, *arguments: str) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["pullback", "train", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0


def test_the_digits_are_read_as_well_as_promised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, tmp_path, "--data", "digits")
    printed = capsys.readouterr().out
    accuracy = re.search(r"^test accuracy (0\.\d+) \(\d+ of 359 rows\)$", printed, re.MULTILINE)
    assert accuracy
    assert float(accuracy[1]) >= 0.97
    assert re.search(r"^trained in [\d.]+ s$", printed, re.MULTILINE)
    assert "'digit' (10 classes)" in printed
    assert re.search(r"^epoch 1/\d+ loss \S+ accuracy \S+ gradient first \S+ last", printed, re.M)
    assert io.metadata(tmp_path / "model.safetensors")["pullback"] == "2"


def test_a_regression_on_a_table(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    rng: np.random.Generator,
) -> None:
    x = rng.normal(size=(120, 2))
    y = 1000 + 50 * x[:, 0] - 20 * x[:, 1]
    rows = [f"{a},{b},row {i},{c}" for i, ((a, b), c) in enumerate(zip(x, y, strict=True))]
    (tmp_path / "table.csv").write_text("\n".join(["a,b,name,price", *rows]) + "\n")
    arguments = ("--data", "table.csv", "--target", "price", "--ignore", "name", "--hidden", "")
    run(monkeypatch, tmp_path, *arguments, "--lr", "0.01", "--out", "price.safetensors")
    printed = capsys.readouterr().out
    assert "regression: 'price' (numbers) from a, b" in printed
    assert "network 2 > 1, relu, 3 parameters" in printed
    score = re.search(r"^test RMSE (\S+), R2 (\S+) \(24 rows\)$", printed, re.MULTILINE)
    assert score
    assert float(score[1]) < 1
    assert float(score[2]) > 0.999


def test_the_target_must_be_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("table.csv").write_text("a,b,price\n1,2,3\n")
    monkeypatch.setattr(sys, "argv", ["pullback", "train", "--data", "table.csv"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    printed = capsys.readouterr().err
    assert "columns of table.csv: a, b, price" in printed
    assert "add --target 'price'" in printed


def test_divergence_fails_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["--data", "digits", "--optimizer", "sgd", "--lr", "1e30"]
    monkeypatch.setattr(sys, "argv", ["pullback", "train", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    assert "error: training left the finite numbers in epoch 1" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_saves_what_is_trained(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("a,b\n" + "".join(f"{i},{3.5 * i}\n" for i in range(50)))
    # A shell in the background hands on to its children that Ctrl-C is ignored.
    listening = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    code = f"{listening}; from pullback.cli.main import main; main()"
    command = [sys.executable, "-c", code, "train"]
    command += ["--data", "table.csv", "--target", "b", "--epochs", "1000000"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("epoch 2/"):
                break
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
    assert process.returncode == 130
    assert re.search(r"^interrupted in epoch \d+ of 1000000: saving what is trained$", rest, re.M)
    assert "saved model.safetensors" in rest
    assert io.metadata(tmp_path / "model.safetensors")["pullback"] == "2"


def test_json_is_one_line_and_quiet_is_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = "\n".join(f"{i},{i % 2}" for i in range(20))
    (tmp_path / "t.csv").write_text(f"a,y\n{rows}\n")
    arguments = ("--data", "t.csv", "--target", "y", "--epochs", "1", "--hidden", "2")
    run(monkeypatch, tmp_path, *arguments, "--json")
    printed = json.loads(capsys.readouterr().out)
    assert printed["saved"] == "model.safetensors"
    assert 0 <= printed["test"]["accuracy"] <= 1
    run(monkeypatch, tmp_path, *arguments, "--quiet")
    assert capsys.readouterr().out == ""


def test_a_folder_as_output_is_refused_before_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        sys, "argv", ["pullback", "train", "--data", "digits", "--out", str(tmp_path)]
    )
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "is a folder" in capsys.readouterr().err

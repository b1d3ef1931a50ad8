"""A saved network answers as it did when it was trained."""

import csv
import importlib
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from pullback import io
from pullback.cli.main import main

predict = importlib.import_module("pullback.cli.predict")

TREES = ["height,rings,kind"]
TREES += [f"{height},{int(7 * height)},{'oak' if height > 5 else 'ash'}" for height in range(1, 41)]


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int | str | None:
    monkeypatch.setattr(sys, "argv", ["pullback", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code


def scores(text: str) -> dict[str, str]:
    lines = [line for line in text.splitlines() if "accuracy" in line and "(" in line]
    return dict(line.split(" accuracy ") for line in lines)


@pytest.fixture
def folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("trees.csv").write_text("\n".join(TREES) + "\n")
    arguments = (
        "--data",
        "trees.csv",
        "--target",
        "kind",
        "--hidden",
        "16",
        "--lr",
        "0.02",
        "--epochs",
        "150",
    )
    assert run(monkeypatch, "train", *arguments) == 0
    return tmp_path


def test_the_same_answers_as_at_training(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trained = scores(capsys.readouterr().out)
    n_right = [int(trained[part].split("(")[1].split(" of ")[0]) for part in ("training", "test")]
    assert run(monkeypatch, "predict", "model.safetensors", "--data", "trees.csv") == 0
    printed = capsys.readouterr()
    assert f"({sum(n_right)} of 40 rows)" in printed.err
    answers = list(csv.DictReader(printed.out.splitlines()))
    assert [answer["row"] for answer in answers] == [str(i) for i in range(1, 41)]
    truth = [line.split(",")[2] for line in TREES[1:]]
    agree = [answer["kind"] == kind for answer, kind in zip(answers, truth, strict=True)]
    assert sum(agree) == sum(n_right)
    assert all(0.5 <= float(answer["probability"]) <= 1 for answer in answers)


def test_without_the_target_and_in_another_order(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    Path("new.csv").write_text("rings,height\n140,20\n7,1\n")
    assert run(monkeypatch, "predict", "model.safetensors", "--data", "new.csv") == 0
    printed = capsys.readouterr()
    assert [line.split(",")[1] for line in printed.out.splitlines()] == ["kind", "oak", "ash"]
    assert printed.err == ""


def test_answers_go_to_a_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("predict", "model.safetensors", "--data", "trees.csv")
    assert run(monkeypatch, *arguments) == 0
    printed = capsys.readouterr().out
    assert run(monkeypatch, *arguments, "--out", "answers.csv") == 0
    assert printed.endswith(Path("answers.csv").read_text())
    assert capsys.readouterr().out == "saved answers.csv: 40 rows\n"
    assert run(monkeypatch, *arguments, "--out", "none/answers.csv") == 2


def test_a_file_of_answers_is_whole_or_absent(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("answers.csv").write_text("old")
    original = predict.softmax
    monkeypatch.setattr(predict, "softmax", lambda x: original(x)[:30])  # fails at the 31st row
    monkeypatch.setattr(
        sys,
        "argv",
        ["pullback", "predict", "model.safetensors", "--data", "trees.csv", "--out", "answers.csv"],
    )
    with pytest.raises(IndexError):
        main()
    assert Path("answers.csv").read_text() == "old"
    assert sorted(os.listdir()) == ["answers.csv", "model.safetensors", "trees.csv"]


def test_a_damaged_model_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("predict", "model.safetensors", "--data", "trees.csv")
    good = Path("model.safetensors").read_bytes()
    for place in range(0, len(good), len(good) // 20):
        damaged = good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :]
        Path("model.safetensors").write_bytes(damaged)
        assert run(monkeypatch, *arguments) == 1
        assert "model.safetensors is damaged" in capsys.readouterr().err
    Path("model.safetensors").write_bytes(good)
    text = io.metadata("model.safetensors")
    fields = {**json.loads(text["spec"]), "hidden": [100_000, 100_000]}
    io.save("model.safetensors", {"w": np.ones(1)}, {**text, "spec": json.dumps(fields)})
    assert run(monkeypatch, *arguments) == 1
    printed = capsys.readouterr().err
    assert "the description of the model is damaged" in printed
    assert "parameters, the file has" in printed


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("height\n1\n", "new.csv has no column 'rings'"),
        ("height,rings,color\n1,7,3\n", "new.csv: unknown column 'color'"),
        ("height,rings\n1,\n", "new.csv, row 1 (line 2), column 'rings': the value is missing"),
        ("height,rings,kind\n1,7,elm\n", "new.csv, row 1 (line 2), column 'kind': the model does"),
    ],
)
def test_other_tables_are_refused(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    text: str,
    message: str,
) -> None:
    capsys.readouterr()
    Path("new.csv").write_text(text)
    assert run(monkeypatch, "predict", "model.safetensors", "--data", "new.csv") == 2
    printed = capsys.readouterr()
    assert printed.err.startswith(f"error: {message}")
    assert printed.out == ""


def test_a_regression_answers_in_the_units_of_the_target(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    rng: np.random.Generator,
) -> None:
    monkeypatch.chdir(tmp_path)
    x = rng.normal(size=(100, 3))
    np.savez("plane.npz", x=x, y=500 + 30 * x[:, 0])
    arguments = ("--data", "plane.npz", "--target", "y", "--hidden", "", "--lr", "0.01")
    assert run(monkeypatch, "train", *arguments) == 0
    capsys.readouterr()
    np.savez("new.npz", x=np.eye(3))
    assert run(monkeypatch, "predict", "model.safetensors", "--data", "new.npz") == 0
    answers = [float(line.split(",")[1]) for line in capsys.readouterr().out.splitlines()[1:]]
    np.testing.assert_allclose(answers, [530, 500, 500], atol=1)

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pullback.cli.main import app, main
from pullback.errors import ArgumentError

ROOT = Path(__file__).parents[2]
EXAMPLE = str(ROOT / "examples" / "two_layer.py")
MODEL = """
import numpy as np

def loss(w, x):
    z = x @ w
    return np.sum(np.tanh(z))

def example():
    return np.ones(2), np.ones((3, 2))
"""


def run(*args):
    return CliRunner().invoke(app, ["explain", *args], catch_exceptions=False)


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.py"
    path.write_text(MODEL)
    return path


def test_the_example_prints_the_eight_rows():
    result = run(f"{EXAMPLE}:loss", "--wrt", "W1,b1,W2,b2")
    assert result.exit_code == 0
    table = result.output.split("\nbackward")[1].split("\n\n")[0].splitlines()[2:]
    steps = [line.split()[0] for line in table if not line.startswith(" ")]
    assert steps == [f"dL/d{s}" for s in ("yhat", "z2", "W2", "b2", "a1", "z1", "W1", "b1")]
    assert "two_layer.py:11" in result.output


def test_pages_and_data_are_written(tmp_path):
    page = tmp_path / "graph.html"
    result = run(f"{EXAMPLE}:loss", "--html", str(page))
    assert result.exit_code == 0
    assert result.output == f"wrote {page}\n"
    assert page.read_text().startswith("<!doctype html>")
    found = json.loads(run(f"{EXAMPLE}:loss", "--json").output)
    assert [step["name"] for step in found["steps"][:2]] == ["z1", "a1"]


def test_arguments_come_from_a_function_or_from_shapes(model):
    assert "x.T @ dloss/dz" in run(f"{model}:loss").output
    drawn = run(f"{model}:loss", "--shapes", "x:5,2 w:2", "--seed", "3", "--markdown").output
    assert "| z | x @ w | 5 | float64 |" in drawn
    assert (
        drawn == run(f"{model}:loss", "--shapes", "w:2 x:5,2", "--seed", "3", "--markdown").output
    )


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["model.py"], "names no function"),
        (["nowhere.py:loss"], "no file nowhere.py"),
        (["{model}:gain"], "no function gain\n  functions: loss, example"),
        (["{model}:loss", "--shapes", "w:2 y:3"], "does not give x"),
        (["{model}:loss", "--shapes", "w:two"], "'w:two' is no shape"),
        (["{model}:loss", "--wrt", "v"], "no.* called with an argument v"),
    ],
)
def test_bad_requests_are_refused(model, args, message):
    with pytest.raises(ArgumentError, match=message):
        run(*[arg.format(model=model) for arg in args])


def test_a_file_without_arguments_says_how_to_give_them(tmp_path):
    path = tmp_path / "bare.py"
    path.write_text("def f(x):\n    return x\n")
    with pytest.raises(ArgumentError, match=r"example_args = .*--shapes"):
        run(f"{path}:f")
    path.write_text("example_args = [1.0]\ndef f(x):\n    return x\n")
    with pytest.raises(ArgumentError, match="are a list, not a tuple"):
        run(f"{path}:f")


def test_the_command_exits_with_two_on_bad_input(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["pullback", "explain", "nowhere.py:f"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "error: there is no file nowhere.py" in capsys.readouterr().err


def test_the_example_runs_by_itself():
    done = subprocess.run([sys.executable, EXAMPLE], capture_output=True, text=True, check=True)
    assert "outer(dL/dz1, x)" in done.stdout

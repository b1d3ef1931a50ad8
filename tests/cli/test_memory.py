"""``pullback memory``."""

import pytest
from typer.testing import CliRunner

from pullback.cli.main import app
from pullback.errors import PullbackError

FILE = """
import numpy as np

def loss(w, x):
    for _ in range(4):
        x = np.tanh(x @ w)
    return np.sum(x)

example_args = (np.ones((16, 16)), np.ones((3000, 16)))
"""


def run(*args):
    result = CliRunner().invoke(app, ["memory", *args])
    if isinstance(result.exception, PullbackError):
        raise result.exception
    return result.output


def test_a_function_of_a_file(tmp_path):
    path = tmp_path / "model.py"
    path.write_text(FILE)
    out = run(f"{path}:loss", "--budget", "min")
    assert "kept for backward" in out
    assert "model.py:6 in loss" in out
    assert "budget against time" in out
    page = tmp_path / "memory.html"
    assert f"wrote {page}" in run(f"{path}:loss", "--html", str(page))
    assert "MB held while each operation runs" in page.read_text()
    assert "kept for backward    0 B" in run(f"{path}:loss", "--forward", "--shapes", "w:4,4 x:9,4")


def test_a_transformer():
    out = run("--model", "llama-7b", "--batch", "1", "--seq", "2048", "--dtype", "fp16")
    assert "parameters (6,738,415,616)              13.477    12.551" in out
    assert "activations                             10.075     9.383" in out


def test_neither_or_both_is_refused():
    for args in ((), ("a.py:f", "--model", "gpt2")):
        with pytest.raises(PullbackError, match="give a function or a model"):
            run(*args)

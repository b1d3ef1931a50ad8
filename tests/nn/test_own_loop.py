"""The example that combines a user's layer with losses and optimizers."""

import runpy
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "own_loop.py"


def test_the_example_learns(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    *_, last = capsys.readouterr().out.splitlines()
    assert last.startswith("accuracy on new points ")
    assert float(last.split()[-1]) > 0.98

"""Native code touches nothing but its inputs, its outputs and its arena."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def guarded(*args):
    """Run in a process of its own, which a stray access ends."""
    code = f"from tests.compiler.guarded import main; main(*{args})"
    command = [sys.executable, "-X", "faulthandler", "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    last = done.stdout.splitlines()[-1:]
    assert done.returncode == 0, f"{args}, {last}: exit {done.returncode}\n{done.stderr[-3000:]}"
    return done.stdout.splitlines()


@pytest.mark.parametrize("side", ["start", "end"])
def test_primitives_stay_in_their_memory(side):
    assert len(guarded("primitives", side)) > 90


@pytest.mark.parametrize("side", ["start", "end"])
def test_generated_programs_stay_in_their_memory(side):
    assert len(guarded("generated", side)) == 4

"""Options of ``compile`` that others bring: registered by name, and loaded when asked for."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import pullback as pb
from pullback.compiler.options import loaders


def test_pullback_registers_what_lies_above():
    assert set(loaders) == {"nonfinite", "verify"}


def test_nothing_is_loaded_that_nobody_asks_for():
    program = """
import sys, numpy as np, pullback as pb
pb.compile(np.tanh)
assert "pullback.compiler.beside" not in sys.modules
assert "pullback.flow.nonfinite" not in sys.modules
pb.compile(np.tanh, verify=1)
assert "pullback.compiler.beside" in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_an_option_takes_effect():
    with pytest.raises(pb.errors.NonFiniteError):
        pb.compile(lambda x: np.log(x) * 0, nonfinite=True)(np.zeros(2))

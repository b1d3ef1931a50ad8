"""The list of stages: their order, that each is a function, and that planning needs no LLVM."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import pullback as pb
from pullback.compiler.pipeline import BEFORE, PLACING, PLANNING, REWRITES, planned, rewritten
from pullback.compiler.schedule.target import NARROW
from pullback.core.types import type_of
from pullback.transforms.stage import stage

W = np.linspace(-1, 1, 12).reshape(3, 4)


def graph():
    return stage(lambda w: [pb.grad(lambda w: np.sum(np.tanh(w.T @ w)))(w)], [type_of(W)]).graph


def test_plans_are_made_without_llvm():
    program = """
import sys
sys.modules["llvmlite"] = None
import numpy as np
from tests.compiler.test_pipeline import NARROW, graph, planned, rewritten
schedule = planned(rewritten(graph())[0], {}, False, NARROW)
print(schedule)
assert not any(name.startswith("llvmlite.") for name in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert done.stdout.startswith("kernel 0: ")
    assert "matmul" in done.stdout


def test_stages_run_in_the_order_of_the_list():
    ran = []
    arranged, shown = rewritten(graph(), lambda name, _: ran.append(name))
    planned(arranged, {}, False, NARROW, lambda name, _: ran.append(name))
    assert ran == [stage.name for stage in (*REWRITES, *BEFORE, *PLANNING, *PLACING)]
    assert list(shown) == ["simplified", "layouts"]


@pytest.mark.parametrize("number", range(len(PLANNING)))
def test_a_stage_leaves_the_schedule_that_it_is_given(number):
    seen = []
    arranged, _ = rewritten(graph())
    planned(arranged, {}, False, NARROW, lambda _, made: seen.append(made))
    before = seen[len(BEFORE) + number - 1] if number else None
    if before is not None:
        text, alias = "\n".join(before.lines()), dict(before.alias)
        PLANNING[number].run(before.copy())
        assert "\n".join(before.lines()) == text
        assert before.alias == alias

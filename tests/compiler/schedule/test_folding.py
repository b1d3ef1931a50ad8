"""Which form a reduction has, and how it is cut."""

from __future__ import annotations

import numpy as np
import pytest

from pullback.compiler.pipeline import planned
from pullback.compiler.schedule.folding import Folding, cut_of
from pullback.compiler.schedule.target import NARROW
from pullback.core.types import type_of
from pullback.transforms.stage import stage


def plan_of(f, x, is_alone=False):
    graph = stage(lambda x: [f(x)], [type_of(x)]).graph
    return planned(graph, {}, is_alone, NARROW)


@pytest.mark.parametrize(
    ("axis", "shape", "form", "along"),
    [
        (None, (40, 50), "whole", [2000]),  # one loop over all of a plain operand
        (1, (40, 50), "each", [50]),
        (0, (40, 50), "rows", [40]),  # the last axis stays
        (1, (40, 5), "few", [5]),
        ((1, 2), (40, 5, 6), "each", [5 * 6, 1]),  # neighbours run as one
    ],
)
def test_the_form_follows_from_the_axes(axis, shape, form, along):
    plan = plan_of(lambda x: np.sum(x, axis=axis), np.ones(shape))
    found = Folding(plan, plan.graph.equations[-1])
    assert found.form == form
    assert np.prod(found.along) == np.prod(along)
    assert found.n == np.prod(along)


def test_the_state_of_an_extreme_is_a_value_and_a_place():
    plan = plan_of(np.argmax, np.ones(9, np.float32))
    found = Folding(plan, plan.graph.equations[-1])
    assert found.state == (np.float32, np.int64)
    assert found.state_bytes == 16


def test_what_runs_beside_others_is_not_cut():
    x = np.ones(2_000_000)
    for is_alone, is_cut in ((False, True), (True, False)):
        plan = plan_of(np.sum, x, is_alone)
        assert (cut_of(plan, plan.steps[0], [x.size])[2] > 1) == is_cut


def test_a_member_of_a_chain_has_the_chunks_of_the_chain():
    plan = plan_of(np.tanh, np.ones((1, 32, 4)))
    assert cut_of(plan, plan.steps[0], [1, 32, 4], wanted=8) == (1, 4, 8)

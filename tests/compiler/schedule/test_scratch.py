"""Working memory that steps declare: known before any kernel is written, and enough for it."""

from __future__ import annotations

import numpy as np
import pytest

import pullback as pb
from pullback.compiler.pipeline import planned, rewritten
from pullback.compiler.program.emitter import require_declared
from pullback.compiler.schedule.folding import cut_of
from pullback.compiler.schedule.scratch import chain_scratch, scratch_bytes, scratch_sizes
from pullback.compiler.schedule.steps import Chain
from pullback.compiler.schedule.target import NARROW
from pullback.core.types import type_of
from pullback.errors import CompileError
from pullback.transforms.stage import stage

M = np.eye(6)


def plan_of(f, *args):
    graph = stage(lambda *a: [f(*a)], [type_of(a) for a in args]).graph
    return planned(rewritten(graph)[0], {}, False, NARROW)


@pytest.mark.parametrize(
    ("f", "sizes"),
    [
        # two lines of 6 pairs of 16 bytes
        (lambda a: np.argsort(a, axis=0), (96, 96)),
        # 6 pivots, the matrix, and its 6 columns on the other side
        (lambda a: np.linalg.solve(a, a), (48, 288, 288)),
        (np.linalg.cholesky, (288,)),
    ],
)
def test_operations_declare_the_pieces_that_they_take(f, sizes):
    equations = plan_of(f, M).graph.equations
    assert sizes in [scratch_sizes(e) for e in equations]


def test_maps_need_none():
    plan = plan_of(lambda a: np.tanh(a) + 1, M)
    assert [scratch_bytes(plan, step) for step in plan.steps] == [0]
    assert plan.scratch == {}


def test_a_sum_keeps_a_number_of_each_chunk():
    plan = plan_of(lambda a: np.sum(a), np.ones(2_000_000))
    ((host, _, n_bytes),) = plan.scratch.values()
    assert host is None
    n_chunks = cut_of(plan, plan.steps[0], [2_000_000])[2]
    assert 1 < n_chunks <= 64
    assert 8 * n_chunks <= n_bytes < 8 * n_chunks + 64


def test_equal_members_of_a_chain_share_their_memory():
    def f(x, w):
        for _ in range(3):
            x = np.tanh(x @ w)
        return x

    plan = plan_of(f, np.ones((32, 16, 16)), np.ones((32, 16, 16)))
    for chain in (step for step in plan.steps if isinstance(step, Chain)):
        found = chain_scratch(plan, chain)
        assert found.n_bytes < sum(found.sizes) or not any(found.sizes)


def test_what_takes_more_than_it_declares_is_refused(monkeypatch):
    step = plan_of(np.linalg.cholesky, M).steps[0]
    with pytest.raises(CompileError, match="takes 65 bytes of working memory"):
        require_declared(64, 65, step)
    monkeypatch.setattr("pullback.compiler.schedule.memory.scratch_bytes", lambda *_: 0)
    with pytest.raises(CompileError, match="has declared 0"):
        pb.compile(np.linalg.cholesky)(M)

"""Graphs inside of steps are planned before anything is written, and their memory is known."""

from __future__ import annotations

import numpy as np

import pullback as pb
from pullback.compiler.pipeline import planned, rewritten
from pullback.compiler.schedule.bodies import bytes_behind, chunks_of_loop, inner_graphs
from pullback.compiler.schedule.target import NARROW
from pullback.core.types import type_of
from pullback.transforms.stage import stage

X = np.linspace(0.1, 1, 1000)


def plan_of(f, *args):
    graph = stage(lambda *a: [f(*a)], [type_of(a) for a in args]).graph
    return planned(rewritten(graph)[0], {}, False, NARROW)


def loop(x):
    """Each new state reads the whole old one, so that it cannot be written over it."""
    return pb.while_loop(lambda s: np.sum(s) < 1e6, lambda s: s[::-1] + np.cumsum(s), x)


def test_a_loop_keeps_a_verdict_and_a_second_state():
    plan = plan_of(loop, X)
    (step,) = plan.bodies
    body, test = plan.bodies[step]
    planned_first, planned_then = (inner.graph for inner in inner_graphs(plan, step))
    assert planned_first.outputs == body.graph.outputs
    assert planned_then.outputs == test.graph.outputs
    state = -(-X.nbytes // 64) * 64
    assert bytes_behind(plan, step) == 64 + state + max(body.total_bytes, test.total_bytes)
    assert plan.total_bytes == plan.arena_bytes + bytes_behind(plan, step)


def test_branches_share_their_memory():
    def f(x):
        return pb.cond(x[0] > 0, lambda x: np.cumsum(np.cumsum(x)), lambda x: x, x)

    plan = plan_of(f, X)
    (step,) = plan.bodies
    then, otherwise = plan.bodies[step]
    assert plan.total_bytes == plan.arena_bytes + max(then.total_bytes, otherwise.total_bytes)


def test_chunks_of_independent_steps_have_memory_each():
    rows = np.ones((64, 20_000))

    def f(rows):
        return pb.scan(lambda c, x: (c, np.cumsum(np.cumsum(x))[::-1]), (), rows)[1]

    plan = plan_of(f, rows)
    (step,) = plan.bodies
    (body,) = plan.bodies[step]
    n = chunks_of_loop(plan, step)
    assert n > 1
    assert body.is_alone
    assert plan.behind[step] == n * (-(-body.total_bytes // 64) * 64)
    np.testing.assert_allclose(pb.compile(f)(rows), f(rows))

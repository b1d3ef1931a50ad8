"""Budgets: never exceeded, monotonic, bitwise, and refused with what would be enough."""

import os

import numpy as np
import pytest
from tests.planner.test_simulate import measured

import pullback as pb
from pullback.core.types import type_of
from pullback.planner.budget import Ladder, in_numpy
from pullback.planner.problem import GraphProblem
from pullback.planner.simulate import timeline
from pullback.transforms.evaluate import evaluate
from pullback.transforms.passes.pipeline import optimize
from pullback.transforms.stage import stage

SEED = int(os.environ.get("PULLBACK_SEED", "0"))
PROGRAMS = int(os.environ.get("PULLBACK_BUDGETS", "6"))
UNARY = (np.tanh, np.sin, np.exp, lambda x: np.maximum(x, 0.1), lambda x: x[::-1] * 1.5, np.square)


def program(rng, n):
    """A random net on square matrices, with skips."""
    kinds = [int(k) for k in rng.integers(0, len(UNARY) + 3, n)]
    partners = [int(k) for k in rng.integers(0, 1 << 20, n)]

    def loss(w, x):
        values = [x]
        for kind, partner in zip(kinds, partners, strict=True):
            last, other = values[-1], values[partner % len(values)]
            if kind < len(UNARY):
                values.append(UNARY[kind](last * 0.3))
            elif kind == len(UNARY):
                values.append(last @ w)
            elif kind == len(UNARY) + 1:
                values.append(last * other * 0.1)
            else:
                values.append(last + other - np.mean(last, axis=1, keepdims=True))
        return np.mean(values[-1] ** 2)

    return loss


@pytest.mark.parametrize("number", range(PROGRAMS))
def test_generated_programs_never_exceed_a_budget(number):
    rng = np.random.default_rng([SEED, number])
    w, x = rng.normal(size=(2, 48, 48)) * 0.2
    loss = program(rng, int(rng.integers(4, 20)))
    flat = lambda w, x: pb.tree.leaves(pb.value_and_grad(loss, (0, 1))(w, x))
    staged = stage(flat, [type_of(w), type_of(x)])
    graph = optimize(staged.graph)
    args = [*staged.captured, w, x]
    expected = evaluate(graph, args)
    ladder = Ladder(GraphProblem(graph), in_numpy)
    top, least = ladder.base.peak, ladder.within("min")
    peaks = []
    for share in (2.0, 1.0, 0.8, 0.6, 0.4):
        budget = int(least.peak + share * (top - least.peak))
        rung = ladder.within(budget)
        peaks.append(rung.peak)
        assert timeline(rung.made).peak == rung.peak <= budget
        for a, b in zip(evaluate(rung.made.verify(), args), expected, strict=True):
            np.testing.assert_array_equal(a, b)
    assert peaks == sorted(peaks, reverse=True)
    took = measured(lambda: evaluate(least.made, args))
    assert took <= 1.05 * least.peak + 20_000
    with pytest.raises(pb.errors.BudgetError, match=f"memory={least.peak}"):
        ladder.within(least.peak - 1)


def mlp(params, x, y):
    for w in params:
        x = np.tanh(x @ w)
    return np.mean((x - y) ** 2)


rng = np.random.default_rng(0)
PARAMS = [rng.normal(size=(32, 32)) * 0.3 for _ in range(6)]
X, Y = rng.normal(size=(2, 2000, 32))


def test_compiled_gradients_keep_to_a_budget_bit_by_bit():
    expected = pb.compile(pb.value_and_grad(mlp))(PARAMS, X, Y)
    free = pb.memory(pb.value_and_grad(mlp), PARAMS, X, Y).compiled
    budget = int(0.6 * free)
    step = pb.value_and_grad(mlp, memory=budget)
    for a, b in zip(pb.tree.leaves(step(PARAMS, X, Y)), pb.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(a, b)
    report = pb.memory(step, PARAMS, X, Y, measure=True)
    assert report.compiled <= budget
    assert report.measured_compiled <= 1.02 * report.compiled
    found = step.plan(PARAMS, X, Y)
    assert found.peak == report.compiled
    assert found.base_peak == free
    assert found.overhead > 1
    assert "test_budget.py" in found.again[0][0]
    peaks, times = zip(*found.curve, strict=True)
    assert list(peaks) == sorted(peaks, reverse=True)
    assert times[0] == 1.0
    assert "computed again" in str(found)


def test_a_budget_that_cannot_be_kept_names_the_least_and_the_lines():
    with pytest.raises(pb.errors.BudgetError, match="cannot be kept") as caught:
        pb.grad(mlp, memory="100 kB")(PARAMS, X, Y)
    text = str(caught.value)
    assert "the least found is" in text
    assert "x = np.tanh(x @ w)" in text
    least = int(text.rpartition("memory=")[2].split()[0])
    assert pb.memory(pb.grad(mlp, memory=least), PARAMS, X, Y).compiled == least


def test_without_native_code_numpy_keeps_to_the_budget(monkeypatch):
    monkeypatch.setattr("pullback.compiler.jit.has_engine", lambda: False)
    expected = pb.grad(mlp)(PARAMS, X, Y)
    step = pb.grad(mlp, memory="4 MB")
    for a, b in zip(step(PARAMS, X, Y), expected, strict=True):
        np.testing.assert_array_equal(a, b)
    assert measured(lambda: step(PARAMS, X, Y)) <= 1.05 * 4e6
    assert step.plan(PARAMS, X, Y).peak <= 4_000_000
    assert pb.grad(mlp, memory="sqrt")(PARAMS, X, Y)[0].shape == (32, 32)


def test_random_draws_are_replayed():
    def loss(w, x, generator):
        for _ in range(5):
            x = np.tanh(x @ w) * (generator.random(x.shape) < 0.8)
        return np.sum(x)

    free = pb.compile(pb.grad(loss))(PARAMS[0], X, pb.random.default_rng(1))
    tight = pb.grad(loss, memory="min")(PARAMS[0], X, pb.random.default_rng(1))
    np.testing.assert_array_equal(free, tight)


def test_what_is_no_budget_is_refused():
    with pytest.raises(pb.errors.ArgumentError, match="no size in memory"):
        pb.compile(mlp, memory="little")
    with pytest.raises(pb.errors.ArgumentError, match="no budget"):
        pb.compile(mlp).plan(PARAMS, X, Y)

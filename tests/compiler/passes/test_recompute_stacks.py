"""Scans that stack less for each other, and results that stay what they were."""

from __future__ import annotations

import numpy as np
import pytest

import pullback as pb
from pullback.compiler.passes.recompute_stacks import recompute_stacks
from pullback.core.types import type_of
from pullback.transforms.evaluate import evaluate
from pullback.transforms.passes.pipeline import optimize
from pullback.transforms.stage import stage

rng = np.random.default_rng(0)
X, W = rng.normal(size=(7, 3, 4)), rng.normal(size=(4, 4))


def stacked(f, *args):
    """Numbers in the stacks of all scans, before and after; results are equal to the bit."""
    staged = stage(lambda *a: pb.tree.leaves(f(*a)), [type_of(x) for x in args])
    before, args = optimize(staged.graph), [*staged.captured, *args]
    after = optimize(recompute_stacks(before)).verify()
    for x, y in zip(evaluate(before, args), evaluate(after, args), strict=True):
        np.testing.assert_array_equal(y, x)
    return [
        sum(
            v.type.size
            for e in graph.equations
            if e.primitive.name == "scan"
            for v in e.outputs[e.params["n_carry"] :]
        )
        for graph in (before, after)
    ]


def recurrent(activation, reverse=False):
    def loss(w, x):
        def step(h, row):
            return activation(h @ w + row), None

        return np.sum(pb.scan(step, np.zeros((3, 4)), x, reverse=reverse)[0] ** 2)

    return pb.grad(loss, argnums=(0, 1))


def logistic(z):
    return 1 / (1 + np.exp(-z))


@pytest.mark.parametrize("reverse", [False, True])
def test_of_a_logistic_function_one_stack_is_enough(reverse):
    before, after = stacked(recurrent(logistic, reverse), W, X)
    assert before - after == 2 * X.size  # one plus the exponential, and the quotient
    f = recurrent(logistic, reverse)
    for got, want in zip(pb.compile(f)(W, X), f(W, X), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-12)


def test_slices_of_a_stack_are_not_stacked():
    def gates(z):
        g = np.tanh(z)
        return np.concatenate([g[:, :2] * g[:, 2:], g[:, :2] * np.cos(z[:, 2:])], axis=1)

    before, after = stacked(recurrent(gates), W, X)
    assert before - after >= X.size


def test_what_rounds_otherwise_elsewhere_is_stacked():
    def activation(z):
        return np.tanh(z) * np.sin(3 * z + 1)  # a sum that may be computed with its product

    before, after = stacked(recurrent(activation), W, X)
    assert before == after


def test_stacks_with_other_readers_stay():
    def step(h, row):
        e = np.exp(row)
        return h + np.sum(e), (e, 1 / e, 2 / e)

    def results(x):
        _, (e, y, z) = pb.scan(step, 0.0, x)
        total, _ = pb.scan(lambda t, r: (t + np.sum(r[0] * r[1] * r[2]), None), 0.0, (e, y, z))
        return total, y, np.sum(e)

    before, after = stacked(results, X)
    assert before - after == X.size  # the last one; the second is a result

"""Sums of sums become one, where nothing else wants the first ones."""

from __future__ import annotations

import numpy as np
import pytest

import pullback as pb
from pullback.compiler import executable

X = np.random.default_rng(0).normal(size=(7, 8, 9, 10))


def kernels(f, *args):
    lines = pb.compile(f).show("loops", *args).splitlines()
    return [line for line in lines if line.startswith("kernel")]


@pytest.mark.parametrize("name", ["sum", "mean", "max", "min", "prod"])
@pytest.mark.parametrize("axes", [(0, (1, 2)), (1, (0, 2)), ((0, 1), 1), (2, 2), ((0, 2), (0, 1))])
def test_folds_of_folds_are_one(name, axes):
    fold, (first, second) = getattr(np, name), axes

    def f(x):
        return fold(fold(x, axis=first), axis=second)

    assert len(kernels(f, X)) == 1
    np.testing.assert_allclose(pb.compile(f)(X), f(X), rtol=1e-12, atol=1e-13)


def test_the_gradient_of_a_bias_of_channels_is_one_pass():
    bias = np.ones((8, 1, 1))
    f = pb.grad(lambda bias: np.sum((X + bias) ** 3))
    assert sum("= sum" in line for line in kernels(f, bias)) == 1
    np.testing.assert_allclose(pb.compile(f)(bias), f(bias), rtol=1e-12)


def folded(f, *args):
    """The axes of all folds."""
    graph = pb.compile(f).prepare(args, {})[1].staged.graph
    found = executable.emit_program(graph, True, ()).schedule.graph.equations
    return sorted(e.params["axis"] for e in found if e.primitive.family == "reduction")


APART = {
    "read twice": (lambda x: (np.sum(np.sum(x, 0), 0), np.sum(x, 0)[0] * 2), [(0,), (0,)]),
    "a result": (lambda x: (y := np.sum(x, 0), np.sum(y, 1)), [(0,), (1,)]),
    "of two kinds": (lambda x: np.sum(np.max(x, 0), 0), [(0,), (0,)]),
    "rows first": (lambda x: np.sum(np.sum(x * x, -1), 0), [(0,), (3,)]),
}


@pytest.mark.parametrize("name", APART)
def test_others_stay(name):
    f, axes = APART[name]
    assert folded(f, X) == axes
    assert folded(lambda x: np.sum(np.sum(x, 1), 1), X) == [(1, 2)]
    for got, want in zip(*(pb.tree.leaves(g(X)) for g in (pb.compile(f), f)), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-12)


def test_sums_of_masks_are_integers():
    def f(x):
        return np.sum(np.sum(x > 0, axis=0), axis=(0, 1))

    found = pb.compile(f)(X)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, f(X))

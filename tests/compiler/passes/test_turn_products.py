"""Transposed products, which turn round, and stay what they were."""

from __future__ import annotations

import numpy as np
import pytest

import pullback as pb
from pullback.compiler.passes.turn_products import turn_products
from pullback.core.types import type_of
from pullback.transforms.evaluate import evaluate
from pullback.transforms.passes.pipeline import optimize
from pullback.transforms.stage import stage

rng = np.random.default_rng(0)


def turned(f, *args):
    """The names of the equations after the pass, which leaves the results as they are."""
    before = optimize(stage(f, [type_of(x) for x in args]).graph)
    after = turn_products(before).verify()
    for x, y in zip(evaluate(before, args), evaluate(after, args), strict=True):
        assert x.dtype == y.dtype
        np.testing.assert_allclose(y, x, rtol=1e-12)
    return [e.primitive.name for e in after.equations]


def swapped(x):
    return np.swapaxes(x, -1, -2)


@pytest.mark.parametrize("lead", [(), (3,), (2, 3)])
def test_the_product_of_a_transposed_matrix_turns_round(lead):
    a, b = rng.normal(size=(*lead, 4, 2)), rng.normal(size=(*lead, 4, 5))
    assert turned(lambda a, b: [swapped(swapped(a) @ b)], a, b) == ["transpose", "matmul"]


def test_leading_axes_that_broadcast():
    a, b = rng.normal(size=(3, 1, 4, 2)), rng.normal(size=(1, 2, 4, 5))
    assert turned(lambda a, b: [swapped(swapped(a) @ b)], a, b) == ["transpose", "matmul"]


@pytest.mark.parametrize(
    ("axes", "left"),
    [
        ((0, 3, 1, 2), (0, 2, 1, 3)),  # turned: rows stay rows
        ((1, 0, 2, 3), (1, 0, 2, 3)),  # rows come before columns: left as it is
    ],
)
def test_columns_that_come_before_rows_turn_round_where_other_axes_move_too(axes, left):
    q, s = rng.normal(size=(2, 3, 6, 4)), rng.normal(size=(2, 3, 6, 5))

    def moved(q, s):
        return [np.transpose(swapped(q) @ s, axes)]

    assert turned(moved, q, s) == ["transpose", "matmul", "transpose"]
    graph = turn_products(stage(moved, [type_of(q), type_of(s)], "").graph)
    assert graph.equations[-1].params["axes"] == left


def test_keys_of_heads_are_read_in_place():
    k, s = rng.normal(size=(2, 6, 3, 4)), rng.normal(size=(2, 3, 6, 5))
    moved = turned(lambda k, s: [swapped(np.transpose(k, (0, 2, 3, 1)) @ s)], k, s)
    assert moved == ["transpose", "transpose", "matmul"]


def test_products_that_stay():
    a, b = rng.normal(size=(4, 2)), rng.normal(size=(4, 5))

    def read_twice(a, b):
        y = a.T @ b
        return [y, y.T]

    assert turned(read_twice, a, b) == ["transpose", "matmul", "transpose"]
    assert turned(lambda a, b: [(a @ b).T], a.T, b) == ["matmul", "transpose"]
    assert turned(lambda a, b: [(a.T @ b).T], a, b[:, 0]) == ["transpose", "matmul"]
    full = rng.normal(size=(3, 4, 5))
    assert turned(lambda a, b: [(a.T @ b).T], a, full) == ["transpose", "matmul", "transpose"]
    moved = turned(lambda a, b: [np.transpose(swapped(a) @ b, (2, 0, 1))], full, full)
    assert moved == ["transpose", "matmul", "transpose"]


def test_the_gradient_of_transposed_weights_is_one_product():
    x, w = rng.normal(size=(6, 4)), rng.normal(size=(3, 4))
    gradient = pb.compile(pb.grad(lambda w, x: np.sum(np.tanh(x @ w.T))))
    assert "= transpose" not in gradient.show("loops", w, x)
    np.testing.assert_allclose(gradient(w, x), (1 - np.tanh(x @ w.T) ** 2).T @ x, rtol=1e-12)

"""Products leave scans, and results stay what they were."""

from __future__ import annotations

import numpy as np
import pytest

import pullback as pb
from pullback.compiler.passes.fission import fission
from pullback.transforms.evaluate import evaluate
from pullback.transforms.passes.pipeline import optimize
from pullback.transforms.stage import stage

rng = np.random.default_rng(0)
WIDTH, ROWS, STEPS = 5, 3, 7


def split(f, *args):
    """The graph of ``f`` before and after fission, which agree on ``args``."""
    leaves, structure = pb.tree.flatten(args)
    staged = stage(
        lambda *xs: pb.tree.leaves(f(*pb.tree.unflatten(structure, xs))),
        [pb.core.types.type_of(x) for x in leaves],
    )
    before = optimize(staged.graph)
    after = fission(before).verify()
    operands = [*staged.captured, *leaves]
    for x, y in zip(evaluate(before, operands), evaluate(after, operands), strict=True):
        assert x.dtype == y.dtype
        np.testing.assert_allclose(y, x, rtol=1e-12, atol=1e-12)
    return before, optimize(after)


def products_inside(graph):
    """How many products each scan has in its body."""
    return [
        sum(e.primitive.name == "matmul" for e in scan.params["body"].equations)
        for scan in graph.equations
        if scan.primitive.name == "scan"
    ]


def recurrent(x, w, u, b):
    def step(h, x_t):
        h = np.tanh(x_t @ w + h @ u + b)
        return h, h

    start = np.zeros((*x.shape[1:-1], WIDTH))
    return np.sum(np.square(pb.scan(step, start, x)[1]))


def operands(*rows):
    x = rng.normal(size=(STEPS, *rows, 4))
    return x, rng.normal(size=(4, WIDTH)), rng.normal(size=(WIDTH, WIDTH)), rng.normal(size=WIDTH)


@pytest.mark.parametrize("rows", [(), (ROWS,)])
def test_products_of_rows_come_first(rows):
    before, after = split(recurrent, *operands(*rows))
    assert products_inside(before) == [2]
    assert products_inside(after) == [1]


def test_gradients_of_weights_are_one_product():
    """Of five products in the backward loop only the one that the carry needs stays."""
    before, after = split(pb.grad(recurrent, (0, 1, 2, 3)), *operands(ROWS))
    assert products_inside(before) == [2, 4]
    assert products_inside(after) == [1, 1]
    _, backward = (e for e in after.equations if e.primitive.name == "scan")
    assert backward.params["n_carry"] == 1


def test_a_matrix_from_the_left():
    def f(x, w):
        return pb.scan(lambda h, x_t: (h + w @ x_t, None), np.zeros(WIDTH), x)[0]

    before, after = split(f, rng.normal(size=(STEPS, 4)), rng.normal(size=(WIDTH, 4)))
    assert (products_inside(before), products_inside(after)) == ([1], [0])


def test_carries_that_are_read_stay():
    """A sum of products whose partial sums the loop looks at is not a sum at the end."""

    def f(x, y, w):
        def step(total, row):
            a, b = row
            total = total + a.T @ b
            return total, np.sum(total * w)

        return pb.scan(step, np.ones((4, WIDTH)), (x, y))

    args = [rng.normal(size=(STEPS, ROWS, n)) for n in (4, WIDTH)]
    before, after = split(f, *args, rng.normal(size=(4, WIDTH)))
    assert products_inside(before) == products_inside(after) == [1]


def test_memory_bounds_what_is_stacked():
    """Rows of 2 numbers do not become rows of 1,000."""

    def f(x, w):
        return pb.scan(lambda h, x_t: (h + np.tanh(x_t @ w), None), np.zeros(1000), x)[0]

    before, after = split(f, rng.normal(size=(STEPS, 2)), rng.normal(size=(2, 1000)))
    assert products_inside(before) == products_inside(after) == [1]


def test_loops_in_loops():
    def f(x, w):
        def outer(total, row):
            return total + pb.scan(lambda h, r: (np.tanh(h + r @ w), h), row[0], row)[0], None

        return pb.scan(outer, np.zeros(4), x)[0]

    _, after = split(f, rng.normal(size=(3, STEPS, 4)), rng.normal(size=(4, 4)))
    (scan,) = (e for e in after.equations if e.primitive.name == "scan")
    assert products_inside(scan.params["body"]) == [0]


@pytest.mark.parametrize("f", [recurrent, pb.grad(recurrent, (0, 1, 2, 3))])
def test_compiled(f):
    args = operands(ROWS)
    for x, y in zip(*map(pb.tree.leaves, (pb.compile(f)(*args), f(*args))), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-11, atol=1e-12)

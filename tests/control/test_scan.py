"""scan against the same loop written in Python, in every mode and nesting."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

import pullback as pb
from pullback.errors import ArgumentError, ShapeError

rng = np.random.default_rng(0)
W = rng.normal(size=(3, 3)) / 2
XS = rng.normal(size=(5, 3))
H0 = rng.normal(size=3)
DIRECTION = (rng.normal(size=W.shape), rng.normal(size=XS.shape), rng.normal(size=3))


def scanned(w, xs, h0):
    h, sums = pb.scan(lambda h, x: (np.tanh(w @ h + x), np.sum(h * x)), h0, xs)
    return np.sum(h * h) + np.sum(sums**2)


def looped(w, xs, h0):
    h, total = h0, 0.0
    for i in range(5):
        total = total + np.sum(h * xs[i]) ** 2
        h = np.tanh(w @ h + xs[i])
    return np.sum(h * h) + total


def test_value_and_gradients_are_those_of_the_loop():
    assert scanned(W, XS, H0) == pytest.approx(looped(W, XS, H0), rel=1e-15)
    ours = pb.grad(scanned, (0, 1, 2))(W, XS, H0)
    theirs = pb.grad(looped, (0, 1, 2))(W, XS, H0)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-13, atol=1e-14)


def test_forward_mode_and_second_order():
    args = (W, XS, H0)
    assert pb.jvp(scanned, args, DIRECTION)[1] == pytest.approx(
        pb.jvp(looped, args, DIRECTION)[1], rel=1e-13
    )
    for a, b in zip(pb.hvp(scanned, args, DIRECTION), pb.hvp(looped, args, DIRECTION), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12)

    def penalty(f):
        return pb.grad(lambda w: np.sum(pb.grad(f)(w, XS, H0) ** 2))(W)

    np.testing.assert_allclose(penalty(scanned), penalty(looped), rtol=1e-11)


@pytest.mark.parametrize("in_axes", [(0, None, None), (None, 0, None), (None, None, 0), (0, 0, 0)])
def test_vmap_of_the_gradient(in_axes):
    full = [rng.normal(size=(4, *np.shape(a))) for a in (W, XS, H0)]
    args = [f if axis == 0 else a for f, a, axis in zip(full, (W, XS, H0), in_axes, strict=True)]
    batched = pb.vmap(pb.grad(scanned, (0, 1, 2)), in_axes)(*args)
    for k in range(4):
        one = [a[k] if axis == 0 else a for a, axis in zip(args, in_axes, strict=True)]
        for a, b in zip(batched, pb.grad(looped, (0, 1, 2))(*one), strict=True):
            np.testing.assert_allclose(a[k], b, rtol=1e-12, atol=1e-13)


def test_reverse_runs_from_the_end():
    last, sums = pb.scan(lambda c, x: (c + x, c + x), 0.0, np.array([1.0, 2.0, 3.0]), reverse=True)
    assert last == 6.0
    np.testing.assert_array_equal(sums, [6.0, 5.0, 3.0])


def test_integer_carries_and_no_steps():
    f = lambda x: pb.scan(lambda c, _: ((c[0] * x, c[1] + 1), None), (x, 0), None, length=3)[0]
    (value, count), _ = pb.vjp(lambda x: f(x), 2.0)
    assert (float(value), int(count)) == (16.0, 3)
    assert float(pb.grad(lambda x: f(x)[0])(2.0)) == 32.0  # d x^4 = 4 x^3
    carry, ys = pb.scan(lambda c, x: (c * x, c), 3.0, np.zeros(0))
    assert float(carry) == 3.0
    assert ys.shape == (0,)


def test_the_body_is_traced_once():
    calls = []

    def body(c, x):
        calls.append(1)
        return c + x, None

    pb.scan(body, 0.0, np.zeros(1000))
    assert len(calls) == 1


def test_errors_name_what_is_wrong():
    with pytest.raises(ShapeError, match="type of the carry"):
        pb.scan(lambda c, x: (np.stack([c, c]), None), 0.0, np.zeros(3))
    with pytest.raises(ShapeError, match="do not agree"):
        pb.scan(lambda c, x: (c, None), 0.0, (np.zeros(3), np.zeros(4)))
    with pytest.raises(ShapeError, match="number of steps is unknown"):
        pb.scan(lambda c, x: (c, None), 0.0, None)
    with pytest.raises(ArgumentError, match="must return a pair"):
        pb.scan(lambda c, x: c, 0.0, np.zeros(3))
    with pytest.raises(ShapeError, match="structure of the carry"):
        pb.scan(lambda c, x: ((c, c), None), 0.0, np.zeros(3))


@pytest.mark.parametrize("length", range(5))
@pytest.mark.parametrize("reverse", [False, True])
def test_compiled_loops_of_even_and_odd_length(length, reverse):
    """Carries that change places or stay, against a Python loop."""

    def step(carry, x):
        a, b, c = carry
        return (b, a + x, c), a * x

    xs = np.arange(1.0, length + 1)
    carry, outputs = (1.0, 2.0, 3.0), np.zeros(length)
    for i in reversed(range(length)) if reverse else range(length):
        carry, outputs[i] = step(carry, xs[i])
    found = pb.compile(lambda start, xs: pb.scan(step, start, xs, reverse=reverse))
    last, ys = found((1.0, 2.0, 3.0), xs)
    assert last == carry
    np.testing.assert_array_equal(ys, outputs)


def test_views_of_rows_are_not_stacked():
    """Reverse mode takes them again, from the rows that there are anyway."""
    rows = rng.normal(size=(200, 3600)) / 60

    def step(h, row):
        return np.tanh(h @ np.reshape(row, (60, 60)).T)

    def scanned(rows):
        return np.sum(pb.scan(lambda h, x: (step(h, x), None), np.ones((1, 60)), rows)[0])

    def looped(rows):
        h = np.ones((1, 60))
        for row in rows:
            h = step(h, row)
        return np.sum(h)

    tracemalloc.start()
    found = pb.grad(scanned)(rows)
    _, high = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert high < 1.5 * rows.nbytes  # the gradient, and little more
    np.testing.assert_allclose(found, pb.grad(looped)(rows), rtol=1e-10, atol=1e-14)

"""Loops without a state: threads share their steps, and results are what Python's loop gives."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from tests.property.executors import grain

import pullback as pb

rng = np.random.default_rng(0)
X, W, B = rng.normal(size=(9, 24, 24)), rng.normal(size=(24, 24)) / 24, rng.normal(size=9)


@pytest.fixture(autouse=True)
def _little_work_is_much():
    with grain(500):
        yield


def each(step, reverse=False):
    return lambda *xs: pb.scan(lambda _, x: ((), step(*x)), (), xs, reverse=reverse)[1]


def chunks(f, *args):
    """The numbers of chunks of the loops."""
    lines = pb.compile(f).show("schedule", *args).splitlines()
    return [line.split()[0] for line in lines if "= scan" in line]


def check(f, *args, rtol=1e-12):
    want = pb.tree.leaves(f(*args))
    for threads in (1, 2, 3):
        found = pb.tree.leaves(pb.compile(f, threads=threads)(*args))
        for a, b in zip(found, want, strict=True):
            assert (a.shape, a.dtype) == (b.shape, b.dtype)
            np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-13)
    return found


def branch(x, b):
    return pb.cond(b > 0, lambda x: np.cumsum(x @ W, axis=0), lambda x: np.sort(x, axis=1), x)


def nested(x, b):
    inner = pb.scan(lambda _, row: ((), np.tanh(W @ row) * b), (), x)[1]
    total = pb.scan(lambda c, row: (np.tanh(c @ W) + row, c), x[0], x)
    return inner, total, np.argsort(x, axis=1)


def repeated(x, b):
    return pb.while_loop(lambda c: np.sum(c * c) > 1, lambda c: 0.5 * np.tanh(c @ W), x + b)


STEPS = {
    "maps": lambda x, b: np.exp(-(x**2)) * b + np.sum(x, axis=0),
    "products": lambda x, b: np.tanh(x @ W + b) @ x.T,
    "branches": branch,
    "loops inside": nested,
    "loops that end by a test": repeated,
    "an operand, and a constant": lambda x, b: (x, W, b, 3),
    "numbers alone": lambda x, b: np.sum(x) * b,
    "integers": lambda x, b: (np.argmax(x @ W, axis=1), x > b),
    "random": lambda x, b: pb.random.Generator(np.argsort(x[0])[:3].astype(np.uint64)).normal(
        b, 2.0, 5
    ),
}


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
@pytest.mark.parametrize("reverse", [False, True])
def test_steps_are_shared(step, reverse):
    f = each(step, reverse)
    assert chunks(f, X, B) == ["9"]
    check(f, X, B)


@pytest.mark.parametrize("n", [0, 1, 3, 4, 63, 200])
def test_any_number_of_steps(n):
    x = np.resize(X, (n, 24, 24))
    f = each(lambda x: np.sort(np.tanh(x @ W)))
    check(f, x)
    assert chunks(f, x) == [str({0: 1, 1: 1, 3: 3, 4: 4, 63: 63, 200: 50}[n])]


def test_gradients_of_what_steps_read_alone():
    def f(x, b):
        return np.sum(np.sin(each(lambda x, b: np.tanh(x @ x.T) * b)(x, b)))

    assert chunks(pb.grad(f, argnums=(0, 1)), X, B) == ["9", "9"]
    check(pb.grad(f, argnums=(0, 1)), X, B)


def test_a_loop_with_a_state_is_not_cut():
    assert chunks(lambda x: pb.scan(lambda c, x: (c @ x, c), W, x), X) == ["code:"]


def test_steps_that_need_much_memory_follow_each_other(monkeypatch):
    """All threads work on one step then."""
    f = each(lambda x: np.sum(np.sort(np.outer(x, x), axis=0)))
    x = np.ascontiguousarray(X[:, 0])
    assert chunks(f, x) == ["9"]
    monkeypatch.setattr(sys.modules["pullback.compiler.schedule.bodies"], "MOST_BYTES", 1 << 13)
    assert chunks(f, x) == ["1"]
    check(f, x)


def test_working_memory_of_chunks_does_not_overlap():
    """Each step writes what others would find changed."""

    def step(x, b):
        y = x
        for _ in range(4):
            y = np.sort(y @ W, axis=0) + b
        return y

    x, b = np.resize(X, (64, 24, 24)), np.arange(64.0)
    compiled, want = pb.compile(each(step), threads=3), each(step)(x, b)
    for _ in range(20):
        np.testing.assert_allclose(compiled(x, b), want, rtol=1e-9)


def test_steps_that_call_numpy_run_on_the_thread_that_may():
    f = each(lambda x: np.cumsum(x.astype(np.float16) * np.float16(2), axis=0))
    assert chunks(f, X) == ["1"]
    check(f, X)


def test_a_failure_in_a_step_is_reported_with_its_line():
    def f(x, i):
        return each(lambda x, i: (x @ W)[i])(x, i)

    good = np.arange(9)
    compiled = pb.compile(f, threads=2)
    want = f(X, good)
    np.testing.assert_allclose(compiled(X, good), want, rtol=1e-12)
    with pytest.raises(IndexError) as caught:
        compiled(X, np.where(good == 5, 99, good))
    assert "test_iterations.py" in str(caught.value)
    np.testing.assert_allclose(compiled(X, good), want, rtol=1e-12)


def test_results_are_equal_to_the_bit_for_any_threads():
    f = each(lambda x, b: np.sum(np.tanh(x @ W) @ x.T, axis=0) * b)
    first = pb.compile(f, threads=1)(X, B)
    for threads in (2, 3, 5):
        compiled = pb.compile(f, threads=threads)
        for _ in range(50):
            assert compiled(X, B).tobytes() == first.tobytes()

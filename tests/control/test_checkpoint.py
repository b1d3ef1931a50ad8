"""checkpoint changes memory, and nothing else."""

from __future__ import annotations

import tracemalloc

import numpy as np

import pullback as pb
from pullback.core.types import type_of
from pullback.transforms.stage import stage

rng = np.random.default_rng(0)
W = rng.normal(size=(3, 3))
X = rng.normal(size=3)


def chain(wrap):
    def f(w, x):
        def block(x):  # closes over a traced value, and branches on another
            return np.tanh(w @ x) if np.sum(x) > 0 else np.sin(w @ x)

        g = wrap(block)
        return np.sum(g(g(x)) ** 2)

    return f


plain, kept_small = chain(lambda f: f), chain(pb.checkpoint)


def test_first_and_second_derivatives_are_bitwise_equal():
    for a, b in zip(pb.grad(kept_small, (0, 1))(W, X), pb.grad(plain, (0, 1))(W, X), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_allclose(
        pb.hvp(kept_small, (W, X), (W, X))[0], pb.hvp(plain, (W, X), (W, X))[0], rtol=1e-12
    )
    penalty = lambda f: pb.grad(lambda w: np.sum(pb.grad(f, 1)(w, X) ** 2))(W)
    np.testing.assert_allclose(penalty(kept_small), penalty(plain), rtol=1e-12)


def test_under_vmap_where_values_are_not_known():
    f = lambda x: np.sum(pb.checkpoint(lambda x: np.sin(W @ x))(x))
    xs = rng.normal(size=(4, 3))
    np.testing.assert_allclose(pb.vmap(pb.grad(f))(xs), [np.cos(W @ x) @ W for x in xs], rtol=1e-14)


def test_the_function_runs_once_forward():
    calls = []

    def block(x):
        calls.append(1)
        return np.sin(x)

    pb.grad(lambda x: pb.checkpoint(block)(x))(0.5)
    assert len(calls) == 1


def test_it_keeps_the_inputs_only():
    n = 200_000

    def deep(x):
        for _ in range(20):
            x = np.sin(x)
        return np.sum(x)

    def peak(f):
        tracemalloc.start()
        pb.grad(f)(np.ones(n))
        _, high = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return high / (8 * n)

    segments = lambda x: np.sum(pb.checkpoint(half)(pb.checkpoint(half)(x)))

    def half(x):
        for _ in range(10):
            x = np.sin(x)
        return x

    assert peak(deep) > 20  # every intermediate
    assert peak(segments) < 17  # one segment at a time


def test_it_computes_again_only_what_derivatives_read():
    """The product is linear: its value is not needed for any of them."""
    block = pb.checkpoint(lambda x: np.sum(np.tanh(x) @ W))
    graph = stage(lambda x: [pb.grad(lambda x: block(x))(x)], [type_of(X)]).graph
    (again,) = (e.params["graph"] for e in graph.equations if e.params.get("is_again"))
    names = [equation.primitive.name for equation in again.equations]
    assert names.count("matmul") == names.count("tanh") == 1
    assert "sum" not in names
    np.testing.assert_allclose(
        pb.grad(block)(X), (1 - np.tanh(X) ** 2) * np.sum(W, axis=1), rtol=1e-14
    )

"""Deep programs: no recursion, and work that grows as they do."""

from __future__ import annotations

import cProfile
import inspect
import os
import pstats
import sys
from contextlib import contextmanager

import numpy as np
import pytest

import pullback as pb
from pullback.compiler import executable
from pullback.core.types import type_of
from pullback.transforms.stage import stage

DEPTH = int(os.environ.get("PULLBACK_DEPTH", "1"))  # times as many steps: 10 for the full sizes
FRAMES = 250  # that a compilation may take


def logistic(n):
    def f(x):
        for _ in range(n):
            x = 3.7 * x * (1 - x)
        return np.sum(x)

    return f, np.array([0.3])


def sines(n):
    def f(x):
        for _ in range(n):
            x = np.sin(x) * 1.01
        return np.sum(x)

    return f, np.linspace(0.1, 1, 5)


def softmax(n):
    def f(x):
        for _ in range(n):
            x = x - 0.1 * np.log(np.sum(np.exp(x)))
        return np.sum(np.exp(x))

    return f, np.linspace(-1, 1, 7)


def slope(s):
    x, y, z = s[0], s[1], s[2]
    return np.stack([10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z])


def lorenz(n):
    h = 0.01

    def f(s):
        for _ in range(n):
            k1 = slope(s)
            k2 = slope(s + h / 2 * k1)
            k3 = slope(s + h / 2 * k2)
            k4 = slope(s + h * k3)
            s = s + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        return np.sum(s * s)

    return f, np.array([1.0, 2.0, 20.0])


def sinkhorn(n):
    def f(cost):
        kernel = np.exp(-cost)
        u = np.ones(4)
        for _ in range(n):
            v = 1 / (kernel.T @ u)
            u = 1 / (kernel @ v)
        return np.sum(u[:, None] * kernel * v * cost)

    return f, np.random.default_rng(0).random((4, 5))


def rosenbrock(n):
    def f(x):
        total = 0.0
        for i in range(n - 1):
            total = total + 100 * (x[i + 1] - x[i] ** 2) ** 2 + (1 - x[i]) ** 2
        return total

    return f, np.linspace(0.2, 0.9, n)


def layers(n):
    w = np.random.default_rng(0).normal(size=(6, 6)) / 2

    def f(x):
        for _ in range(n):
            x = np.tanh(w @ x) + x
        return np.sum(x * x)

    return f, np.linspace(-1, 1, 6)


PROGRAMS = {  # and how many steps
    logistic: 260,
    sines: 130,
    softmax: 60,
    lorenz: 6,
    sinkhorn: 15,
    rosenbrock: 30,
    layers: 60,
}


@contextmanager
def few_frames():
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + FRAMES)
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


@pytest.mark.parametrize("make", PROGRAMS, ids=lambda make: make.__name__)
def test_unrolled_programs_compile(make, monkeypatch):
    monkeypatch.setenv("PULLBACK_CACHE_DIR", "")
    f, x = make(PROGRAMS[make] * DEPTH)
    pb.compile(np.sin)(x)  # what is imported late is imported now
    with few_frames():
        value, gradient = pb.compile(pb.value_and_grad(f))(x)
    np.testing.assert_allclose(value, f(x), rtol=1e-6 if make is logistic else 1e-9)
    direction = np.cos(np.arange(x.size)).reshape(x.shape)
    slope = f(x + 1e-200j * direction).imag / 1e-200  # no digits are lost in a difference
    if make is logistic:  # which is chaotic: rounding grows a thousandfold in twenty steps
        return
    np.testing.assert_allclose(np.sum(gradient * direction), slope, rtol=1e-8)


def calls(f, x):
    """How many functions are called between the graph of a function and the text of its code."""
    graph = stage(lambda x: [pb.grad(f)(x)], [type_of(x)]).graph
    profile = cProfile.Profile()
    profile.enable()
    executable.emit_program(graph, True, ())
    profile.disable()
    return pstats.Stats(profile).total_calls


# The others come to grow linearly where steps have more neighbours than are looked at.
GROWING = PROGRAMS if DEPTH >= 10 else (logistic, sines, softmax, layers)


@pytest.mark.parametrize("make", GROWING, ids=lambda make: make.__name__)
def test_work_grows_as_the_program(make):
    n = PROGRAMS[make] * DEPTH
    small, before, after = (calls(*make(size)) for size in (3, n, 2 * n))
    assert after - small < 2.3 * (before - small)


def test_eager_derivatives_of_deep_programs():
    n = 1000 * DEPTH

    def f(x):
        for _ in range(n):
            x = x * 1.0001
        return np.sum(x)

    x = np.array([1.0, 2.0])
    growth = 1.0001**n
    with few_frames():
        np.testing.assert_allclose(pb.grad(f)(x), [growth, growth])
        np.testing.assert_allclose(pb.jvp(f, (x,), (np.array([1.0, 0.0]),))[1], growth)
        np.testing.assert_allclose(pb.vmap(pb.grad(f))(np.ones((2, 3))), np.full((2, 3), growth))
        np.testing.assert_allclose(pb.grad(pb.checkpoint(f))(x), [growth, growth])
        values, back = pb.vjp(f, x)
        del values, back  # a tape that nobody runs goes without recursion, too

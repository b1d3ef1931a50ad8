"""Schedules: which operations share a kernel, and that sharing never changes a result."""

import numpy as np
import pytest

import pullback as pb

X = np.arange(1.0, 17.0).reshape(4, 4)


def kernels(fun, *args):
    lines = pb.compile(fun).show("loops", *args).splitlines()
    return [line for line in lines if line.startswith("kernel")]


def same(fun, *args):
    for got, want in zip(pb.compile(fun)(*args), fun(*args), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-15)


def momentum(p, m, g):
    m = 0.9 * m + 0.1 * g
    return p - 0.5 * m, m


def test_maps_that_share_memory_run_in_one_loop():
    assert len(kernels(momentum, X, X, X)) == 1
    same(momentum, X, X + 1, X - 1)


def test_a_scalar_that_is_computed_in_between_is_waited_for():
    def clipped(p, m, g):
        m = 0.9 * m + 0.1 * g
        return p - m / np.sqrt(np.sum(g * g)), m

    assert len(kernels(clipped, X, X, X)) == 3  # the sum, its root, the rest
    same(clipped, X, X + 1, X - 1)


@pytest.mark.parametrize(
    "move",
    [
        np.transpose,
        lambda a: a[::-1],
        lambda a: a[:, ::-1] + a.T,
        lambda a: np.broadcast_to(a[0], (4, 4)),
    ],
)
def test_elements_at_other_places_are_read_after_the_loop_that_writes_them(move):
    def both(x):
        a = np.exp(x / 16)
        return a, a * move(a), move(a) + x

    same(both, X)


def test_a_value_between_two_maps_keeps_them_apart_where_it_must():
    def chained(x):
        a = x + 1
        total = np.sum(a, axis=0)
        b = a * total
        return a, b, total @ (b + x)

    same(chained, X)


def test_an_operation_without_native_form_leaves_the_others_native():
    def mixed(x, n):
        return x + n, np.signbit(n) & (x > n), x - n

    n = np.arange(16, dtype=np.uint8).reshape(4, 4)
    same(mixed, X, n)

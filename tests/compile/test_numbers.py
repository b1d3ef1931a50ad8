"""Numbers that a map computes before its loop, and those that have a place in memory."""

import numpy as np

import pullback as pb


def test_a_number_that_one_map_reads_has_no_memory():
    def f(x, t):
        return x * (np.sqrt(1 - 0.9**t) / (1 + t)), t + 1

    x, t = np.linspace(0.0, 1.0, 5000), np.float64(3.0)
    got, _ = pb.compile(f)(x, t)
    np.testing.assert_allclose(got, f(x, t)[0], rtol=1e-15)
    text = pb.compile(f).show("loops", x, t)
    assert "power" in text.splitlines()[-2]
    assert text.endswith("arena: 0 bytes")


def test_a_number_that_is_read_twice_is_computed_once():
    def f(x, y, t):
        scale = np.exp(t) / (1 + t)
        return x * scale, y * scale

    x, y, t = np.linspace(0.0, 1.0, 5000), np.linspace(0.0, 1.0, 400), np.float64(3.0)
    for a, b in zip(pb.compile(f)(x, y, t), f(x, y, t), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-15)
    assert pb.compile(f).show("loops", x, y, t).count("exp") == 1


def test_a_number_that_other_numbers_need_is_computed_once():
    def f(x, t):
        scale = np.exp(t) / (1 + t)
        return x * scale, scale * 2

    x, t = np.linspace(0.0, 1.0, 5000), np.float64(3.0)
    for a, b in zip(pb.compile(f)(x, t), f(x, t), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-15)
    assert pb.compile(f).show("loops", x, t).count("exp") == 1


def test_a_number_that_is_a_result_is_written_too():
    def f(x, t):
        scale = np.exp(t) / (1 + t)
        return x * scale, scale

    x, t = np.linspace(0.0, 1.0, 5000), np.float64(3.0)
    for a, b in zip(pb.compile(f)(x, t), f(x, t), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-15)

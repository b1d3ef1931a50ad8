"""Numbers that a map computes before its loop, and those that have a place in memory."""

import numpy as np
from tests.compiler.verifier import verified

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


def test_a_loop_of_several_maps_reads_no_result_of_its_own():
    """A number is computed in a loop whose first map makes what others read."""
    weights = np.array([-0.75, -0.25])

    def slopes(t, x):
        return pb.grad(lambda x: np.sum(weights * np.fmax(x / (1 + t * t), x)))(x)

    t, x = np.float64(2.0), np.array([1.0, -3.0], np.float32)
    with verified():
        found = pb.compile(slopes)(t, x)
    np.testing.assert_allclose(found, slopes(t, x), rtol=1e-6)

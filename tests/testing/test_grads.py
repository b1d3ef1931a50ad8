"""check_grads: passes what is right, and says what, where and by how much when it is not."""

import numpy as np
import pytest

import pullback as pb
from pullback.errors import ArgumentError
from pullback.testing.grads import GradientError
from pullback.transforms.differences import directional_difference

PARAMS = {"b": np.array([0.3, -0.2]), "w": np.array([[0.5, -1.0], [2.0, 0.1]])}


def affine(p, x):
    return np.tanh(x @ p["w"] + p["b"])


def test_right_derivatives_pass_in_containers():
    pb.check_grads(affine, (PARAMS, np.array([0.4, 0.7])))


def test_the_difference_of_a_quartic_is_exact():
    (slope,) = directional_difference(lambda x: x**4, (np.array(2.0),), (np.array(1.0),), 0.1)
    assert slope == pytest.approx(32.0, rel=1e-13)


def test_the_argument_that_is_wrong_is_named():
    f = lambda p, x: affine({**p, "b": pb.stop_gradient(p["b"])}, x)
    with pytest.raises(GradientError, match=r"furthest off: args\[0\]\['b'\]") as caught:
        pb.check_grads(f, (PARAMS, np.array([0.4, 0.7])))
    assert isinstance(caught.value, AssertionError)
    assert "the forward derivative" in str(caught.value)


@pb.custom_vjp
def lopsided(x):
    return np.sin(x)


lopsided.defvjp(lambda x: (np.sin(x), x), lambda x, ct: (ct * pb.stop_gradient(np.cos(x)),))


def test_a_wrong_second_derivative_is_told_from_a_wrong_first():
    pb.check_grads(lopsided, (np.array([0.4]),), modes=("reverse",), order=1)
    with pytest.raises(GradientError, match="the reverse second derivative"):
        pb.check_grads(lopsided, (np.array([0.4]),), modes=("reverse",))


def test_nan_never_agrees():
    with np.errstate(invalid="ignore"), pytest.raises(GradientError, match="nan"):
        pb.check_grads(np.log, (np.array([-1.0]),))


def test_a_kink_within_the_step_is_noticed():
    with pytest.raises(GradientError, match="a kink within the step"):
        pb.check_grads(np.abs, (np.zeros(2),))


def test_single_precision_cannot_be_checked():
    with pytest.raises(ArgumentError, match=r"args\[0\]\[1\] has dtype float32"):
        pb.check_grads(lambda p: p[1], ((1.0, np.float32(2.0)),))


@pytest.mark.parametrize("wrong", [{"modes": ("foward",)}, {"modes": ()}, {"order": 0}], ids=str)
def test_what_would_check_nothing_is_refused(wrong):
    with pytest.raises(ArgumentError, match="check_grads: order="):
        pb.check_grads(np.sin, (1.0,), **wrong)


def with_wrong_slopes(f, wrong):
    """``f`` in both modes with the slope ``wrong(x, right)``, a diagonal Jacobian."""
    right = lambda x: pb.grad(lambda x: np.sum(f(x)))(x)
    rule = pb.custom_jvp(f)
    rule.defjvp(
        lambda primals, tangents: (f(*primals), wrong(primals[0], right(primals[0])) * tangents[0])
    )
    return rule


def one_wrong(n, k, error):
    factors = np.ones(n)
    factors[k] += error
    return lambda x, slope: slope * factors


@pytest.mark.parametrize("n", [1, 50, 2000])
@pytest.mark.parametrize("total", [False, True], ids=["elements", "sum"])
def test_an_error_of_a_millionth_in_one_element_is_caught(n, total):
    rng = np.random.default_rng(n)
    for seed in range(8):
        x = rng.uniform(0.5, 1.0, n)
        right = lambda x: np.sum(np.sin(x)) if total else np.sin(x)
        pb.check_grads(right, (x,), order=1, seed=seed)
        f = with_wrong_slopes(np.sin, one_wrong(n, int(rng.integers(n)), 1e-6))
        wrong = lambda x, f=f: np.sum(f(x)) if total else f(x)
        with pytest.raises(GradientError, match="furthest off"):
            pb.check_grads(wrong, (x,), order=1, seed=seed)


@pytest.mark.parametrize("scale", [1e-12, 1e-30, 1e12])
@pytest.mark.parametrize("offset", [0.0, 1e9])
def test_a_gradient_of_zeros_is_caught_at_any_scale_and_offset(scale, offset):
    x = np.random.default_rng(0).normal(size=20)
    right = lambda x: scale * (offset + np.sin(x))
    zeros = lambda x: right(pb.stop_gradient(x)) + 0 * x
    tiny = lambda x: (
        right(pb.stop_gradient(x))
        + scale * np.sin(x) * 0.99
        - pb.stop_gradient(scale * np.sin(x) * 0.99)
    )
    for seed in range(8):
        pb.check_grads(right, (x,), seed=seed)
        with pytest.raises(GradientError):
            pb.check_grads(zeros, (x,), seed=seed, order=1)
        if not offset:
            with pytest.raises(GradientError):
                pb.check_grads(tiny, (x,), seed=seed, order=1)


def test_no_argument_and_no_output_hides_behind_a_larger_one():
    x = {"a": np.array([0.3, 0.4]), "b": np.array([0.5])}
    right = lambda p: (1e9 * np.sin(p["a"]), 1e-9 * np.cos(p["a"] * p["b"]))
    pb.check_grads(right, (x,))
    for name in x:
        wrong = lambda p, n=name: (right(p)[0], right({**p, n: pb.stop_gradient(p[n])})[1])
        with pytest.raises(GradientError, match=rf"furthest off: args\[0\]\['{name}'\]"):
            pb.check_grads(wrong, (x,), order=1)


def test_rounding_within_a_function_is_no_error():
    far = lambda x: (1e6 + np.sin(x)) - 1e6
    for seed in range(8):
        pb.check_grads(far, (np.linspace(0.1, 1, 30),), order=1, seed=seed, rtol=1e-6)
        pb.check_grads(lambda x: np.linalg.solve(x, x @ x), (np.eye(3) + 0.1,), seed=seed)

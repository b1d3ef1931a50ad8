"""check_grads: passes what is right, and says what, where and by how much when it is not."""

import numpy as np
import pytest

import pullback as pb
from pullback.errors import ArgumentError
from pullback.testing.grads import GradientError, directional_difference

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

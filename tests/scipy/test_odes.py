"""Differential equations against SciPy, closed forms and differences."""

import numpy as np
import pytest
import scipy.integrate
from numpy.testing import assert_allclose

import pullback as pb
from pullback.errors import ArgumentError, ConvergenceError, UnsupportedError

own = pb.scipy.integrate
TIMES = np.array([0.5, 1.0, 2.0])
ARGS = np.array([0.4, -0.2]), np.array(2.0), np.array(0.3)
TIGHT = {"rtol": 1e-9, "atol": 1e-11}


def pendulum(t: object, y: object, stiffness: object, damping: object) -> list:
    return [y[1], -stiffness * np.sin(y[0]) - damping * y[1]]


def solved(y0: object, stiffness: object, damping: object, adjoint: str = "continuous") -> object:
    return own.solve_ivp(
        pendulum,
        (0.0, 2.0),
        y0,
        t_eval=TIMES,
        args=(stiffness, damping),
        derivative=adjoint,
        **TIGHT,
    ).y


def test_both_derivatives() -> None:
    expected = scipy.integrate.solve_ivp(
        pendulum, (0, 2), ARGS[0], t_eval=TIMES, args=ARGS[1:], **TIGHT
    ).y
    gradients = []
    for adjoint in ("continuous", "discrete"):
        assert_allclose(solved(*ARGS, adjoint), expected, rtol=1e-12)
        function = lambda *args, adjoint=adjoint: solved(*args, adjoint)
        gradients.append(pb.grad(lambda *a, f=function: np.sum(f(*a) ** 2), 1)(*ARGS))
    assert_allclose(gradients[0], gradients[1], rtol=1e-7)
    pb.check_grads(lambda k: solved(ARGS[0], k, ARGS[2]), ARGS[1:2], order=1, rtol=1e-5)


def end(rate: object) -> object:
    return own.solve_ivp(lambda t, y: -rate * y, (0.0, 1.0), np.ones(1), **TIGHT).y[0, -1]


def test_a_decay_has_all_its_derivatives() -> None:
    rate = 1.5
    assert_allclose(pb.grad(end)(rate), -np.exp(-rate), rtol=1e-7)
    assert_allclose(pb.grad(pb.grad(end))(rate), np.exp(-rate), rtol=1e-6)
    assert_allclose(pb.compile(pb.grad(end))(rate), pb.grad(end)(rate))
    assert_allclose(pb.vmap(pb.grad(end))(np.array([1.0, 2.0])), -np.exp([-1.0, -2.0]), rtol=1e-7)


def test_derivatives_by_the_times() -> None:
    def reached(times: object) -> object:
        return own.odeint(lambda y, t: -2.0 * y, 1.0, times, rtol=1e-11, atol=1e-13)[-1, 0]

    times = np.array([0.1, 0.5, 1.2])
    value = np.exp(-2.2)
    assert_allclose(pb.grad(reached)(times), [2 * value, 0, -2 * value], atol=1e-8)
    expected = scipy.integrate.odeint(pendulum, ARGS[0], times, args=ARGS[1:], tfirst=True)
    assert_allclose(own.odeint(pendulum, ARGS[0], times, args=ARGS[1:], tfirst=True), expected)


def test_refusals() -> None:
    with pytest.raises(UnsupportedError, match="events="):
        own.solve_ivp(pendulum, (0, 1), ARGS[0], events=np.sum, args=ARGS[1:])
    with pytest.raises(UnsupportedError, match="choose RK45 or RK23"):
        own.solve_ivp(pendulum, (0, 1), ARGS[0], "Radau", args=ARGS[1:], derivative="discrete")
    with pytest.raises(ArgumentError, match="returns 1 numbers for 2"):
        own.solve_ivp(lambda t, y: y[:1], (0, 1), ARGS[0])
    with pytest.raises(ConvergenceError, match="could not go on"):
        own.solve_ivp(lambda t, y: y**2, (0.0, 2.0), np.ones(1))

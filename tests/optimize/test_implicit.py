"""Implicit functions against closed forms, in every mode, nested, batched and compiled."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import optimize

import pullback as pb
from pullback.errors import ArgumentError, ConvergenceError, ShapeError

RNG = np.random.default_rng(0)
MATRIX = RNG.normal(size=(4, 4))
SPD = MATRIX @ MATRIX.T + 4 * np.eye(4)
SOLVERS = ["dense", "cg", "minres", "gmres"]


def cube_root(a: np.ndarray, linear_solver: str = "dense") -> np.ndarray:
    """The argument is read from outside by the equation."""
    return pb.implicit_root(lambda x: x**3 - a, np.ones(2), linear_solver=linear_solver)


@pytest.mark.parametrize("linear_solver", SOLVERS)
def test_derivatives_of_a_cube_root(linear_solver: str) -> None:
    a = np.array([2.0, 5.0])

    def total(a: np.ndarray) -> np.ndarray:
        return np.sum(cube_root(a, linear_solver) * np.array([1.0, 10.0]))

    weights = np.array([1.0, 10.0])
    assert_allclose(cube_root(a), np.cbrt(a))
    assert_allclose(pb.grad(total)(a), weights * a ** (-2 / 3) / 3)
    _, dot = pb.jvp(lambda a: cube_root(a, linear_solver), (a,), (weights,))
    assert_allclose(dot, weights * a ** (-2 / 3) / 3)
    second = np.diag(weights * -2 / 9 * a ** (-5 / 3))
    assert_allclose(pb.hessian(total)(a), second, atol=1e-9)
    assert_allclose(pb.jacobian(pb.grad(total), mode="reverse")(a), second, atol=1e-9)


def test_batched_and_compiled() -> None:
    rows = RNG.uniform(1, 5, size=(3, 2))
    assert_allclose(pb.vmap(cube_root)(rows), np.cbrt(rows))
    expected = rows ** (-2 / 3) / 3
    gradient = pb.grad(lambda a: np.sum(cube_root(a)))
    assert_allclose(pb.vmap(gradient)(rows), expected)
    fast = pb.compile(gradient)
    for row, known in zip(rows, expected, strict=True):
        assert_allclose(fast(row), known)


def test_arguments_and_containers() -> None:
    def equations(p: dict, a: np.ndarray, b: np.ndarray) -> tuple:
        return p["x"] + p["y"] - a, p["x"] - p["y"] - b

    def half_sum(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return pb.implicit_root(equations, {"x": np.zeros(()), "y": np.zeros(())}, a, b)["x"]

    assert float(half_sum(5.0, 1.0)) == pytest.approx(3)
    assert_allclose(pb.grad(half_sum, (0, 1))(5.0, 1.0), [0.5, 0.5])


def test_many_unknowns_take_a_matrix_free_solver() -> None:
    n = 600

    def heat(conductivity: np.ndarray) -> np.ndarray:
        def residual(u: np.ndarray) -> np.ndarray:
            padded = np.concatenate([np.zeros(1), u, np.zeros(1)])
            return conductivity * (2 * u - padded[2:] - padded[:-2]) + u - 1

        return np.mean(pb.implicit_root(residual, np.zeros(n), linear_solver="cg"))

    step = 1e-4
    expected = (heat(2 + step) - heat(2 - step)) / (2 * step)
    assert float(pb.grad(heat)(2.0)) == pytest.approx(float(expected), rel=1e-4)


def test_the_solver_is_free() -> None:
    def brent(residual: Callable, start: np.ndarray) -> np.ndarray:
        return np.array([optimize.brentq(lambda x: residual(np.array([x]))[0], 0, 9)])

    def root(a: np.ndarray) -> np.ndarray:
        return pb.implicit_root(lambda x: np.exp(x) - a, np.ones(()), solver=brent)

    assert float(pb.grad(root)(4.0)) == pytest.approx(0.25)


def test_fixed_points() -> None:
    def kepler(e: np.ndarray, mean: np.ndarray) -> np.ndarray:
        return pb.fixed_point(lambda x: mean + e * np.sin(x), np.array(1.0))

    anomaly = optimize.brentq(lambda x: x - 0.4 * np.sin(x) - 1.0, 0, 3)
    slope = np.sin(anomaly) / (1 - 0.4 * np.cos(anomaly))
    assert float(kepler(0.4, 1.0)) == pytest.approx(anomaly)
    assert float(pb.grad(kepler)(0.4, 1.0)) == pytest.approx(slope)


@pytest.mark.parametrize("method", ["cg", "minres", "gmres"])
def test_linear_systems(method: str) -> None:
    b = RNG.normal(size=4)

    def matrix_free(c: np.ndarray, b: np.ndarray) -> np.ndarray:
        x = pb.optimize.linear_solve(lambda v: c * (SPD @ v) + v, b, method)
        return np.sum(np.sin(x))

    def dense(c: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.sum(np.sin(np.linalg.solve(c * SPD + np.eye(4), b)))

    assert_allclose(pb.grad(matrix_free, (0, 1))(2.0, b)[0], pb.grad(dense)(2.0, b), rtol=1e-8)
    assert_allclose(pb.grad(matrix_free, 1)(2.0, b), pb.grad(dense, 1)(2.0, b), rtol=1e-8)
    assert_allclose(
        pb.grad(pb.grad(matrix_free))(2.0, b), pb.grad(pb.grad(dense))(2.0, b), rtol=1e-6
    )


def test_systems_that_are_not_symmetric() -> None:
    shifted = MATRIX + 6 * np.eye(4)
    b = RNG.normal(size=4)
    found = pb.jacobian(lambda b: pb.optimize.linear_solve(lambda v: shifted @ v, b))(b)
    assert_allclose(found, np.linalg.inv(shifted), atol=1e-9)


# -- minima ---------------------------------------------------------------------------------------
X, Y = RNG.normal(size=(20, 3)), RNG.normal(size=20)


def ridge(strength: np.ndarray, linear_solver: str = "dense") -> np.ndarray:
    return pb.argmin(
        lambda w: np.sum((X @ w - Y) ** 2) + strength * np.sum(w**2),
        np.zeros(3),
        linear_solver=linear_solver,
    )


@pytest.mark.parametrize("linear_solver", ["dense", "cg"])
def test_the_gradient_of_a_hyperparameter(linear_solver: str) -> None:
    """Validation loss of ridge regression; w(s) = (X^T X + s I)^-1 X^T y is known."""
    held_x, held_y = RNG.normal(size=(10, 3)), RNG.normal(size=10)
    gram = X.T @ X + 1.5 * np.eye(3)
    w = np.linalg.solve(gram, X.T @ Y)
    slope = 2 * (held_x @ w - held_y) @ held_x @ np.linalg.solve(gram, -w)

    def validation(strength: np.ndarray) -> np.ndarray:
        return np.sum((held_x @ ridge(strength, linear_solver) - held_y) ** 2)

    assert_allclose(ridge(1.5), w, rtol=1e-8)
    assert float(pb.grad(validation)(1.5)) == pytest.approx(slope, rel=1e-7)


def test_constraints_that_hold_and_that_do_not() -> None:
    """Nearest point to p in the plane sum x = 1 with x >= 0: the simplex, where one x is zero."""

    def nearest(p: np.ndarray) -> np.ndarray:
        return pb.argmin(
            lambda x, p: np.sum((x - p) ** 2),
            np.full(3, 1 / 3),
            p,
            equality=lambda x, p: np.sum(x) - 1,
            inequality=lambda x, p: x,
        )

    p = np.array([0.9, 0.5, -1.0])
    # With x3 = 0 the other two are p - (sum p - 1) / 2; the projector of that plane follows.
    assert_allclose(nearest(p), [0.7, 0.3, 0], atol=1e-9)
    expected = np.array([[0.5, -0.5, 0], [-0.5, 0.5, 0], [0, 0, 0]])
    assert_allclose(pb.jacobian(nearest)(p), expected, atol=1e-8)
    _, dot = pb.jvp(nearest, (p,), (np.array([1.0, 0.0, 5.0]),))
    assert_allclose(dot, [0.5, -0.5, 0], atol=1e-8)


def test_a_bound_that_does_not_hold_changes_nothing() -> None:
    def smallest(a: np.ndarray) -> np.ndarray:
        return pb.argmin(lambda x: np.sum((x - a) ** 4 + (x - a) ** 2), 1.0, inequality=lambda x: x)

    assert float(smallest(3.0)) == pytest.approx(3)
    assert float(pb.grad(smallest)(3.0)) == pytest.approx(1)
    assert float(pb.grad(smallest)(-3.0)) == pytest.approx(0, abs=1e-9)


def test_minima_in_minima() -> None:
    """The outer problem sees the inner one: x(a) = a, and a*(b) = 2 b."""

    def inner(a: np.ndarray) -> np.ndarray:
        return pb.argmin(lambda x: np.cosh(x - a), np.array(0.0))

    def outer(b: np.ndarray) -> np.ndarray:
        return pb.implicit_root(lambda a: inner(a) - 2 * b, np.array(0.1))

    assert float(outer(1.5)) == pytest.approx(3)
    assert float(pb.grad(outer)(1.5)) == pytest.approx(2)


def cold(a: np.ndarray) -> np.ndarray:
    return pb.implicit_root(lambda x: x**2 + a, np.array(1.0))


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: cold(1.0), ConvergenceError, "start nearer"),
        (lambda: pb.grad(cold)(1.0), ConvergenceError, "start nearer"),
        (lambda: pb.implicit_root(lambda x: x[:1], np.ones(2)), ShapeError, "1 values for 2"),
        (
            lambda: pb.implicit_root(np.sin, np.ones(2), solver=lambda f, x: x[:1]),
            ShapeError,
            "shape of x0",
        ),
        (
            lambda: pb.implicit_root(np.sin, np.ones(2), linear_solver="lu"),
            ArgumentError,
            "choose one of dense, cg",
        ),
        (lambda: pb.argmin(lambda x: x, np.ones(2)), ShapeError, "one number"),
        (lambda: pb.argmin(np.sum, np.ones(2)), ConvergenceError, "start nearer"),
        (
            lambda: pb.optimize.linear_solve(lambda v: v, np.ones((2, 2))),
            ShapeError,
            "vector of floats",
        ),
        (
            lambda: pb.optimize.linear_solve(lambda v: v, np.ones(2), "dense"),
            ArgumentError,
            "np.linalg.solve",
        ),
        (
            lambda: pb.optimize.linear_solve(lambda v: 0 * v, np.ones(2)),
            ConvergenceError,
            "gmres stopped",
        ),
    ],
)
def test_mistakes_are_named(call: Callable, error: type, words: str) -> None:
    with pytest.raises(error, match=words) as caught:
        call()
    assert "test_implicit.py" in str(caught.value)

"""Linear systems, determinants and Cholesky factors against NumPy."""

import numpy as np
import pytest
from tests.numpy.oracle import check, check_slopes

import pullback as pb

RNG = np.random.default_rng(9)
A = RNG.normal(size=(3, 3)) + 3 * np.eye(3)
STACK = RNG.normal(size=(2, 3, 3)) + 3 * np.eye(3)
B = RNG.normal(size=(3, 2))
V = RNG.normal(size=(3,))

CASES = {
    "solve": (np.linalg.solve, A, B),
    "solve vector": (np.linalg.solve, A, V),
    "solve stack": (np.linalg.solve, STACK, B),
    "solve vector by stack": (np.linalg.solve, STACK, V),
    "inv": (np.linalg.inv, A),
    "inv stack": (np.linalg.inv, STACK),
    "det": (np.linalg.det, A),
    "det stack": (lambda a: np.linalg.det(-a), STACK),
    "slogdet": (lambda a: tuple(np.linalg.slogdet(-a)), STACK),
    "matrix_power": (lambda a: np.linalg.matrix_power(a, -2), A),
    "cholesky": (lambda a: np.linalg.cholesky(a @ a.T), A),
    "cholesky upper": (lambda a: np.linalg.cholesky(a @ a.T, upper=True), A),
    "cholesky stack": (lambda a: np.linalg.cholesky(a @ a.mT), STACK),
}


@pytest.mark.parametrize("name", CASES)
def test_linear_algebra(name: str) -> None:
    function, *args = CASES[name]
    check(function, *args)


@pytest.mark.parametrize("name", ["solve", "det", "cholesky"])
def test_second_derivatives(name: str) -> None:
    function, *args = CASES[name]
    check_slopes(pb.grad(lambda *xs: np.sum(np.sin(function(*xs)))), *args)


def test_the_gradient_of_the_log_determinant_is_the_inverse() -> None:
    gradient = pb.grad(lambda a: np.linalg.slogdet(a)[1])(A)
    np.testing.assert_allclose(gradient, np.linalg.inv(A).T, rtol=1e-12)


def test_singular_matrices_are_refused() -> None:
    with pytest.raises(ValueError, match="Singular"):
        pb.grad(lambda a: np.sum(np.linalg.inv(a)))(np.ones((2, 2)))
    with pytest.raises(ValueError, match="positive definite"):
        pb.grad(lambda a: np.sum(np.linalg.cholesky(a)))(-np.eye(2))
    with pytest.raises(ValueError, match="square"):
        pb.vmap(np.linalg.inv)(np.ones((2, 2, 3)))

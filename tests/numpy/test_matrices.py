"""Linear systems, determinants and Cholesky factors against NumPy."""

import itertools
import math
from typing import Any

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


LOWER = np.array([[4.0, 99.0, -7.0], [2.0, 3.0, 50.0], [1.0, 0.5, 6.0]])  # its upper half is noise


@pytest.mark.parametrize("upper", [False, True])
def test_cholesky_reads_one_triangle(upper: bool) -> None:
    matrix = LOWER.T if upper else LOWER
    factor = lambda a: np.linalg.cholesky(a, upper=upper)
    np.testing.assert_array_equal(pb.vjp(factor, matrix)[0], factor(matrix))
    check_slopes(factor, matrix)
    check_slopes(pb.grad(lambda a: np.sum(np.sin(factor(a)))), matrix)
    weights = RNG.normal(size=(3, 3))
    gradient = pb.grad(lambda a: np.sum(weights * factor(a)))
    noise = np.tril(gradient(matrix), -1) if upper else np.triu(gradient(matrix), 1)
    assert not noise.any()
    np.testing.assert_allclose(pb.compile(factor)(matrix), factor(matrix), rtol=1e-14)
    np.testing.assert_allclose(pb.compile(gradient)(matrix), gradient(matrix), rtol=1e-12)


THIN = RNG.normal(size=(4, 2))
SINGULAR = {
    "rank 1 of 2": np.array([[1.0, 2.0], [2.0, 4.0]]),
    "rank 2 of 3": np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]]),
    "rank 2 of 4": THIN @ THIN.T,
    "rank 1 of 3": np.ones((3, 3)),
    "zeros": np.zeros((3, 3)),
    "one zero": np.zeros((1, 1)),
    "a stack": np.array([[[1.0, 2.0], [2.0, 4.0]], [[0.0, 0.0], [0.0, 0.0]], [[0, 1.0], [1, 0]]]),
}


def leibniz(a: Any) -> Any:
    """The determinant by its definition, as a polynomial of the elements."""
    total = 0
    n = a.shape[-1]
    for order in itertools.permutations(range(n)):
        sign = (-1) ** sum(order[i] > order[j] for i, j in itertools.combinations(range(n), 2))
        total = total + sign * math.prod(a[..., i, j] for i, j in enumerate(order))
    return total


@pytest.mark.parametrize("name", SINGULAR)
def test_the_determinant_of_a_singular_matrix_has_derivatives(name: str) -> None:
    a = SINGULAR[name]
    weights = RNG.normal(size=a.shape[:-2])
    found, expected = (lambda x, f=f: np.sum(weights * f(x)) for f in (np.linalg.det, leibniz))
    for derive in (pb.grad, pb.hessian, lambda f: pb.jacobian(pb.grad(f))):
        right = derive(expected)(a)
        np.testing.assert_allclose(derive(found)(a), right, rtol=1e-10, atol=1e-11)
        np.testing.assert_allclose(pb.compile(derive(found))(a), right, rtol=1e-10, atol=1e-11)


def test_higher_derivatives_of_a_determinant_are_right_or_refused() -> None:
    regular = A + 1
    third = pb.grad(lambda a: np.sum(np.cos(pb.hessian(np.linalg.det)(a))))
    expected = pb.grad(lambda a: np.sum(np.cos(pb.hessian(leibniz)(a))))(regular)
    np.testing.assert_allclose(third(regular), expected, rtol=1e-9, atol=1e-11)
    with pytest.raises(ValueError, match="Singular"):
        third(SINGULAR["rank 1 of 3"])


@pytest.mark.parametrize("shape", [(0, 0), (2, 0, 0)])
def test_determinants_of_nothing(shape) -> None:
    x = np.ones(shape)
    value, gradient = pb.value_and_grad(lambda x: np.sum(np.linalg.det(x)))(x)
    assert value == np.sum(np.linalg.det(x))
    assert gradient.shape == shape
    assert pb.compile(np.linalg.det)(x).shape == shape[:-2]

"""Sparse Jacobians and Hessians against dense ones and against SciPy's."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import optimize, sparse

import pullback as pb
from pullback.errors import ArgumentError, ShapeError

RNG = np.random.default_rng(3)


def rosenbrock(x: np.ndarray) -> np.ndarray:
    return np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def brusselator(u: np.ndarray) -> np.ndarray:
    """The periodic reaction-diffusion system of Hairer & Wanner on a grid of 6 x 6."""
    a, b = u[:36].reshape(6, 6), u[36:].reshape(6, 6)

    def spread(c: np.ndarray) -> np.ndarray:
        return sum(np.roll(c, s, axis) for s in (1, -1) for axis in (0, 1)) - 4 * c

    rates = 1 + a * a * b - 4.4 * a + 0.1 * spread(a), 3.4 * a - a * a * b + 0.1 * spread(b)
    return np.concatenate([rate.ravel() for rate in rates])


@pytest.mark.parametrize("is_compiled", [False, True])
def test_rosenbrock(is_compiled: bool) -> None:
    hessian = pb.sparse_hessian(rosenbrock, compile=is_compiled)
    for _ in range(2):
        x = RNG.normal(size=30)
        found = hessian(x)
        assert isinstance(found, sparse.csr_array)
        assert_allclose(found.toarray(), optimize.rosen_hess(x), atol=1e-10)
    assert hessian.coloring.n_colors == 3


@pytest.mark.parametrize("is_compiled", [False, True])
def test_brusselator(is_compiled: bool) -> None:
    u = RNG.uniform(1, 2, size=72)
    jacobian = pb.sparse_jacobian(brusselator, compile=is_compiled)
    expected = optimize.approx_fprime(u, brusselator, 1e-7)
    assert_allclose(jacobian(u).toarray(), expected, atol=1e-5)
    assert jacobian.coloring.n_colors <= 12


def test_dense_rows_and_columns() -> None:
    def f(x: np.ndarray) -> np.ndarray:
        return np.concatenate([np.sum(x**2, keepdims=True), x[1:] * x[0], np.sin(x)])

    x = RNG.normal(size=40)
    jacobian = pb.sparse_jacobian(f)
    assert_allclose(jacobian(x).toarray(), pb.jacobian(f)(x))
    assert jacobian.coloring.n_rows == 1
    assert jacobian.coloring.n_colors <= 3


def test_containers_and_several_arguments() -> None:
    def f(p: dict, scale: np.ndarray) -> dict:
        return {"b": p["b"] * scale, "a": p["a"][1:] - p["a"][:-1]}

    p = {"a": RNG.normal(size=4), "b": RNG.normal(size=3)}
    found = pb.sparse_jacobian(f)(p, np.array(2.0)).toarray()
    expected = np.zeros((6, 8))  # rows a, b; columns a, b, scale
    expected[:3, :4] = np.eye(3, 4, k=1) - np.eye(3, 4)
    expected[3:, 4:7] = 2 * np.eye(3)
    expected[3:, 7] = p["b"]
    assert_allclose(found, expected)


def test_the_pattern_is_found_once() -> None:
    calls = []

    def f(x: np.ndarray) -> np.ndarray:
        calls.append(1)
        return x**2

    jacobian = pb.sparse_jacobian(f)
    jacobian(np.ones(3))
    first = len(calls)
    jacobian(np.ones(3))
    assert len(calls) - first == 1  # the derivative alone


def test_branches_on_values_are_looked_at_again() -> None:
    def f(x: np.ndarray) -> np.ndarray:
        return x**2 if x[0] > 0 else x * x[::-1]

    jacobian = pb.sparse_jacobian(f)
    for x in (np.array([1.0, 2.0, 3.0]), np.array([-1.0, 2.0, 3.0])):
        assert_allclose(jacobian(x).toarray(), pb.jacobian(f)(x))


def test_known_patterns_are_taken() -> None:
    x = np.array([3.0, 1.0, 2.0])
    pattern = np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0]])
    jacobian = pb.sparse_jacobian(np.sort, sparsity=pattern)
    assert_allclose(jacobian(x).toarray(), pattern)
    again = pb.sparse_jacobian(np.sort, sparsity=pattern, coloring=jacobian.coloring)
    assert_allclose(again(x).toarray(), pattern)


def test_float32_stays() -> None:
    found = pb.sparse_jacobian(lambda x: x**2)(np.ones(3, np.float32))
    assert found.dtype == np.float32


def test_a_constant_function_has_an_empty_jacobian() -> None:
    found = pb.sparse_jacobian(lambda x: np.round(x))(np.ones(3))
    assert found.shape == (3, 3)
    assert found.nnz == 0


def test_a_large_stencil_costs_a_few_evaluations() -> None:
    jacobian = pb.sparse_jacobian(lambda x: x[2:] * x[:-2] - x[1:-1] ** 2)
    x = RNG.normal(size=20_000)
    found = jacobian(x)
    assert jacobian.coloring.n_colors == 3
    assert_allclose(found.diagonal(1), -2 * x[1:-1])


def test_mistakes_are_named() -> None:
    with pytest.raises(ShapeError, match="2 columns for 3 inputs"):
        pb.sparse_jacobian(np.sin, sparsity=np.eye(2))(np.ones(3))
    coloring = pb.sparse.color_columns(np.eye(3))
    with pytest.raises(ArgumentError, match="pass sparsity="):
        pb.sparse_jacobian(np.sin, coloring=coloring)


def test_changing_a_result_in_place_changes_no_later_one() -> None:
    jacobian = pb.sparse_jacobian(lambda x: x * np.roll(x, 1))
    first = jacobian(np.array([0.0, 1.0, 2.0]))
    first.eliminate_zeros()  # moves its indices
    assert_allclose(
        jacobian(np.array([4.0, 1.0, 2.0])).toarray(), [[2, 0, 4], [1, 4, 0], [0, 2, 1]]
    )
    assert jacobian.pattern is not None
    assert jacobian.pattern.nnz == 6

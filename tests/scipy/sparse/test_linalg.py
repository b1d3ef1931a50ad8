"""Sparse solves against dense ones and differences."""

import numpy as np
import pytest
import scipy.sparse
from numpy.testing import assert_allclose

import pullback as pb
from pullback.errors import ArgumentError

sparse = pb.scipy.sparse
ROWS, COLUMNS = np.array([0, 1, 2, 0, 2, 1]), np.array([0, 1, 2, 2, 1, 0])
DATA, B = np.array([2.0, 3.0, 2.5, 0.4, -0.3, 0.2]), np.array([1.0, -2.0, 0.5])


def solved(data: object, b: object) -> object:
    return sparse.linalg.spsolve(sparse.coo_array((data, (ROWS, COLUMNS)), (3, 3)), b)


def test_solutions_and_derivatives() -> None:
    dense = scipy.sparse.coo_array((DATA, (ROWS, COLUMNS)), (3, 3)).toarray()
    assert_allclose(solved(DATA, B), np.linalg.solve(dense, B))
    pb.check_grads(solved, (DATA, B))
    pb.check_grads(solved, (DATA + 0.1j, np.stack([B, 1j * B], axis=1)))


def test_batches_compiled_and_scipys_matrices() -> None:
    gradient = pb.grad(lambda d, b: np.sum(solved(d, b) ** 2))
    assert_allclose(pb.compile(gradient)(DATA, B), gradient(DATA, B))
    many = np.stack([B, 2 * B])
    expected = [gradient(DATA, b) for b in many]
    assert_allclose(pb.vmap(gradient, (None, 0))(DATA, many), expected)
    matrix = scipy.sparse.csc_array(np.diag([1.0, 2.0, 4.0]))
    slopes = pb.grad(lambda b: np.sum(sparse.linalg.spsolve(matrix, b)))(B)
    assert_allclose(slopes, [1, 0.5, 0.25])


def test_refusals() -> None:
    with pytest.raises(np.linalg.LinAlgError, match="spsolve"):
        solved(0 * DATA, B)
    with pytest.raises(ArgumentError, match="pass a square matrix"):
        solved(DATA, B[:2])

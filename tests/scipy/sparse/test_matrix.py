"""Sparse products against dense ones and differences."""

import numpy as np
import pytest
import scipy.sparse
from numpy.testing import assert_allclose

import pullback as pb
from pullback.errors import ArgumentError, ForeignArrayError

own = pb.scipy.sparse
RNG = np.random.default_rng(0)
DENSE = np.where(RNG.uniform(size=(4, 3)) < 0.6, RNG.normal(size=(4, 3)), 0)
X, Y = RNG.normal(size=3), RNG.normal(size=4)
ROWS, COLUMNS, DATA = np.array([0, 1, 2, 0, 0]), np.array([0, 2, 1, 2, 0]), RNG.normal(size=5)
FORMATS = ["csr_array", "csr_matrix", "csc_array", "coo_array", "coo_matrix", "dia_array"]


@pytest.mark.parametrize("name", FORMATS)
def test_scipys_matrices_as_they_stand(name: str) -> None:
    matrix = getattr(scipy.sparse, name)(DENSE)
    assert_allclose(pb.grad(lambda x: Y @ (matrix @ x))(X), Y @ DENSE)
    assert_allclose(pb.grad(lambda y: (y @ matrix) @ X)(Y), DENSE @ X)
    assert (matrix @ X).shape == (4,)


def test_batches_compiled_and_columns() -> None:
    matrix = scipy.sparse.csr_array(DENSE)
    square = pb.grad(lambda x: np.sum((matrix @ x) ** 2))
    assert_allclose(square(X), 2 * DENSE.T @ DENSE @ X)
    assert_allclose(pb.compile(square)(X), square(X))
    assert_allclose(pb.vmap(square)(np.stack([X, 2 * X])), [square(X), square(2 * X)])
    pb.check_grads(lambda x: matrix @ x, (RNG.normal(size=(3, 2)),))


def test_traced_values() -> None:
    def function(data: object, x: object, factor: object) -> object:
        matrix = factor * own.coo_array((data, (ROWS, COLUMNS)), (3, 3))
        return (matrix + scipy.sparse.eye_array(3)) @ x - x @ (-matrix).T

    plain = scipy.sparse.coo_array((DATA, (ROWS, COLUMNS)), (3, 3)).toarray()
    assert_allclose(function(DATA, X, 2.0), (4 * plain + np.eye(3)) @ X)
    pb.check_grads(function, (DATA, X, np.array(2.0)))
    pb.check_grads(lambda d: own.csr_array((d, [0, 2, 1], [0, 1, 3]), (2, 3)).toarray(), (X,))


def test_refusals() -> None:
    matrix = scipy.sparse.csr_array(DENSE)
    with pytest.raises(ArgumentError, match="pass an array with 3 rows"):
        pb.grad(lambda x: np.sum(matrix @ x))(Y)
    with pytest.raises(ForeignArrayError, match="multiply with @") as caught:
        pb.grad(lambda x: np.sum(matrix.multiply(x)))(X)
    assert "test_matrix.py" in str(caught.value)
    with pytest.raises(ArgumentError, match="outside of the shape"):
        own.coo_array((DATA, (ROWS, COLUMNS)), (2, 2))

"""Linear algebra in native code, against NumPy's."""

from __future__ import annotations

import numpy as np
import pytest

import pullback as pb
from pullback.core.primitive import registry

REALS = [np.float64, np.float32]


def native(name, *args):
    """The result of the operation as native code, without NumPy."""
    return pb.compile(lambda *xs: registry[name](*xs), callbacks=False)(*args)


def close(found, expected):
    """Equal up to the rounding of well conditioned problems."""
    assert found.dtype == expected.dtype
    tolerance = 200 * np.finfo(expected.dtype).eps
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


def matrices(rng, dtype, *shape):
    return (rng.normal(size=shape) + 3 * np.sqrt(shape[-1]) * np.eye(shape[-1])).astype(dtype)


@pytest.mark.parametrize("dtype", REALS)
def test_solve_is_numpys(dtype):
    rng = np.random.default_rng(0)
    for left, right in [
        ((1, 1), (1, 1)),
        ((5, 5), (5, 3)),
        ((3, 4, 4), (4, 2)),
        ((4, 4), (2, 3, 4, 1)),
        ((2, 1, 3, 3), (5, 3, 3)),
        ((70, 70), (70, 70)),
        ((0, 0), (0, 2)),
        ((3, 3), (3, 0)),
        ((0, 3, 3), (3, 2)),
    ]:
        a, b = matrices(rng, dtype, *left), rng.normal(size=right).astype(dtype)
        close(native("solve", a, b), np.linalg.solve(a, b))
    a = np.array([[0, 2], [3, 1]], dtype)  # needs rows exchanged
    close(native("solve", a, np.ones((2, 1), dtype)), np.linalg.solve(a, np.ones((2, 1), dtype)))


def test_solve_of_mixed_and_transposed_operands():
    rng = np.random.default_rng(1)
    a, b = matrices(rng, np.float32, 4, 4), rng.normal(size=(3, 4))
    f = pb.compile(lambda a, b: np.linalg.solve(a.T, b.T), callbacks=False)
    expected = np.linalg.solve(a.T, b.T)
    assert expected.dtype == np.float64
    close(f(a, b), expected)


@pytest.mark.parametrize("dtype", REALS)
def test_cholesky_is_numpys(dtype):
    rng = np.random.default_rng(2)
    for shape in [(1, 1), (5, 5), (2, 3, 4, 4), (70, 70), (0, 0), (0, 2, 2)]:
        x = matrices(rng, dtype, *shape)
        x = x @ x.mT
        close(native("cholesky", x), np.linalg.cholesky(x))


@pytest.mark.parametrize("dtype", REALS)
def test_determinants_are_numpys(dtype):
    rng = np.random.default_rng(3)
    stack = rng.normal(size=(50, 4, 4)).astype(dtype)
    singular = np.array([[[1, 2], [2, 4]], [[0, 0], [0, 1]], [[1, np.nan], [0, -1]]], dtype)
    for x in (stack, singular, np.zeros((0, 0), dtype), np.full((1, 1), -2, dtype)):
        with np.errstate(all="ignore"):
            sign, log = np.linalg.slogdet(x)
        close(native("det_sign", x), sign)
        close(native("log_abs_det", x), log)


def test_float32_is_computed_in_float64_as_by_numpy():
    """Hilbert's matrix: condition 1.4e7, so that steps in float32 lose every digit."""
    i = np.arange(6)
    x = (1 / (i[:, None] + i + 1)).astype(np.float32)
    b = np.ones((6, 1), np.float32)
    for found, expected in [
        (native("solve", x, b), np.linalg.solve(x, b)),
        (native("cholesky", x), np.linalg.cholesky(x)),
        (native("log_abs_det", x), np.linalg.slogdet(x)[1]),
    ]:
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, rtol=3e-7)


def test_failures_are_numpys_errors_with_the_line_of_the_user():
    solve = pb.compile(lambda a, b: np.linalg.solve(a, b), callbacks=False)
    factor = pb.compile(lambda x: np.linalg.cholesky(x), callbacks=False)
    good = np.array([[2.0, 1], [1, 2]])
    for bad in (np.zeros((2, 2)), np.ones((2, 2))):
        for a in (bad, np.stack([good, bad, good])):
            with pytest.raises(np.linalg.LinAlgError):
                np.linalg.solve(a, good)
            with pytest.raises(np.linalg.LinAlgError, match=r"Singular matrix, at .*test_linalg"):
                solve(a, good)
    close(solve(good, good), np.eye(2))  # and the next call is not disturbed
    for bad in (-good, np.array([[1.0, 2], [2, 1]])):
        with pytest.raises(
            np.linalg.LinAlgError, match=r"Matrix is not positive definite, at .*test_linalg"
        ):
            factor(bad)


def test_the_first_failure_is_reported():
    """What fails after it may fail because of it."""

    def f(x, i, j):
        first = np.linalg.cholesky(x[i])
        return first + np.linalg.cholesky(-x[j] @ x[j].T)

    f = pb.compile(f, callbacks=False)
    x, inside = np.eye(3), np.arange(3)
    with pytest.raises(IndexError):
        f(x, inside + 1, inside)
    with pytest.raises(np.linalg.LinAlgError):
        f(x, inside, inside)


def test_derivatives_of_linear_algebra_are_native():
    rng = np.random.default_rng(4)
    a, b = matrices(rng, np.float64, 4, 4), rng.normal(size=(4, 2))

    def f(a, b):
        factor = np.linalg.cholesky(a @ a.T)
        sign, log = np.linalg.slogdet(a)
        return np.sum(np.linalg.solve(a, b) ** 2) + np.sum(factor**3) + sign * log

    for g in (pb.grad(f), lambda a, b: pb.hvp(lambda a: f(a, b), (a,), (a + 1,))):
        for found, expected in zip(
            pb.tree.leaves(pb.compile(g, callbacks=False)(a, b)),
            pb.tree.leaves(g(a, b)),
            strict=True,
        ):
            np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)


def test_a_singular_matrix_is_no_matter_of_shapes():
    with pytest.raises(np.linalg.LinAlgError, match="Singular matrix"):
        pb.grad(lambda a: np.sum(np.linalg.solve(a, np.ones(2))))(np.ones((2, 2)))

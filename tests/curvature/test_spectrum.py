"""Eigenvalues and densities against matrices with spectra that are known."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

import pullback as pb
from pullback.curvature import condition_number, eigenvalues, lanczos, spectral_density
from pullback.errors import ArgumentError, ShapeError

RNG = np.random.default_rng(5)


def matrix(spectrum: np.ndarray) -> np.ndarray:
    basis, _ = np.linalg.qr(RNG.normal(size=(len(spectrum), len(spectrum))))
    return basis * spectrum @ basis.T


@pytest.mark.parametrize("n", [20, 150])
@pytest.mark.parametrize(
    ("which", "expected"), [("LA", [4.0, 5.0]), ("SA", [-9.0, -1.0]), ("LM", [-9.0, 5.0])]
)
def test_extreme_eigenvalues(n: int, which: str, expected: list[float]) -> None:
    spectrum = np.concatenate([[-9.0, -1.0], np.linspace(0, 1, n - 4), [4.0, 5.0]])
    dense = matrix(spectrum)
    values, vectors = eigenvalues(dense, 2, which)
    assert_allclose(values, expected, atol=1e-10)
    assert_allclose(dense @ vectors, vectors * values, atol=1e-8)


def test_eigenvalues_of_a_network_are_those_of_its_hessian() -> None:
    x, y = RNG.normal(size=(30, 5)), RNG.normal(size=30)
    shapes = {"w": (5, 15), "v": (15,)}
    params = {name: RNG.normal(size=shape) for name, shape in shapes.items()}

    def loss(p: dict) -> np.ndarray:
        return np.mean((np.tanh(x @ p["w"]) @ p["v"] - y) ** 2)

    op = pb.linear_operator(loss, params)
    _, unravel = pb.tree.ravel(params)
    columns = []
    for i in range(90):  # central differences of gradients
        step = np.zeros(90)
        step[i] = 1e-5
        grads = [
            np.concatenate([g.ravel() for g in pb.tree.leaves(pb.grad(loss)(unravel(v)))])
            for v in (op.ravel(params) + step, op.ravel(params) - step)
        ]
        columns.append((grads[0] - grads[1]) / 2e-5)
    expected = np.linalg.eigvalsh(np.array(columns))
    assert_allclose(eigenvalues(op)[0], expected[-1:], rtol=1e-7)
    assert_allclose(eigenvalues(op, which="SA")[0], expected[:1], rtol=1e-5)


def test_lanczos_keeps_its_basis_orthogonal() -> None:
    dense = matrix(np.geomspace(1e-6, 1e6, 80))
    diagonal, beside, basis = lanczos(dense, 60, np.ones(80))
    assert_allclose(basis.T @ basis, np.eye(60), atol=1e-13)
    tridiagonal = np.diag(diagonal) + np.diag(beside, 1) + np.diag(beside, -1)
    assert_allclose(basis.T @ dense @ basis, tridiagonal, atol=1e-6)


def test_lanczos_stops_where_the_space_ends() -> None:
    diagonal, beside, basis = lanczos(np.diag([3.0, 3.0, 3.0, 7.0]), 4, np.ones(4))
    assert (len(diagonal), len(beside), basis.shape) == (2, 1, (4, 2))


def test_density_of_two_clusters() -> None:
    spectrum = np.concatenate([np.full(150, 1.0), np.full(50, 3.0)])
    found = spectral_density(matrix(spectrum), num_runs=20, lanczos_steps=10, sigma=0.05)
    spacing = found.grid[1] - found.grid[0]
    assert found.density.sum() * spacing == pytest.approx(1, abs=1e-3)
    upper = found.grid > 2
    assert found.density[upper].sum() * spacing == pytest.approx(0.25, abs=0.03)
    assert abs(found.trace - spectrum.sum()) < 4 * found.trace_std


def test_the_predicted_spread_of_the_trace_is_the_spread_that_occurs() -> None:
    dense = matrix(RNG.normal(size=60))
    found = [spectral_density(dense, 8, 30, seed=seed) for seed in range(60)]
    errors = np.array([f.trace for f in found]) - np.trace(dense)
    predicted = np.sqrt(np.mean([f.trace_std**2 for f in found]))
    assert np.sqrt(np.mean(errors**2)) == pytest.approx(predicted, rel=0.3)


@pytest.mark.parametrize("n", [10, 200])
def test_condition_numbers(n: int) -> None:
    spectrum = np.concatenate([[-0.01], np.linspace(1, 5, n - 1)])
    assert condition_number(matrix(spectrum)) == pytest.approx(500, rel=1e-4)


def test_a_singular_matrix_has_none() -> None:
    assert condition_number(np.diag([0.0, 1.0])) == np.inf


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: eigenvalues(np.eye(3), which="XX"), ArgumentError, "largest magnitude"),
        (lambda: eigenvalues(np.eye(3), k=4), ArgumentError, "from 1 to 3"),
        (lambda: eigenvalues(np.ones((2, 3))), ShapeError, "svds"),
    ],
)
def test_mistakes_are_named(call: object, error: type, words: str) -> None:
    with pytest.raises(error, match=words) as caught:
        call()
    assert "test_spectrum.py" in str(caught.value)

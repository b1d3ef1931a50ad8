"""Traces and diagonals: exact cases, and errors that follow the published variances."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from pullback.curvature import diagonal, trace
from pullback.errors import ArgumentError, ShapeError

RNG = np.random.default_rng(2)
BASIS, _ = np.linalg.qr(RNG.normal(size=(120, 120)))
FLAT = BASIS * RNG.uniform(1, 2, size=120) @ BASIS.T
STEEP = BASIS * 0.7 ** np.arange(120) @ BASIS.T


@pytest.mark.parametrize("method", ["hutchinson", "hutch++", "xtrace"])
@pytest.mark.parametrize("matrix", [FLAT, STEEP], ids=["flat", "steep"])
def test_the_standard_deviation_is_honest(method: str, matrix: np.ndarray) -> None:
    found = [trace(matrix, 30, method=method, seed=seed) for seed in range(100)]
    errors = np.array([f.value for f in found]) - np.trace(matrix)
    actual = np.sqrt(np.mean(errors**2))
    assert abs(np.mean(errors)) < 4 * actual / 10  # no bias
    assert 0.5 * actual < np.sqrt(np.mean([f.std**2 for f in found])) < 3 * actual


def test_hutchinson_has_its_published_variance() -> None:
    variance = 2 * (np.sum(FLAT**2) - np.sum(np.diag(FLAT) ** 2)) / 30
    found = [trace(FLAT, 30, method="hutchinson", seed=seed).value for seed in range(300)]
    assert np.var(found) == pytest.approx(variance, rel=0.25)


def test_low_rank_methods_win_on_steep_spectra() -> None:
    def error(method: str) -> float:
        found = [trace(STEEP, 36, method=method, seed=seed).value for seed in range(40)]
        return float(np.sqrt(np.mean((np.array(found) - np.trace(STEEP)) ** 2)))

    assert error("hutch++") < 0.1 * error("hutchinson")
    assert error("xtrace") < 0.3 * error("hutch++")


def test_enough_products_are_exact() -> None:
    found = trace(FLAT, 120)
    assert found.value == pytest.approx(np.trace(FLAT), rel=1e-14)
    assert found.std == 0
    assert_allclose(diagonal(FLAT, 120).value, np.diag(FLAT))


def test_diagonal() -> None:
    found = diagonal(FLAT, 60, seed=1)
    z = (found.value - np.diag(FLAT)) / found.std
    assert np.sqrt(np.mean(z**2)) == pytest.approx(1, abs=0.25)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: trace(FLAT, method="guess"), ArgumentError, "choose one of"),
        (lambda: trace(FLAT, 5), ArgumentError, "6 or more"),
        (lambda: diagonal(np.ones((2, 3))), ShapeError, "svds"),
    ],
)
def test_mistakes_are_named(call: object, error: type, words: str) -> None:
    with pytest.raises(error, match=words) as caught:
        call()
    assert "test_estimates.py" in str(caught.value)

"""Colourings against the published counts, and against what makes them valid."""

import numpy as np
import pytest
from scipy import sparse

from pullback.errors import ShapeError
from pullback.sparse import Coloring, color_columns, color_jacobian, color_symmetric


def band(n: int, width: int) -> sparse.csr_array:
    offsets = range(-width, width + 1)
    return sparse.csr_array(
        sparse.diags_array([np.ones(n)] * len(offsets), offsets=offsets, shape=(n, n))
    )


def grid(n: int, corners: bool) -> sparse.csr_array:
    near = sparse.diags_array([1.0, 1.0, 1.0], offsets=[-1, 0, 1], shape=(n, n))
    if corners:
        return sparse.csr_array(sparse.kron(near, near))
    eye = sparse.eye_array(n)
    return sparse.csr_array(sparse.kron(near, eye) + sparse.kron(eye, near))


def arrow(n: int) -> np.ndarray:
    matrix = np.eye(n)
    matrix[0] = matrix[:, 0] = 1
    return matrix


# Coleman & More (1983) and the optima by modular colourings.
@pytest.mark.parametrize(
    ("pattern", "most"),
    [
        (band(60, 1), 3),
        (band(60, 2), 5),
        (grid(12, corners=False), 7),  # the optimum is 5, greedy in the order of the grid 7
        (grid(12, corners=True), 9),
        (sparse.csr_array(np.eye(5)), 1),
    ],
    ids=["tridiagonal", "pentadiagonal", "five points", "nine points", "diagonal"],
)
def test_columns(pattern: sparse.csr_array, most: int) -> None:
    coloring = color_columns(pattern)
    assert coloring.n_colors <= most
    assert is_valid(pattern, coloring)


def is_valid(pattern: sparse.csr_array, coloring: Coloring) -> bool:
    """No row has two entries in columns of one colour."""
    onehot = np.eye(coloring.n_columns)[coloring.columns]
    return bool(((pattern != 0).astype(int) @ onehot).max() <= 1)


def test_arrow_matrices() -> None:
    assert color_columns(arrow(50)).n_colors == 50
    assert color_jacobian(arrow(50)).n_colors == 3
    assert color_symmetric(arrow(50)).n_colors == 2


def test_a_full_row_goes_to_a_cotangent() -> None:
    pattern = np.eye(30)
    pattern[4] = 1
    coloring = color_jacobian(pattern)
    assert (coloring.n_columns, coloring.n_rows) == (1, 1)
    assert coloring.rows[4] == 0


@pytest.mark.parametrize("seed", range(20))
def test_star_colourings_have_three_colours_on_every_path(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = 18
    upper = np.triu(rng.random((n, n)) < 0.15, 1)
    near = upper | upper.T
    colors = color_symmetric(near | np.eye(n, dtype=bool)).columns
    for v in range(n):
        for w in np.flatnonzero(near[v]):
            assert colors[v] != colors[w]
            for x in np.flatnonzero(near[w]):
                for y in np.flatnonzero(near[x]):
                    if len({v, w, x, y}) == 4:
                        assert len({colors[v], colors[w], colors[x], colors[y]}) >= 3


def test_an_empty_pattern_needs_nothing() -> None:
    assert color_jacobian(np.zeros((3, 4))).n_colors == 0


def test_only_square_patterns_are_symmetric() -> None:
    with pytest.raises(ShapeError, match="color_jacobian"):
        color_symmetric(np.ones((2, 3)))

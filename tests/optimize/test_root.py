"""root against constants from mpmath and against SciPy's counts."""

import mpmath
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import optimize

import pullback as pb
from pullback.errors import ShapeError


@pytest.mark.parametrize("method", ["hybr", "lm", "krylov", "broyden1"])
def test_the_fixed_point_of_the_cosine(method: str) -> None:
    expected = float(mpmath.findroot(lambda x: mpmath.cos(x) - x, 1))
    solution = pb.optimize.root(lambda x: np.cos(x) - x, 1.0, method=method)
    assert_allclose(solution.x, [expected], atol=1e-5)


def test_containers_and_arguments() -> None:
    def equations(p: dict, shift: float) -> tuple:
        return p["x"] ** 2 + p["y"] - 2 - shift, p["x"] - p["y"] + shift

    solution = pb.optimize.root(equations, {"x": np.array(2.0), "y": np.array(2.0)}, args=(0.0,))
    assert_allclose([solution.x["x"], solution.x["y"]], [1, 1])


@pytest.mark.parametrize("is_compiled", [False, True])
def test_the_jacobian_spares_evaluations(is_compiled: bool) -> None:
    def chain(x: np.ndarray) -> np.ndarray:
        left = np.concatenate([np.zeros(1), x[:-1]])
        right = np.concatenate([x[1:], np.zeros(1)])
        return (3 - 2 * x) * x - left - 2 * right + 1

    start = -np.ones(30)
    expected = optimize.root(chain, start)
    solution = pb.optimize.root(chain, start, compile=is_compiled)
    assert_allclose(solution.x, expected.x, atol=1e-7)
    assert solution.nfev < expected.nfev


def test_the_number_of_equations_is_checked() -> None:
    with pytest.raises(ShapeError, match="2 values for 3 unknowns"):
        pb.optimize.root(lambda x: x[:2], np.ones(3))

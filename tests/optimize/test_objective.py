"""The functions that solvers call, against closed forms."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from pullback.optimize.objective import Objective, VectorFunction
from pullback.optimize.variables import Variables

POINT = np.array([0.3, -1.2, 2.0])


@pytest.mark.parametrize("is_compiled", [False, True])
def test_derivatives_of_a_quartic(is_compiled: bool) -> None:
    objective = Objective(lambda x, c: np.sum(c * x**4), Variables(POINT), (2.0,), is_compiled)
    value, gradient = objective.value_and_gradient(POINT)
    assert value == pytest.approx(2 * sum(x**4 for x in POINT))
    assert_allclose(gradient, 8 * POINT**3)
    assert_allclose(objective.hessian(POINT), np.diag(24 * POINT**2))
    for point in (POINT, 2 * POINT):  # what was computed for one point is not used at another
        product = objective.hessian_product(point, np.ones(3))
        assert_allclose(product, 24 * point**2)


def test_a_result_of_one_element_is_a_scalar() -> None:
    objective = Objective(lambda x: x[:1] ** 2, Variables(POINT), (), False)
    assert objective.value_and_gradient(POINT)[0] == pytest.approx(0.09)


@pytest.mark.parametrize("is_compiled", [False, True])
def test_vector_functions(is_compiled: bool) -> None:
    function = VectorFunction(
        lambda p: (p["a"] ** 2, p["a"][0] * p["b"]),
        Variables({"a": np.array([1.0, 2.0]), "b": 3.0}),
        (),
        is_compiled,
    )
    v = np.array([1.0, 2.0, 3.0])
    assert_allclose(function.value(v), [1, 4, 3])
    assert_allclose(function.jacobian(v), [[2, 0, 0], [0, 4, 0], [3, 0, 1]])
    assert_allclose(
        function.curvature(v, np.array([1.0, 10.0, 100.0])),
        [[2, 0, 100], [0, 20, 0], [100, 0, 0]],
    )

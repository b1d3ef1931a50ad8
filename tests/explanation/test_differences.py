"""Gradients of the table against the program itself."""

import numpy as np
import pytest

import pullback as pb


def loss(w, x):
    z = x @ w
    a = np.tanh(z)
    return np.sum(a * a * z)


REPORT = pb.explain(loss, np.array([0.3, -0.7]), np.ones((3, 2)) * [[1.0], [2.0], [-1.0]])


@pytest.mark.parametrize("step", ["w", "z", "a"])
def test_gradients_of_arguments_and_of_values_on_the_way(step):
    found = REPORT.compare(step)
    assert found.shape == REPORT[step].shape
    np.testing.assert_allclose(found, REPORT[step].value, rtol=1e-7, atol=1e-9)
    assert REPORT.tick(REPORT[step]).startswith("✓ agrees")


def test_a_wrong_rule_is_marked():
    @pb.custom_vjp
    def doubled(x):
        return 2 * x

    doubled.defvjp(lambda x: (2 * x, None), lambda saved, ct: (2.001 * ct,))
    report = pb.explain(lambda x: np.sum(doubled(x) ** 2), np.ones(3))
    assert report.tick(report["x"]).startswith("✗ differs: largest difference 4e-03")


def test_large_values_and_other_precisions_are_left_out():
    big = pb.explain(lambda x: np.sum(np.sin(x)), np.ones(100))
    single = pb.explain(lambda x: np.sum(np.sin(x)), np.ones(3, np.float32))
    assert big.tick(big["x"]) == single.tick(single["x"]) == ""
    assert big.compare("nothing") is None

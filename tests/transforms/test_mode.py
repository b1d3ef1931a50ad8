"""jacobian, hessian and hvp against closed forms; the choice of mode."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import rosen, rosen_der, rosen_hess, rosen_hess_prod

import pullback as pb
from pullback.errors import ArgumentError, NotDifferentiableError
from pullback.transforms import mode

X = np.array([1.3, 0.7, 0.8, 1.9, 1.2])


def rosenbrock(x):
    return np.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def test_derivatives_of_rosenbrock_are_scipys():
    assert rosenbrock(X) == rosen(X)
    np.testing.assert_allclose(pb.grad(rosenbrock)(X), rosen_der(X), rtol=1e-13)
    np.testing.assert_allclose(pb.hessian(rosenbrock)(X), rosen_hess(X), rtol=1e-13, atol=1e-12)
    v = np.arange(5.0)
    np.testing.assert_allclose(
        pb.hvp(rosenbrock, (X,), (v,)), rosen_hess_prod(X, v), rtol=1e-12, atol=1e-11
    )


@pytest.mark.parametrize("which", ["auto", "forward", "reverse"])
def test_jacobian_of_containers(which):
    def f(p):
        return {"y": p["a"] * p["b"], "z": np.sum(p["a"])}

    p = {"a": np.array([1.0, 2.0]), "b": np.array(3.0)}
    jac = pb.jacobian(f, mode=which)(p)
    np.testing.assert_array_equal(jac["y"]["a"], 3 * np.eye(2))
    np.testing.assert_array_equal(jac["y"]["b"], [1.0, 2.0])
    np.testing.assert_array_equal(jac["z"]["a"], [1.0, 1.0])
    assert float(jac["z"]["b"]) == 0.0


def test_auto_takes_the_cheaper_mode(monkeypatch):
    taken = []
    for name in ("forward_blocks", "reverse_blocks"):
        original = getattr(mode, name)
        monkeypatch.setattr(mode, name, lambda *a, f=original, n=name: (taken.append(n), f(*a))[1])
    a = np.ones((600, 2))
    pb.jacobian(lambda x: np.tanh(a @ x))(np.ones(2))
    pb.jacobian(lambda x: np.tanh(x @ a))(np.ones(600))
    assert taken == ["forward_blocks", "reverse_blocks"]


def test_jacobians_nest_and_batch():
    f = lambda x: np.stack([x[0] * x[1], np.sin(x[0])])
    second = pb.jacobian(pb.jacobian(f))(np.array([0.5, 2.0]))
    np.testing.assert_allclose(second[0], [[0, 1], [1, 0]], atol=1e-15)
    np.testing.assert_allclose(second[1], [[-np.sin(0.5), 0], [0, 0]], atol=1e-15)
    batched = pb.vmap(pb.jacobian(f))(np.array([[0.5, 2.0], [1.0, 3.0]]))
    np.testing.assert_allclose(batched[1], [[3.0, 1.0], [np.cos(1.0), 0.0]], rtol=1e-15)


def test_errors():
    with pytest.raises(ArgumentError, match="mode='sideways'"):
        pb.jacobian(np.sin, mode="sideways")
    with pytest.raises(NotDifferentiableError, match="floating-point results"):
        pb.jacobian(lambda x: x > 0)(np.ones(2))

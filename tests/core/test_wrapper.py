"""What transforms return can be sent to other processes, and binds as a method."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
import pytest

import pullback as pb


def energy(x: Any) -> Any:
    return np.sum(np.sin(x) ** 2)


@pb.grad
def decorated(x: Any) -> Any:
    return np.sum(x**3)


TRANSFORMS: dict[str, Any] = {
    "grad": pb.grad,
    "value_and_grad": pb.value_and_grad,
    "jacobian": pb.jacobian,
    "hessian": pb.hessian,
    "vmap": pb.vmap,
    "checkpoint": pb.checkpoint,
    "compile": pb.compile,
    "nested": lambda f: pb.compile(pb.vmap(pb.grad(f), in_axes=0)),
}


@pytest.mark.parametrize(
    ("wrapped", "text"),
    [
        (pb.grad(energy), "grad(energy)"),
        (pb.value_and_grad(energy), "value_and_grad(energy)"),
        (pb.hessian(energy), "jacobian(grad(energy))"),
        (pb.vmap(pb.grad(energy)), "vmap(grad(energy))"),
        (pb.checkpoint(energy), "checkpoint(energy)"),
        (pb.custom_vjp(energy), "custom_vjp(energy)"),
        (pb.compile(energy), "<compile(energy): not called yet>"),
    ],
)
def test_it_prints_as_it_was_written(wrapped: Any, text: str) -> None:
    assert repr(wrapped) == text


def test_a_compiled_function_says_how_often_it_was_compiled() -> None:
    f = pb.compile(energy)
    for n in (2, 3):
        f(np.ones(n))
    assert repr(f) == "<compile(energy): 2 signatures>"


@pytest.mark.parametrize("name", TRANSFORMS)
def test_a_transformed_function_can_be_pickled(name: str) -> None:
    f = TRANSFORMS[name](energy)
    x = np.array([[0.5, 1.0], [1.5, 2.0]])
    expected = f(x)
    again = pickle.loads(pickle.dumps(f))
    for a, b in zip(pb.tree.leaves(again(x)), pb.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(a, b)
    assert copy.copy(f) is not None
    assert f.__name__ == "energy"


def test_options_survive() -> None:
    f = pickle.loads(pickle.dumps(pb.value_and_grad(np.dot, argnums=(0, 1))))
    value, grads = f(np.array([1.0, 2.0]), np.array([3.0, 4.0]))
    assert float(value) == 11.0
    np.testing.assert_array_equal(grads, [[3.0, 4.0], [1.0, 2.0]])


def test_a_decorated_function_is_pickled_by_its_name() -> None:
    assert pickle.loads(pickle.dumps(decorated)) is decorated


def test_other_processes_map_gradients() -> None:
    xs = [np.array([0.1 * k]) for k in range(4)]
    with ProcessPoolExecutor(2) as pool:
        found = list(pool.map(pb.grad(energy), xs))
    np.testing.assert_allclose(found, np.sin(2 * np.array(xs)), rtol=1e-14)


def test_cloudpickle_takes_lambdas_and_closures() -> None:
    cloudpickle = pytest.importorskip("cloudpickle")
    scale = np.array([1.0, 10.0])
    for wrap in (pb.grad, lambda f: pb.compile(pb.grad(f))):
        f = pickle.loads(cloudpickle.dumps(wrap(lambda x: np.sum(scale * x**2))))
        np.testing.assert_array_equal(f(np.ones(2)), [2.0, 20.0])


def test_it_binds_as_a_method() -> None:
    class Model:
        scale = 3.0

        def loss(self, x: Any) -> Any:
            return self.scale * x**2

        slope = pb.grad(loss, argnums=1)

    assert float(Model().slope(2.0)) == 12.0

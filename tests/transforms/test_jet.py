"""Taylor coefficients against mpmath's derivatives and against nested gradients."""

from collections.abc import Callable

import mpmath
import numpy as np
import pytest
from numpy.testing import assert_allclose

import pullback as pb
from pullback.errors import ArgumentError, NotDifferentiableError, ShapeError

ORDER = 10
FUNCTIONS: dict[str, tuple[Callable, Callable]] = {
    "exp": (np.exp, mpmath.exp),
    "expm1": (np.expm1, mpmath.expm1),
    "log": (np.log, mpmath.log),
    "log1p": (np.log1p, lambda x: mpmath.log(1 + x)),
    "sqrt": (np.sqrt, mpmath.sqrt),
    "sin": (np.sin, mpmath.sin),
    "tan": (np.tan, mpmath.tan),
    "arcsin": (np.arcsin, mpmath.asin),
    "arctan": (np.arctan, mpmath.atan),
    "sinh": (np.sinh, mpmath.sinh),
    "tanh": (np.tanh, mpmath.tanh),
    "arctanh": (np.arctanh, mpmath.atanh),
    "cube": (lambda x: x**3, lambda x: x**3),
    "power": (lambda x: x**2.5, lambda x: x**2.5),
    "tower": (lambda x: x**x, lambda x: x**x),
    "quotient": (lambda x: (1 + x) / (2 + x * x), lambda x: (1 + x) / (2 + x * x)),
    "softplus of a wave": (
        lambda x: np.log(1 + np.exp(np.sin(x) * x)),
        lambda x: mpmath.log(1 + mpmath.exp(mpmath.sin(x) * x)),
    ),
    "maximum": (lambda x: np.maximum(np.sin(x), 0.1), mpmath.sin),
}


def along(f: Callable, x: float, order: int) -> list:
    """Derivatives of order 1 to ``order``."""
    return pb.jet(f, (np.float64(x),), ([1.0, *[0] * (order - 1)],))[1]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_derivatives_to_order_ten(name: str) -> None:
    f, exact = FUNCTIONS[name]
    with mpmath.workdps(60):
        expected = [float(mpmath.diff(exact, mpmath.mpf(0.7), k)) for k in range(1, ORDER + 1)]
    assert_allclose(along(f, 0.7, ORDER), expected, rtol=1e-12)


MATRIX = np.random.default_rng(0).normal(size=(3, 3)) + 3 * np.eye(3)
PROGRAMS = {
    "solve": lambda t: np.sum(
        np.linalg.solve(MATRIX + t * np.ones((3, 3)), np.cos(t) * np.arange(3.0))
    ),
    "products": lambda t: np.sum((MATRIX * t) @ (MATRIX + t) @ np.exp(t * np.ones(3))),
    "order": lambda t: np.sum(np.sort(np.cumsum(np.array([1.0, 2.0, -3.0]) * np.sin(t))) ** 3),
    "reductions": lambda t: (
        np.max(np.array([1.0, 2.0]) * t**2) + np.prod(np.cos(t * np.array([1.0, 2.0])))
    ),
    "branches": lambda t: np.sum(np.where(MATRIX > 0, np.sin(t * MATRIX), t**3 * MATRIX)),
    "determinant": lambda t: np.linalg.det(MATRIX + t**2),
    "cholesky": lambda t: np.sum(np.linalg.cholesky(MATRIX @ MATRIX.T * np.exp(t)) ** 3),
    "vmap": lambda t: np.sum(pb.vmap(lambda row: np.sin(row * t) @ row)(MATRIX)),
    "gradient": lambda t: pb.grad(lambda x: np.sum(np.sin(x * MATRIX)))(t),
    "scan": lambda t: pb.scan(lambda c, x: (np.sin(c * x), c), t, np.array([1.0, 2.0]))[0],
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_agree_with_nested_gradients(name: str) -> None:
    f = PROGRAMS[name]
    found = along(f, 0.4, 4)
    for k in range(4):
        f = pb.grad(f)
        assert_allclose(found[k], f(0.4), rtol=1e-9, atol=1e-12)


def test_in_place_programs() -> None:
    def walk(t: np.ndarray) -> np.ndarray:
        track = pb.numpy.zeros(4)
        track[0] = t
        for i in range(3):
            track[i + 1] = track[i] * (1 - track[i])
        return track[-1]

    found = along(walk, 0.3, 3)
    f = walk
    for k in range(3):
        f = pb.grad(f)
        assert_allclose(found[k], f(0.3), rtol=1e-12)


def test_curves_that_bend() -> None:
    # x(t) = (t, 1 + t^2), f = x0^2 x1: f = t^2 + t^4, derivatives at 1: 6, 14, 24, 24.
    def f(x: np.ndarray) -> np.ndarray:
        return x[0] ** 2 * x[1]

    series = [np.array([1.0, 2.0]), np.array([0.0, 2.0]), np.zeros(2), np.zeros(2)]
    y, found = pb.jet(f, (np.array([1.0, 2.0]),), (series,))
    assert y == 2
    assert_allclose(found, [6, 14, 24, 24])


def test_plain_taylor_coefficients() -> None:
    _, found = pb.jet(np.exp, (0.0,), ([1.0, 0, 0, 0],), factorial_scaled=False)
    assert_allclose(found, [1, 1 / 2, 1 / 6, 1 / 24])


def test_containers_dtypes_and_several_arguments() -> None:
    def f(p: dict, z: np.ndarray) -> dict:
        return {"s": p["a"] * z, "constant": np.ones(2)}

    x = {"a": np.ones(2, np.float32)}
    y, (first, second) = pb.jet(f, (x, np.float32(3)), ([x, 0], [np.float32(1), None]))
    assert first["s"].dtype == second["s"].dtype == np.float32
    assert_allclose(y["s"], 3)
    assert_allclose(first["s"], 4)  # (1 + t)(3 + t): 4, 2
    assert_allclose(second["s"], 2)
    assert_allclose(first["constant"], 0)


def test_jets_nest_and_compile() -> None:
    def third(x: np.ndarray) -> np.ndarray:
        return pb.jet(np.sin, (x,), ([1.0, 0, 0],))[1][2]  # -cos

    assert_allclose(pb.grad(third)(0.3), np.sin(0.3))
    assert_allclose(third(np.float64(0.3)), -np.cos(0.3))
    assert_allclose(pb.compile(third)(np.float64(0.3)), -np.cos(0.3))
    assert_allclose(pb.vmap(third)(np.arange(3.0)), -np.cos(np.arange(3.0)))
    assert_allclose(along(third, 0.3, 3), [np.sin(0.3), np.cos(0.3), -np.sin(0.3)])


@pytest.mark.parametrize("name", ["sin", "tanh", "quotient", "softplus of a wave"])
def test_the_cost_grows_like_the_square_of_the_order(name: str) -> None:
    small, large = (n_products(FUNCTIONS[name][0], order) for order in (10, 20))
    assert large < 4.5 * small


def n_products(f: Callable, order: int) -> int:
    """Products of arrays in Taylor mode, counted by an outer level that records them."""
    graph = pb.compile(lambda x: pb.jet(f, (x,), ([1.0, *[0] * (order - 1)],))[1][-1])
    return graph.show("graph", np.float64(0.7)).count("= multiply")


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: pb.jet(np.sin, (1.0,), ([1.0], [1.0])), ArgumentError, "one list"),
        (lambda: pb.jet(np.multiply, (1.0, 1.0), ([1.0], [1.0, 0])), ArgumentError, "one length"),
        (lambda: pb.jet(np.sin, (1.0,), ([],)), ArgumentError, "one length"),
        (lambda: pb.jet(np.sin, (np.ones(2),), ([np.ones(3)],)), ShapeError, "coefficient"),
        (lambda: pb.jet(np.sin, (np.arange(2),), ([1.0],)), NotDifferentiableError, "float"),
    ],
)
def test_mistakes_are_named(call: Callable, error: type, words: str) -> None:
    with pytest.raises(error, match=words) as caught:
        call()
    assert "test_jet.py" in str(caught.value)


def test_operations_without_a_forward_rule_are_named() -> None:
    @pb.custom_vjp
    def reverse_only(x: np.ndarray) -> np.ndarray:
        return x**2

    reverse_only.defvjp(lambda x: (x**2, x), lambda x, ct: (2 * x * ct,))
    with pytest.raises(NotDifferentiableError, match="reverse_only"):
        along(reverse_only, 1.0, 2)


def test_series_of_numbers_that_python_gave():
    def f(x):
        return np.sin(x) + 0.5 * x / (1 + x * x)

    value, series = pb.jet(f, (0.8,), ((1.0, 0.0, 0.0),))
    plain, expected = pb.jet(f, (np.array(0.8),), (tuple(map(np.array, (1.0, 0.0, 0.0))),))
    np.testing.assert_allclose(value, plain, rtol=1e-15)
    np.testing.assert_allclose(series, expected, rtol=1e-14)

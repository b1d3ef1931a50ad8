"""Expressions: numbers gathered in front, brackets where Python needs them."""

import numpy as np
import pytest

from pullback.core.types import ArrayType
from pullback.explanation.formula import Text, atom, constant, expression, number
from pullback.transforms.stage import stage

RNG = np.random.default_rng(5)


def formula(function, **shapes):
    """The expression of a staged function, with the parameter names for its inputs."""
    types = [ArrayType(shape, np.dtype(np.float64)) for shape in shapes.values()]
    graph = stage(lambda *xs: [function(*xs)], types).graph
    texts = {v: atom(name, v) for name, v in zip(shapes, graph.inputs, strict=True)}
    for equation in graph.equations:
        operands = [texts[v] if v in texts else constant(v.value, ()) for v in equation.inputs]
        texts[equation.outputs[0]] = expression(equation, operands)
    return str(texts[graph.outputs[0]])


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (lambda x, y: 0.5 * (2 * x), "x"),
        (lambda x, y: np.negative(-x), "x"),
        (lambda x, y: 2 * x / 8, "0.25 * x"),
        (lambda x, y: x * 2 * y * 3, "6 * x * y"),
        (lambda x, y: -(x * y), "-(x * y)"),
        (lambda x, y: x + -y, "x - y"),
        (lambda x, y: x - -2 * y, "x + 2 * y"),
        (lambda x, y: x - (y - x), "x - (y - x)"),
        (lambda x, y: x - (y + x), "x - (y + x)"),
        (lambda x, y: x / (y * x), "x / (y * x)"),
        (lambda x, y: x * (y / x), "x * y / x"),
        (lambda x, y: x * (y % x), "x * (y % x)"),
        (lambda x, y: (x + y) * y, "(x + y) * y"),
        (lambda x, y: 3 * (1 / x), "3 / x"),
        (lambda x, y: x ** (y**x), "x ** (y ** x)"),
        (lambda x, y: (x**y) ** x, "(x ** y) ** x"),
        (lambda x, y: (-x) ** 3, "(-x) ** 3"),
        (lambda x, y: (x < y) * x, "(x < y) * x"),
        (lambda x, y: np.maximum(x, 0), "maximum(x, 0)"),
        (lambda x, y: x[..., None] * y, "outer(x, y)"),
        (lambda x, y: x.reshape(3, 1).reshape(1, 3).reshape(3), "x"),
        (lambda x, y: x[::-1][1:], "x[::-1][1:]"),
        (lambda x, y: np.sum(x), "sum(x)"),
        (lambda x, y: x.astype(np.float32), "x.astype('float32')"),
        (lambda x, y: x.astype(np.float64), "x"),
    ],
)
def test_expressions_of_vectors(function, text):
    assert formula(function, x=(3,), y=(3,)) == text
    x, y = RNG.uniform(1, 2, 3), RNG.uniform(1, 2, 3)
    np.testing.assert_allclose(eval(text, vars(np) | {"x": x, "y": y}), function(x, y), rtol=1e-14)


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (lambda A, v: (2 * A) @ (3 * v), "6 * (A @ v)"),
        (lambda A, v: A @ (A @ v), "A @ (A @ v)"),
        (lambda A, v: A @ A @ v, "(A @ A) @ v"),
        (lambda A, v: v * (A @ v), "v * (A @ v)"),
        (lambda A, v: A.T @ v, "A.T @ v"),
        (lambda A, v: (A @ v[..., None])[..., 0], "A @ v"),
        (lambda A, v: np.sum(A, axis=0), "sum(A, axis=0)"),
        (lambda A, v: np.sum(A), "sum(A)"),
        (lambda A, v: np.transpose(A[None], (2, 0, 1)), "transpose(A[None], axes=(2, 0, 1))"),
    ],
)
def test_expressions_of_matrices(function, text):
    assert formula(function, A=(3, 3), v=(3,)) == text
    A, v = RNG.normal(size=(3, 3)), RNG.normal(size=3)
    np.testing.assert_allclose(eval(text, vars(np) | {"A": A, "v": v}), function(A, v), rtol=1e-13)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2.0, "2"),
        (-0.125, "-0.125"),
        (1 / 3, "1/3"),
        (-2 / 7, "-2/7"),
        (1e-5, "1e-05"),
        (np.float32(0.1), "0.1"),
        (np.pi, "3.141592653589793"),
        (np.inf, "inf"),
        (-np.inf, "-inf"),
    ],
)
def test_numbers_are_short_where_that_is_exact(value, text):
    assert number(float(value))[0] == text
    if np.isfinite(value):
        assert np.float32(eval(text)) == np.float32(value)


def test_a_number_by_itself_has_its_shape():
    assert str(constant(2.0, (3, 1))) == "full((3, 1), 2)"
    assert str(constant(2.0, ())) == "2"
    assert str(Text("x", 9, (), scale=-1.0)) == "-x"

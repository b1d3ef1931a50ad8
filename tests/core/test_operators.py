"""Python's operators on traced arrays are NumPy's."""

import operator
from typing import Any

import numpy as np
import pytest

import pullback as pb

BINARY = [
    operator.add,
    operator.sub,
    operator.mul,
    operator.truediv,
    operator.pow,
    operator.mod,
    operator.floordiv,
]
COMPARE = [operator.lt, operator.le, operator.gt, operator.ge, operator.eq, operator.ne]


def through(function: Any, *args: Any) -> Any:
    """What ``function`` gives on traced arguments."""
    seen = []

    def wrapped(*traced: Any) -> Any:
        result = function(*traced)
        seen.append(result)
        return np.sum(traced[0])

    _, aux = pb.grad(lambda *a: (wrapped(*a), seen[-1]), has_aux=True)(*args)
    return aux


@pytest.mark.parametrize("op", BINARY + COMPARE, ids=lambda op: op.__name__)
@pytest.mark.parametrize("other", [2, 2.5, np.float32(1.5), np.array([0.5, 2.0, 3.0])], ids=repr)
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_operators_are_numpys(op: Any, other: Any, dtype: str) -> None:
    x = np.array([1.5, 2.0, 4.0], dtype)
    for forward in (lambda a: op(a, other), lambda a: op(other, a)):
        expected, got = forward(x), through(forward, x)
        np.testing.assert_array_equal(got, expected)
        assert got.dtype == expected.dtype


# What is made of a number of Python ``a`` and a float32 array ``x``; the derivative by ``a``.
MIXED: dict[str, Any] = {
    "product": lambda a, x: np.sum(a * x),
    "of numbers": lambda a, x: np.sum(a * a * x + a / 3 * x - (-a) * x),
    "powers": lambda a, x: np.sum(x**a * a**2) + np.sum(a**x),
    "function": lambda a, x: np.sum(np.sin(a) * x),
    "scalar of NumPy": lambda a, x: np.sum(np.float64(2) * a * x),
    "choice": lambda a, x: np.sum(np.where(x > 1, x, a) + np.maximum(x, a) + np.clip(x, 0, a)),
    "steps": lambda a, x: np.sum(x * (a // 1) + x * a),
    "half": lambda a, x: np.sum(a * x.astype(np.float16), dtype=np.float32),
    "in place": lambda a, x: np.sum(operator.iadd(a, 1.0) * x),
}
RUNS: dict[str, Any] = {
    "grad": lambda f, wrap: wrap(pb.value_and_grad(f)),
    "container": lambda f, wrap: (
        lambda a, x: wrap(
            lambda p, x: (
                f(p["a"], x),
                pb.grad(lambda p, x: f(p["a"], x))(p, x)["a"],
            )
        )({"a": a}, x)
    ),
    "checkpoint": lambda f, wrap: wrap(pb.value_and_grad(lambda a, x: pb.checkpoint(f)(a, x))),
    "second": lambda f, wrap: wrap(
        lambda a, x: (f(a, x), pb.jvp(pb.grad(lambda a: f(a, x)), (a,), (1.0,))[0])
    ),
    "forward": lambda f, wrap: wrap(lambda a, x: pb.jvp(lambda a: f(a, x), (a,), (1.0,))),
}


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("name", MIXED)
def test_a_number_of_python_does_not_widen(name: str, run: str) -> None:
    """As argument, in a container, under any transform: value and dtype are NumPy's."""
    f, x, h = MIXED[name], np.array([0.5, 0.25, 2.0], np.float32), 1e-6
    expected = f(2.5, x)
    wide = x.astype(np.float64)
    slope = (f(2.5 + h, wide) - f(2.5 - h, wide)) / (2 * h)
    if name == "half":  # differences of float16 say nothing
        slope = np.sum(wide)
    wraps = [lambda g: g] if run != "grad" else [lambda g: g, pb.compile]
    for wrap in wraps:
        value, dot = RUNS[run](f, wrap)(2.5, x)
        assert np.asarray(value).dtype == expected.dtype
        np.testing.assert_allclose(value, expected, rtol=1e-6 if name != "half" else 1e-3)
        np.testing.assert_allclose(dot, slope, rtol=1e-5 if name != "half" else 1e-3)
        assert np.asarray(dot).dtype == (expected.dtype if run == "forward" else np.float64)


def test_what_leaves_a_transform_is_a_scalar_of_numpy() -> None:
    value, slope = pb.value_and_grad(lambda a: a * a)(3.0)
    assert [type(value), type(slope)] == [np.float64, np.float64]
    assert pb.compile(lambda n, x: n * n * x / 2)(3, np.float32([1])).dtype == np.float32
    z = np.ones(2, np.complex64)
    assert pb.value_and_grad(lambda c: np.sum(np.abs(c * c * z)))(1 + 1j)[0].dtype == np.float32
    with np.errstate(divide="ignore"):  # Python would raise ZeroDivisionError
        assert pb.grad(np.log)(0.0) == np.inf


def test_rules_may_index_a_number_that_python_gave():
    """NumPy's scalars can be indexed, Python's cannot: a rule is code for both."""
    rule = pb.custom_jvp(lambda x: np.sin(x))
    rule.defjvp(
        lambda primals, tangents: (
            np.sin(primals[0]),
            np.sum(np.cos(primals[0])[..., None] * np.ones(1), axis=-1) * tangents[0],
        )
    )
    np.testing.assert_allclose(pb.grad(pb.grad(rule))(0.7), -np.sin(0.7), rtol=1e-14)
    np.testing.assert_allclose(pb.grad(lambda x: np.expand_dims(x, 0)[0] * x)(3.0), 6.0)

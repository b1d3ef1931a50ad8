"""Code that imports NumPy itself, unmodified, records its buffers on request."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from scipy import linalg

import pullback as pb
from pullback.errors import TracedValueError

ORIGINALS = {name: getattr(np, name) for name in ("zeros", "array", "asarray", "r_", "ones")}
X = np.array([0.5, -1.0, 2.0, 0.25])


@pytest.fixture(autouse=True)
def _recording() -> Iterator[None]:
    pb.record_numpy()
    yield
    pb.record_numpy(False)
    assert all(getattr(np, name) is value for name, value in ORIGINALS.items())


def convolution(x: Any) -> Any:
    out = np.zeros(len(x) - 1)
    for i in range(len(out)):
        out[i] = x[i] * 2 - x[i + 1] ** 2
    return np.sum(out**2)


def rotated(x: Any) -> Any:
    turn = np.array([[np.cos(x[0]), -np.sin(x[0])], [np.sin(x[0]), np.cos(x[0])]])
    return np.sum((turn @ np.asarray(x[1:3])) * np.array([1.0, 3.0]))


def joined(x: Any) -> Any:
    return np.sum(np.r_[x[0], x[1:] ** 2, 1.0] * np.ones(5)) + np.sum(np.c_[x, x**2][1])


def list_state(x: Any) -> Any:
    state, rows = np.zeros(2), []
    for v in x:
        state = np.tanh(np.eye(2) @ state + v)
        rows.append(state)
    return np.sum(np.array(rows)) + np.sum(np.zeros_like(X))


def written_floats(x: Any) -> Any:
    held = np.array([1.0, 2.0, 3.0])
    held[1] += x[0]
    table = np.full((2, 2), 0.5)
    table[0, 1] = x[1] * held[1]
    return table.sum() + held.prod()


PROGRAMS = [convolution, rotated, joined, list_state, written_floats]


def differences(f: Any, x: Any, step: float = 1e-5) -> Any:
    return [(f(x + step * e) - f(x - step * e)) / (2 * step) for e in np.eye(len(x))]


@pytest.mark.parametrize("f", PROGRAMS)
def test_unmodified_programs(f: Any) -> None:
    expected = differences(f, X)
    np.testing.assert_allclose(pb.grad(f)(X), expected, rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(pb.compile(pb.grad(f))(X), expected, rtol=1e-7, atol=1e-8)
    hessian = pb.hessian(f)(X)
    np.testing.assert_allclose(hessian, hessian.T, atol=1e-12)
    np.testing.assert_allclose(pb.vmap(f)(np.stack([X, 2 * X])), [f(X), f(2 * X)], rtol=1e-13)
    u = np.arange(4.0)
    np.testing.assert_allclose(pb.jvp(f, (X,), (u,))[1], u @ expected, rtol=1e-6)


def test_numpy_is_itself_outside_and_after_errors() -> None:
    def fails(x: Any) -> Any:
        raise KeyError(str(np.zeros(1) * x))

    with pytest.raises(KeyError):
        pb.grad(fails)(1.0)
    assert all(getattr(np, name) is value for name, value in ORIGINALS.items())
    assert type(np.zeros(2)) is np.ndarray


def test_other_threads_get_plain_arrays() -> None:
    found: list[Any] = []

    def f(x: Any) -> Any:
        thread = threading.Thread(target=lambda: found.append((np.zeros(2), np.array([1.0]))))
        thread.start()
        thread.join()
        return x * 2

    pb.grad(f)(1.0)
    assert [type(a) for a in found[0]] == [np.ndarray, np.ndarray]


def test_libraries_get_plain_arrays() -> None:
    """SciPy makes and fills buffers of its own; a recorded one is read as an array."""

    def f(x: Any) -> Any:
        held = np.zeros((2, 2))
        held[0, 0] = held[1, 1] = 2.0
        return np.sum(linalg.expm(held) @ x[:2])

    np.testing.assert_allclose(pb.grad(f)(X), [np.exp(2), np.exp(2), 0, 0], rtol=1e-14)


def test_integers_stay_plain_and_like_works() -> None:
    def f(x: Any) -> Any:
        order = np.array([2, 0])
        assert type(order) is np.ndarray
        return np.sum(np.zeros(2, like=x) + x[order])

    np.testing.assert_array_equal(pb.grad(f)(X), [1, 0, 1, 0])


def test_without_it_the_error_names_it() -> None:
    pb.record_numpy(False)
    with pytest.raises(TracedValueError, match=r"record_numpy\(\) first"):
        pb.grad(convolution)(X)


def lists(x: Any) -> Any:
    folds = np.sum([x[0], x[1]]) * np.max([x[2], x[3]]) + np.dot([x[0], x[3]], [1.0, 2.0])
    return folds + np.mean([v**2 for v in x]) + np.median([x[0], x[1], x[2]])


def iterators(x: Any) -> Any:
    total = sum(v**2 for v in np.nditer(x))
    total += sum(i[0] * v for i, v in np.ndenumerate(x))
    return total + np.vectorize(lambda t: t**3 if t > 0 else -t)(x).sum()


def polynomials(x: Any) -> Any:
    return np.poly1d(x)(2.0) + np.cov(np.stack([x, x**2]))[0, 1]


@pytest.mark.parametrize("function", [lists, iterators, polynomials])
def test_folds_of_lists_iterators_and_polynomials(function: Callable[..., Any]) -> None:
    pb.check_grads(function, (X,), order=2)


def test_replaced_classes_are_still_classes() -> None:
    made = np.poly1d([1.0, 2.0])

    def f(x: Any) -> Any:
        assert isinstance(made, np.poly1d)
        assert issubclass(type(made), np.poly1d)
        assert np.poly1d.deriv is original.deriv
        return x * made(1.0)

    original = np.poly1d
    assert pb.grad(f)(1.0) == 3

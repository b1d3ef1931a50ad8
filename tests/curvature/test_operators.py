"""Operators against matrices known in closed form and against differences of gradients."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.sparse.linalg import cg, eigsh, svds

import pullback as pb
from pullback.errors import ArgumentError, ShapeError

RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, 4))
LABELS = RNG.integers(3, size=12)
W = RNG.normal(size=(4, 3)) * 0.5


def logits(w: np.ndarray, x: np.ndarray = X, labels: np.ndarray = LABELS) -> np.ndarray:
    return x @ w


def cross_entropy(z: np.ndarray, x: np.ndarray = X, labels: np.ndarray = LABELS) -> np.ndarray:
    return np.sum(np.log(np.sum(np.exp(z), axis=1)) - z[np.arange(len(labels)), labels])


def fisher_of_softmax_regression() -> np.ndarray:
    """Sum over rows of (x x^T) kron (diag(p) - p p^T): Boehning (1992), equation 2.5."""
    total = np.zeros((12, 12))
    for x in X:
        p = np.exp(x @ W) / np.exp(x @ W).sum()
        total += np.kron(np.outer(x, x), np.diag(p) - np.outer(p, p))
    return total


@pytest.mark.parametrize("is_compiled", [False, True])
@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("kind", ["hessian", "gauss_newton", "fisher"])
def test_softmax_regression(kind: str, batched: bool, is_compiled: bool) -> None:
    batches = [(X[:5], LABELS[:5]), (X[5:], LABELS[5:])] if batched else None
    if kind == "hessian":
        op = pb.linear_operator(
            lambda w, *b: cross_entropy(logits(w, *b), *b), W, batches=batches, compile=is_compiled
        )
    else:
        op = pb.linear_operator(
            logits, W, kind, loss=cross_entropy, batches=batches, compile=is_compiled
        )
    expected = fisher_of_softmax_regression()
    assert_allclose(op @ np.eye(12), expected, atol=1e-12)
    v = RNG.normal(size=12)
    assert_allclose(op @ v, expected @ v, atol=1e-12)
    assert_allclose(op.T @ v, expected @ v, atol=1e-12)


def test_gauss_newton_is_positive_where_the_hessian_is_not() -> None:
    def model(x: np.ndarray) -> np.ndarray:
        return np.array([1.0, 3.0]) * x**2

    point = np.array([0.1, 0.2])
    whole = pb.linear_operator(lambda x: np.sum((model(x) - 5) ** 2), point) @ np.eye(2)
    part = pb.linear_operator(model, point, "gauss_newton", loss=lambda z: np.sum((z - 5) ** 2))
    # J = diag(2 c x), H_loss = 2 I
    assert_allclose(part @ np.eye(2), np.diag(2 * (2 * np.array([1, 3]) * point) ** 2))
    assert np.linalg.eigvalsh(whole).max() < 0


@pytest.mark.parametrize("is_compiled", [False, True])
def test_jacobian(is_compiled: bool) -> None:
    matrix = RNG.normal(size=(5, 6))

    def f(p: dict) -> tuple:
        flat = np.concatenate([np.ravel(p["a"]), p["b"]])
        y = np.sin(matrix @ flat)
        return y[:2], y[2:]

    x = {"a": RNG.normal(size=(2, 2)), "b": RNG.normal(size=2)}
    op = pb.linear_operator(f, x, "jacobian", compile=is_compiled)
    flat = np.concatenate([x["a"].ravel(), x["b"]])
    expected = np.cos(matrix @ flat)[:, None] * matrix
    assert op.shape == (5, 6)
    assert_allclose(op @ np.eye(6), expected, atol=1e-13)
    assert_allclose(op.T @ np.eye(5), expected.T, atol=1e-13)
    u = RNG.normal(size=5)
    assert_allclose(op.T @ u, expected.T @ u, atol=1e-13)
    assert_allclose(svds(op, 1)[1], np.linalg.norm(expected, 2))


def test_containers_are_raveled_and_back() -> None:
    x = {"a": np.ones((2, 2), np.float32), "b": np.ones(1, np.float32)}
    op = pb.linear_operator(lambda p: np.sum(p["a"] ** 3) + np.sum(p["b"] ** 2), x)
    assert op.dtype == np.float32
    product = op.unravel(op @ op.ravel(x))
    assert_allclose(product["a"], 6)
    assert_allclose(product["b"], 2)
    assert product["a"].dtype == np.float32


def test_scipy_takes_them() -> None:
    op = pb.linear_operator(lambda w: cross_entropy(logits(w)) + np.sum(w**2), W)
    dense = fisher_of_softmax_regression() + 2 * np.eye(12)
    assert_allclose(eigsh(op, 1)[0], np.linalg.eigvalsh(dense)[-1:])
    right = RNG.normal(size=12)
    assert_allclose(cg(op, right, rtol=1e-12)[0], np.linalg.solve(dense, right), rtol=1e-8)


def test_the_function_is_run_once() -> None:
    runs = []

    def f(x: np.ndarray) -> np.ndarray:
        runs.append(1)
        return np.sum(np.exp(x))

    op = pb.linear_operator(f, np.zeros(3))
    before = len(runs)
    for _ in range(5):
        op @ np.ones(3)
    assert len(runs) == before


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: pb.linear_operator(np.sum, W, "hesian"), ArgumentError, "choose one of"),
        (lambda: pb.linear_operator(np.sum, W, "fisher"), ArgumentError, "takes a loss"),
        (lambda: pb.linear_operator(np.sum, W, loss=np.sum), ArgumentError, "drop loss"),
        (lambda: pb.linear_operator(np.sum, W, batches=[]), ArgumentError, "no batches"),
        (
            lambda: pb.linear_operator(np.sin, W, "jacobian", batches=[(1,)]),
            ArgumentError,
            "drop batches",
        ),
        (lambda: pb.linear_operator(np.sin, W), ShapeError, "one scalar"),
        (lambda: pb.linear_operator(np.sin, W, "fisher", loss=np.sin), ShapeError, "loss must"),
    ],
)
def test_mistakes_are_named(call: object, error: type, words: str) -> None:
    with pytest.raises(error, match=words) as caught:
        call()
    assert "test_operators.py" in str(caught.value)

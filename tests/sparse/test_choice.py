"""The choice between plain, mixed and compressed evaluation: results, counts, reasons."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import sparse
from scipy.optimize import rosen_hess

import pullback as pb
from pullback.core.types import ArrayType
from pullback.errors import ArgumentError, NotDifferentiableError
from pullback.sparse import choice as choices
from pullback.transforms import mode
from pullback.transforms.mixed import Chain
from pullback.transforms.stage import stage

RNG = np.random.default_rng(0)
# The chain of Griewank & Walther's kind: a wide function that passes twice through two values.
A, B, C, D = (RNG.normal(size=s) for s in ((2, 100), (100, 2), (2, 100), (100, 2)))


def chain(x):
    return D @ (C @ (B @ (A @ x)))


def multiplications(fun, monkeypatch) -> int:
    """Of all matrix products that NumPy is asked for while ``fun`` runs."""
    counted = [0]
    matmul = np.matmul

    def count(a, b, *rest, **options):
        inner, rows = np.shape(a)[-1], np.size(a) // np.shape(a)[-1]
        counted[0] += rows * inner * (np.shape(b)[-1] if np.ndim(b) > 1 else 1)
        return matmul(a, b, *rest, **options)

    monkeypatch.setattr(np, "matmul", count)
    fun()
    return counted[0]


def test_the_golden_chain_costs_its_20800_multiplications(monkeypatch):
    x = RNG.normal(size=100)
    graph = stage(lambda t: [chain(t)], [ArrayType((100,), np.dtype(float))])
    found = Chain(graph.graph, graph.captured)
    plan = found.plan()
    rows = []
    count = multiplications(lambda: rows.append(found.run(plan)), monkeypatch)
    assert count == 20_800
    assert_allclose(rows[0].T, D @ C @ B @ A, rtol=1e-12, atol=1e-12)
    monkeypatch.undo()
    assert_allclose(pb.jacobian(chain, mode="mixed")(x), D @ C @ B @ A, rtol=1e-12, atol=1e-12)


def test_auto_finds_the_waist(monkeypatch):
    monkeypatch.setattr(mode, "LEAST_WORK", 0)
    wide = RNG.normal(size=(40, 40)) / 7

    def f(p):
        hidden = np.tanh(A[:, :40] @ np.sin(wide @ p["x"]) * p["scale"])
        return {"y": np.tanh(wide @ np.cos(B[:40] @ hidden)), "sum": np.sum(hidden)}

    p = {"scale": np.array(0.3), "x": RNG.normal(size=40)}
    J, choice = pb.jacobian(f, explain=True)(p)
    assert choice.mode == "mixed"
    assert "pass through 2 values" in str(choice)
    assert choice.costs["mixed"] < 0.7 * min(choice.costs["forward"], choice.costs["reverse"])
    for plain in ("forward", "reverse"):
        expected = pb.jacobian(f, mode=plain)(p)
        pb.tree.map(lambda a, b: assert_allclose(a, b, rtol=1e-12, atol=1e-15), J, expected)


def test_mixed_mode_compiles_nests_and_knows_branches_on_values():
    x = RNG.normal(size=100) / 10

    def f(x):
        y = A @ x
        y = np.sin(y) if y[0] > 0 else np.cos(y)
        return np.tanh(B @ y)

    expected = pb.jacobian(f, mode="reverse")(x)
    assert_allclose(pb.jacobian(f, mode="mixed")(x), expected, rtol=1e-12, atol=1e-12)

    def g(x):
        return np.tanh(B @ np.sin(A @ x))

    def total(which):
        return lambda x: np.sum(pb.jacobian(g, mode=which)(x) ** 3)

    compiled = pb.compile(pb.jacobian(g))(x)
    assert_allclose(compiled, pb.jacobian(g, mode="reverse")(x), rtol=1e-12, atol=1e-12)
    assert_allclose(
        pb.grad(total("mixed"))(x), pb.grad(total("forward"))(x), rtol=1e-10, atol=1e-14
    )


def test_a_constant_output_and_an_output_that_is_an_input():
    x = np.arange(3.0)
    J = pb.jacobian(lambda x: (x, np.ones(2), x * x), mode="mixed")(x)
    assert_allclose(J[0], np.eye(3))
    assert_allclose(J[1], np.zeros((2, 3)))
    assert_allclose(J[2], np.diag(2 * x))


def test_mixed_mode_refuses_several_dtypes():
    with pytest.raises(NotDifferentiableError, match="one dtype"):
        pb.jacobian(lambda a, b: a * b, argnums=(0, 1), mode="mixed")(np.ones(2, "f"), np.ones(2))


def test_sparse_evaluation_gives_the_same_blocks(monkeypatch):
    monkeypatch.setattr(choices, "LEAST_ENTRIES", 100)

    def f(p, w):
        return {"u": np.diff(p["a"]) * w, "v": p["b"] * p["a"][:9].reshape(3, 3)}

    p = {"a": RNG.normal(size=20), "b": RNG.normal(size=(3, 3))}
    w = RNG.normal(size=19)
    dense = pb.jacobian(f, mode="reverse")(p, w)
    J, choice = pb.jacobian(f, explain=True)(p, w)
    assert choice.mode == "sparse"
    assert choice.costs["sparse"] < choice.costs["forward"]
    pb.tree.map(lambda a, b: assert_allclose(a, b, rtol=1e-14), J, dense)
    blocks = pb.jacobian(f, sparse=True)(p, w)
    assert sparse.issparse(blocks["v"]["b"])
    assert_allclose(blocks["v"]["b"].toarray(), dense["v"]["b"].reshape(9, 9), rtol=1e-14)


def test_a_pattern_holds_for_the_other_arguments_it_was_read_with():
    jacobian = pb.jacobian(lambda x, w: w @ x, sparse=True)
    w = np.diag(np.arange(1.0, 7.0))
    assert jacobian(np.ones(6), w).nnz == 6
    w[0, 5] = 9.0
    assert_allclose(jacobian(np.ones(6), w).toarray(), w)


def test_a_pattern_is_read_again_when_what_was_read_from_outside_changed():
    w = np.diag(np.arange(1.0, 7.0))
    jacobian = pb.sparse_jacobian(lambda x: w @ x)
    assert jacobian(np.ones(6)).nnz == 6
    w[0, 5] = 9.0
    assert_allclose(jacobian(np.ones(6)).toarray(), w)


def test_auto_gives_an_array_where_a_pattern_saves_nothing():
    w = RNG.normal(size=(30, 30))
    J, choice = pb.jacobian(lambda x: np.tanh(w @ x), sparse="auto", explain=True)(np.ones(30))
    assert isinstance(J, np.ndarray)
    assert choice.mode in ("forward", "reverse")
    assert sparse.issparse(pb.jacobian(np.sin, sparse="auto")(np.ones(30)))


def test_sparse_hessians_of_rosenbrock():
    x = np.linspace(-1, 1, 30)
    H, choice = pb.hessian(
        lambda x: np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2),
        sparse="auto",
        explain=True,
    )(x)
    assert "3 tangents serve all columns" in choice.reason
    assert_allclose(H.toarray(), rosen_hess(x), rtol=1e-12, atol=1e-11)


def test_what_cannot_be_sparse_is_refused():
    with pytest.raises(ArgumentError, match="needs real arrays"):
        pb.compile(pb.jacobian(np.sin, sparse=True))(np.ones(3))
    with pytest.raises(ArgumentError, match="mode='backward'"):
        pb.jacobian(np.sin, mode="backward")
    with pytest.raises(ArgumentError, match="sparse='auto' with mode='forward'"):
        pb.jacobian(np.sin, mode="forward", sparse="auto")
    assert pb.compile(pb.jacobian(np.sin, sparse="auto"))(np.ones(3)).shape == (3, 3)

"""Matrix products, einsum and norms against NumPy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.numpy.oracle import check, check_values

import pullback as pb

RNG = np.random.default_rng(6)
A = RNG.normal(size=(3, 4))
B = RNG.normal(size=(4, 2))
S = RNG.normal(size=(2, 3, 4))
V = RNG.normal(size=(4,))

CASES = {
    "a @ b": (lambda a, b: a @ b, A, B),
    "stack @ b": (lambda a, b: a @ b, S, B),
    "v @ b": (lambda a, b: a @ b, V, B),
    "np.matmul": (np.matmul, A, V),
    "linalg.matmul": (np.linalg.matmul, A, B),
    "dot": (np.dot, A, B),
    "dot vectors": (np.dot, V, V + 1),
    "dot method": (lambda a, b: a.dot(b), A, B),
    "dot scalar": (lambda a: np.dot(a, 2.0), A),
    "dot stacks": (lambda a, b: np.dot(a, b), S, RNG.normal(size=(5, 4, 2))),
    "dot out": (lambda a, b: np.dot(a, b), S, V),
    "inner": (np.inner, A, S),
    "inner scalar": (lambda a: np.inner(3.0, a), A),
    "outer": (np.outer, A, V),
    "linalg.outer": (np.linalg.outer, V, V[:2]),
    "vdot": (np.vdot, A, A + 1),
    "tensordot": (lambda a, b: np.tensordot(a, b, 1), S, B),
    "tensordot 0": (lambda a, b: np.tensordot(a, b, 0), A, V),
    "tensordot axes": (lambda a, b: np.tensordot(a, b, ([0, 2], [1, 0])), S, B),
    "tensordot axis": (lambda a, b: np.tensordot(a, b, (-1, 0)), S, B),
    "linalg.tensordot": (lambda a, b: np.linalg.tensordot(a, b, axes=1), S, B),
    "vecdot": (np.vecdot, A, S),
    "linalg.vecdot": (lambda a, b: np.linalg.vecdot(a, b, axis=0), A, A * 2),
    "matvec": (np.matvec, S, V),
    "vecmat": (np.vecmat, V, B),
    "kron": (np.kron, A, B),
    "kron ranks": (np.kron, V, S),
    "cross": (lambda a, b: np.cross(a, b), A[:, :3], S[0, :, :3]),
    "cross axis": (lambda a: np.cross(a, a[:, ::-1], axisa=0, axisb=0), A),
    "linalg.cross": (lambda a: np.linalg.cross(a[:, :3], 2 + a[:, 1:]), A),
    "convolve": (np.convolve, V, A[0, :3]),
    "convolve same": (lambda a, b: np.convolve(a, b, "same"), V, A[0, :3]),
    "convolve valid": (lambda a, b: np.convolve(a, b, "valid"), A[0, :2], V),
    "convolve even": (lambda a, b: np.convolve(a, b, "same"), V, A[0, :2]),
    "correlate": (np.correlate, V, A[0, :3]),
    "correlate full": (lambda a, b: np.correlate(a, b, "full"), A[0, :3], V),
    "correlate same": (lambda a, b: np.correlate(a, b, "same"), A[0, :2], V),
    "multi_dot": (lambda a, b: np.linalg.multi_dot([a, b, b.T, V]), A, B),
    "matrix_power": (lambda a: np.linalg.matrix_power(a[:, :3], 5), A),
    "norm": (lambda a: np.linalg.norm(a), A),
    "norm keepdims": (lambda a: np.linalg.norm(a, keepdims=True), A),
    "norm axis": (lambda a: np.linalg.norm(a, axis=1), A),
    "norm fro": (lambda a: np.linalg.norm(a, "fro", axis=(0, 2)), S),
    "norm 1": (lambda a: np.linalg.norm(a, 1, axis=0), A),
    "norm 3": (lambda a: np.linalg.norm(a, 3, axis=1, keepdims=True), A),
    "norm inf": (lambda a: np.linalg.norm(a, np.inf, axis=1), A),
    "norm -inf": (lambda a: np.linalg.norm(a, -np.inf, axis=1), A),
    "norm 0": (lambda a: np.linalg.norm(a, 0, axis=1), A),
    "matrix norm 1": (lambda a: np.linalg.norm(a, 1), A),
    "matrix norm -inf": (lambda a: np.linalg.norm(a, -np.inf, axis=(2, 1), keepdims=True), S),
    "vector_norm": (lambda a: np.linalg.vector_norm(a, axis=0, ord=4), A),
    "matrix_norm": (lambda a: np.linalg.matrix_norm(a), S),
}


@pytest.mark.parametrize("name", CASES)
def test_products_and_norms(name: str) -> None:
    function, *args = CASES[name]
    check(function, *args)


EINSUMS = [
    ("ij,jk->ik", (3, 4), (4, 2)),
    ("ij,jk", (3, 4), (4, 2)),
    ("ij->ji", (3, 4)),
    ("ij", (3, 4)),
    ("ba", (3, 4)),
    ("ii", (3, 3)),
    ("ii->i", (3, 3)),
    ("iij->j", (3, 3, 2)),
    ("iii->i", (3, 3, 3)),
    ("ij->", (3, 4)),
    ("ij->i", (3, 4)),
    ("i,i", (4,), (4,)),
    ("i,j->ij", (4,), (3,)),
    ("i,i->i", (4,), (4,)),
    ("ij,ij->i", (3, 4), (3, 4)),
    ("bij,bjk->bik", (2, 3, 4), (2, 4, 3)),
    ("...ij,...jk->...ik", (2, 1, 3, 4), (5, 4, 2)),
    ("...i,...i", (2, 3, 4), (3, 4)),
    ("i...->...i", (2, 3, 4)),
    ("...ii->...", (2, 3, 3)),
    ("b...,b->...", (2, 3, 4), (2,)),
    ("ij,jk,kl->il", (3, 4), (4, 2), (2, 5)),
    ("ij,kj,lj->ikl", (3, 4), (2, 4), (2, 4)),
    ("ij,jk,ki->", (3, 4), (4, 2), (2, 3)),
    ("abc,cd,def->bf", (2, 3, 4), (4, 2), (2, 2, 3)),
    ("ij,k->ij", (3, 4), (2,)),
    (",i->i", (), (3,)),
    ("i j , j -> i", (3, 4), (4,)),
    ("nhqd,nhkd->nhqk", (2, 2, 3, 4), (2, 2, 5, 4)),
]


@pytest.mark.parametrize(
    ("text", "shapes"), [(t, s) for t, *s in EINSUMS], ids=[e[0] for e in EINSUMS]
)
def test_einsum(text: str, shapes: list) -> None:
    arrays = [RNG.normal(size=shape) for shape in shapes]
    check(lambda *xs: np.einsum(text, *xs), *arrays)


@pytest.mark.parametrize("optimize", [True, False, "optimal"])
def test_einsum_in_any_order(optimize: object) -> None:
    arrays = [RNG.normal(size=shape) for shape in [(2, 3), (3, 4), (4, 2)]]
    check(lambda *xs: np.einsum("ij,jk,kl->il", *xs, optimize=optimize), *arrays)


def test_einsum_of_lists_of_labels() -> None:
    check(lambda a, b: np.einsum(a, [0, 1], b, [1, 2], [2, 0]), A, B)
    check(lambda a, b: np.einsum(a, [0, 1], b, [1, 2]), A, B)
    check(lambda a: np.einsum(a, [Ellipsis, 1], [1, Ellipsis]), S)


def test_einsum_of_integers_and_single_precision() -> None:
    check_values(
        lambda a, b: np.einsum("ij,jk", a, b), np.arange(6).reshape(2, 3), np.ones((3, 2), int)
    )
    check_values(lambda a: np.einsum("ij,kj->ik", a, a), np.float32([[1, 2], [3, 4]]))


@st.composite
def subscripts(draw: st.DrawFn) -> tuple:
    sizes = {label: draw(st.integers(1, 3)) for label in "abcde"}
    labels = st.lists(st.sampled_from("abcde"), min_size=0, max_size=3)
    terms = draw(st.lists(labels, min_size=1, max_size=3))
    present = sorted({c for term in terms for c in term})
    output = draw(st.permutations(present))[: draw(st.integers(0, len(present)))]
    text = ",".join("".join(t) for t in terms) + "->" + "".join(output)
    return text, [tuple(sizes[c] for c in t) for t in terms]


@settings(max_examples=60, deadline=None)
@given(subscripts())
def test_generated_einsums(case: tuple) -> None:
    text, shapes = case
    arrays = [RNG.normal(size=shape) for shape in shapes]
    check(lambda *xs: np.einsum(text, *xs), *arrays)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="not aligned"):
        pb.grad(lambda a: np.sum(a @ A))(A)
    with pytest.raises(ValueError, match="shape-mismatch"):
        pb.grad(lambda a: np.sum(np.tensordot(a, A, 1)))(A)
    with pytest.raises(ValueError, match="label 'j'"):
        pb.grad(lambda a: np.sum(np.einsum("ij,jk", a, a)))(A)
    with pytest.raises(ValueError, match="einsum"):
        pb.grad(lambda a: np.sum(np.einsum("ijk->k", a)))(A)


@pytest.mark.parametrize(("n", "k", "m"), [(2, 3, 0), (0, 3, 2), (2, 0, 3)])
def test_gradients_of_stacks_of_rows_without_elements(n, k, m):
    x, w = np.ones((2, n, k)), np.ones((k, m))
    for compiled in (lambda f: f, pb.compile):
        f = compiled(pb.grad(lambda x, w: np.sum(x @ w), argnums=(0, 1)))
        for got, operand in zip(f(x, w), (x, w), strict=True):
            expected = {x.shape: m, w.shape: 2 * n}[operand.shape]
            np.testing.assert_array_equal(got, np.full(operand.shape, expected))


@pytest.mark.parametrize("mode", ["full", "same", "valid"])
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("function", [np.convolve, np.correlate])
def test_convolution_multiplies_nothing_with_what_lies_outside(
    function: object, n: int, mode: str
) -> None:
    x, v = np.array([1.0, 2.0, 3.0, -1.0]), np.arange(1.0, n + 1)
    check(lambda x, v: function(x, v, mode), x, v)
    v[0] = np.inf
    for run in (lambda f: lambda x, v: pb.vjp(f, x, v)[0], pb.compile):
        actual = run(lambda x, v: function(x, v, mode))(x, v)
        np.testing.assert_array_equal(actual, function(x, v, mode))


@pytest.mark.parametrize(
    ("f", "words"),
    [
        (lambda x: np.linalg.norm(x, "fro"), "Invalid norm order"),
        (lambda x: np.linalg.norm(x, "nuc"), "Invalid norm order"),
        (lambda x: np.linalg.norm(x.reshape(3, 1, 1), axis=(0, 1, 2)), "Improper number"),
        (lambda x: np.linalg.norm(x.reshape(3, 1, 1), 2), "Improper number"),
        (lambda x: np.linalg.norm(x.reshape(3, 1, 1), "fro"), "Improper number"),
        (lambda x: np.linalg.norm(x, axis=()), "Improper number"),
        (lambda x: np.einsum("...->", x), "output"),
        (lambda x: np.einsum("...,i->i", x, x), "output"),
    ],
)
def test_products_and_norms_that_numpy_refuses(f: object, words: str) -> None:
    x = np.ones(3)
    with pytest.raises(ValueError):  # noqa: PT011 (NumPy's own words)
        f(x)
    with pytest.raises(ValueError, match=words):
        pb.vjp(f, x)


# -- norms at zero --------------------------------------------------------------------------------
P_NORMS = [None, 1, 1.5, 2, 3, 3.5, 4, np.inf]


@pytest.mark.parametrize("order", P_NORMS)
@pytest.mark.parametrize("n", [0, 1, 3])
def test_the_subgradient_of_a_norm_at_zero_is_zero_in_every_mode(order: object, n: int) -> None:
    if order == np.inf and not n:
        return  # NumPy has no largest element of none
    x = np.zeros(n)
    f = lambda x: np.linalg.norm(x, order)
    value, gradient = pb.value_and_grad(f)(x)
    assert value == 0
    np.testing.assert_array_equal(gradient, x)
    np.testing.assert_array_equal(pb.compile(pb.grad(f))(x), x)
    assert pb.jvp(f, (x,), (np.ones(n),))[1] == 0


@pytest.mark.parametrize(
    "f",
    [
        lambda x: np.linalg.norm(x) ** 2,
        lambda x: np.linalg.norm(x, 3.5) ** 2,
        lambda x: np.hypot(x[0], x[1]) ** 2,
        lambda x: np.abs(x[0]) ** 2 + x[1] ** 2,
        lambda x: -np.exp(-(np.linalg.norm(x) ** 2) / 2) * 2,
        lambda x: np.log1p(np.exp(-np.abs(x[0]))) + x[0] / 2 + np.log1p(np.exp(x[1])),
        lambda x: np.std(x) ** 2,
    ],
)
@pytest.mark.parametrize("run", [lambda f: f, pb.compile], ids=["eager", "compiled"])
def test_no_second_derivative_is_built_on_a_choice(f: object, run: object) -> None:
    """NaN, or right: a finite number that is wrong is neither."""
    x = np.zeros(2)
    right = pb.hessian(lambda x: f(x + 1e-3))(x)
    with np.errstate(all="ignore"):
        for hessian in (
            pb.hessian(f),
            pb.jacobian(pb.grad(f)),
            pb.jacobian(pb.grad(f), mode="forward"),
        ):
            found = run(hessian)(x)
            assert np.all(np.isnan(found) | (np.abs(found - right) < 0.01))


def test_second_derivatives_away_from_zero() -> None:
    x = np.array([0.3, -0.4])
    np.testing.assert_allclose(
        pb.hessian(lambda x: np.linalg.norm(x) ** 2)(x), 2 * np.eye(2), atol=1e-14
    )
    np.testing.assert_allclose(
        pb.hessian(lambda x: np.hypot(*x) ** 2)(x), 2 * np.eye(2), atol=1e-14
    )
    np.testing.assert_allclose(
        pb.hessian(lambda x: np.sum(np.abs(x) ** 2))(x), 2 * np.eye(2), atol=1e-14
    )
    # What the choice has no part in keeps its second derivative at the kink.
    np.testing.assert_array_equal(pb.hessian(lambda x: np.sum(np.abs(x)))(0 * x), 0 * np.eye(2))
    huber = lambda x: np.sum(np.where(np.abs(x) < 1, x**2 / 2, np.abs(x) - 0.5))
    np.testing.assert_allclose(pb.hessian(huber)(0 * x), np.eye(2))

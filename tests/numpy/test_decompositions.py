"""Factorizations and what is made of them, against NumPy and differences; repeated values."""

import numpy as np
import pytest
from tests.numpy.oracle import check, check_values

import pullback as pb
from pullback.errors import NotDifferentiableError, StagingError, UnsupportedError

RNG = np.random.default_rng(11)
L = np.linalg


def draw(*shape: int, dtype=float):
    x = RNG.normal(size=shape)
    return x + 1j * RNG.normal(size=shape) if dtype is complex else x


A, TALL, WIDE, STACK = draw(3, 3), draw(4, 2), draw(2, 4), draw(2, 3, 2)
COMPLEX, CTALL, CSTACK = (draw(*s, dtype=complex) for s in ((3, 3), (4, 2), (2, 3, 3)))
B = draw(3, 2)
T = draw(2, 3, 6)


def outer(w, v):
    """Of eigenvectors, what does not depend on their phases."""
    return np.einsum("...ij,...j,...kj->...ik", v, np.sin(w), np.conj(v))


CASES = {
    "eigh": (lambda a: tuple(L.eigh(a)), A),
    "eigh upper": (lambda a: tuple(L.eigh(a, UPLO="u")), A),
    "eigh stack": (lambda a: outer(*L.eigh(a)), CSTACK),
    "eigh complex": (lambda a: outer(*L.eigh(a, "U")), COMPLEX),
    "eigvalsh": (L.eigvalsh, COMPLEX),
    "eigvalsh upper": (lambda a: L.eigvalsh(a, "U"), A),
    "eig complex": (lambda a: tuple(L.eig(a)), COMPLEX),
    "eigvals complex": (L.eigvals, CSTACK),
    "svd": (lambda a: tuple(L.svd(a)), A),
    "svd thin": (lambda a: tuple(L.svd(a, full_matrices=False)), TALL),
    "svd wide": (lambda a: tuple(L.svd(a, full_matrices=False)), WIDE),
    "svd stack": (lambda a: tuple(L.svd(a, full_matrices=False)), STACK),
    "svdvals": (L.svdvals, CTALL),
    "svd values": (lambda a: L.svd(a, compute_uv=False), CSTACK),
    "svd hermitian": (lambda a: L.svd(a, hermitian=True, compute_uv=False), A),
    "qr": (lambda a: tuple(L.qr(a)), A),
    "qr tall": (lambda a: tuple(L.qr(a)), CTALL),
    "qr wide": (lambda a: tuple(L.qr(a)), WIDE),
    "qr r": (lambda a: L.qr(a, "r"), STACK),
    "qr complete": (lambda a: tuple(L.qr(a, "complete")), COMPLEX),
    "pinv": (L.pinv, TALL),
    "pinv complex": (lambda a: L.pinv(a, rcond=1e-10), CTALL),
    "pinv stack": (L.pinv, STACK),
    "pinv hermitian": (lambda a: L.pinv(a, hermitian=True), A + A.T + 4 * np.eye(3)),
    "lstsq": (lambda a, b: L.lstsq(a, b)[0], TALL, draw(4, 3)),
    "lstsq wide": (lambda a, b: L.lstsq(a, b)[0], WIDE, draw(2)),
    "lstsq residuals": (lambda a, b: L.lstsq(a, b)[1], CTALL, draw(4, dtype=complex)),
    "norm": (lambda a: [L.norm(a, p) for p in (None, "fro", "nuc", 1, -1, 2, -2, np.inf)], A),
    "norm complex": (lambda a: [L.norm(a, p) for p in ("nuc", 1, 2, -2)], COMPLEX),
    "norm axes": (lambda a: L.norm(a, "nuc", axis=(0, 2), keepdims=True), CSTACK),
    "matrix_norm": (lambda a: L.matrix_norm(a, ord=2), STACK),
    "vector norms": (lambda a: [L.norm(a, p, axis=0) for p in (0.5, 1, 2, 3, np.inf)], CTALL),
    "cond": (lambda a: [L.cond(a, p) for p in (None, 2, -2, 1, np.inf, "fro", "nuc")], A),
    "cond tall": (L.cond, CTALL),
    "matrix_power": (lambda a: L.matrix_power(a, 3) + L.matrix_power(a, -2), COMPLEX),
    "multi_dot": (lambda a, b: L.multi_dot([a, a, b]), A, B),
    "tensorsolve": (L.tensorsolve, T + 4 * np.eye(6).reshape(2, 3, 6), draw(2, 3)),
    "tensorsolve axes": (
        lambda a, b: L.tensorsolve(a, b, (0,)),
        4 * np.eye(6).reshape(6, 2, 3) + draw(6, 2, 3),
        draw(2, 3),
    ),
    "tensorinv": (lambda a: L.tensorinv(a, ind=2), T),
    "solve complex": (L.solve, COMPLEX, draw(3, dtype=complex)),
    "solve mixed": (L.solve, A, draw(3, 2, dtype=complex)),
    "inv complex": (L.inv, CSTACK),
    "det complex": (L.det, CSTACK),
    "slogdet complex": (lambda a: tuple(L.slogdet(a)), CSTACK),
    "cholesky complex": (lambda a: L.cholesky(a @ a.conj().T), COMPLEX),
    "cholesky upper": (lambda a: L.cholesky(a @ a.conj().T, upper=True), COMPLEX),
}


@pytest.mark.parametrize("name", CASES)
def test_against_numpy_and_differences(name: str) -> None:
    function, *args = CASES[name]
    check(function, *args, staged="eig" not in name or "h" in name or "complex" in name)


@pytest.mark.parametrize(
    "f",
    [
        lambda a: outer(*L.eigh(a)),
        lambda a: np.abs(L.svd(a, full_matrices=False)[0]) ** 2,
        lambda a: np.abs(L.svd(a)[2]) ** 2 @ a,
        lambda a: L.pinv(a[:, :2]) @ a,
        lambda a: L.eigvals(a.astype(complex)) ** 2,
        lambda a: L.qr(a[:, :2])[0] ** 2,
        lambda a: L.slogdet(a)[1] * L.slogdet(a)[0],
        lambda a: L.norm(a, "nuc") * L.norm(a, 2),
    ],
)
def test_second_derivatives(f) -> None:
    pb.check_grads(f, (COMPLEX,), rtol=1e-5)
    pb.check_grads(f, (A @ A.T + np.diag([0, 3.0, 7]) + 0.1 * A,), rtol=1e-6)


def test_the_tuples_have_names() -> None:
    def f(a):
        parts = (
            L.eigh(a).eigenvalues,
            L.eig(a + 3 * np.eye(3) @ a.T @ a).eigenvectors,
            L.svd(a).S,
            L.qr(a).R,
            L.slogdet(a).logabsdet,
        )
        return sum(np.sum(np.abs(part)) for part in parts)

    assert np.isfinite(pb.grad(f)(A)).all()


def test_real_eigenvalues_of_real_matrices_are_real() -> None:
    real, turning = np.array([[2.0, 1.0], [0.5, 1.0]]), np.array([[1.0, 3.0], [-2.0, 1.0]])
    for a in (real, turning):
        check(lambda a: tuple(L.eig(a)), a, staged=False)
        assert pb.vjp(L.eigvals, a)[0].dtype == L.eigvals(a).dtype
    if L.eigvals(real).dtype.kind == "c":  # as it always is since NumPy 2.5
        assert pb.compile(L.eigvals)(real).dtype.kind == "c"
    else:
        with pytest.raises(StagingError, match="whether all eigenvalues are real"):
            pb.compile(L.eigvals)(real)
    found = pb.compile(lambda a: L.eigvals(a.astype(complex)))(real)
    np.testing.assert_allclose(np.sort(found), np.sort(L.eigvals(real) + 0j))


def test_ranks() -> None:
    low = np.outer([1.0, 2, 3], [1.0, 0, 1])
    for a in (A, low, 0 * A, np.stack([A, low])):
        check_values(L.matrix_rank, a)
        check_values(lambda a: L.matrix_rank(a, tol=0.5), a)
        check_values(lambda a: L.matrix_rank(a, rtol=0.2), a)
    found = pb.vjp(lambda a: L.lstsq(a, A)[0], low)[0]
    np.testing.assert_allclose(found, L.lstsq(low, A)[0], atol=1e-14)
    x, residuals, rank, s = L.lstsq(low, A)
    pb.vjp(lambda a: [np.testing.assert_array_equal(L.lstsq(a, A)[2], rank), a][1], low)
    assert pb.vjp(lambda a: L.lstsq(a, A)[1], low)[0].shape == residuals.shape == (0,)
    del x, s


# -- repeated values ------------------------------------------------------------------------------
def test_symmetric_functions_of_repeated_eigenvalues() -> None:
    """tr exp(x) and tr x^3 have the derivatives exp(x) and 3 x^2, wherever eigenvalues meet."""
    for x in (np.eye(3), np.diag([1.0, 1.0, 2.0]), np.zeros((3, 3))):
        found = pb.grad(lambda x: np.sum(np.exp(L.eigvalsh(x))))(x)
        np.testing.assert_allclose(found + found.T, 2 * np.diag(np.exp(np.diag(x))))
        u = RNG.normal(size=(3, 3))
        u = u + u.T
        _, slope = pb.jvp(lambda x: np.sum(L.eigvalsh(x) ** 3), (x,), (u,))
        np.testing.assert_allclose(slope, 3 * np.trace(x @ x @ u), atol=1e-14)
        for f in (pb.grad, lambda f: pb.compile(pb.grad(f))):
            found = f(lambda x: np.sum(L.svdvals(x) ** 2))(x)
            np.testing.assert_allclose(found, 2 * x, atol=1e-14)


def test_norms_and_low_ranks_at_repeated_singular_values() -> None:
    q = L.qr(RNG.normal(size=(4, 4)))[0]
    v = L.qr(RNG.normal(size=(3, 3)))[0]
    x = (q[:, :3] * [3.0, 3.0, 3.0]) @ v.T
    np.testing.assert_allclose(pb.grad(lambda x: L.norm(x, "nuc"))(x), x / 3, atol=1e-14)
    low = (q[:, :3] * [5.0, 2.0, 0.0]) @ v.T  # one singular value is zero
    two = (q[:, :4] * [5.0, 2.0, 0.0, 0.0]) @ L.qr(RNG.normal(size=(4, 4)))[0].T  # two are
    for a in (low, two):

        def best(x):
            u, s, vh = L.svd(x, full_matrices=False)
            return np.sum(np.sin((u[:, :2] * s[:2]) @ vh[:2]))

        u = RNG.normal(size=a.shape)
        h = 1e-5
        expected = (best(a + h * u) - best(a - h * u)) / (2 * h)
        np.testing.assert_allclose(np.sum(pb.grad(best)(a) * u), expected, rtol=1e-6)
        np.testing.assert_allclose(pb.jvp(best, (a,), (u,))[1], expected, rtol=1e-6)
    np.testing.assert_allclose(
        pb.grad(lambda x: L.norm(x, "nuc"))(low), q[:, :2] @ v[:, :2].T, atol=1e-14
    )


def test_vectors_of_repeated_values_are_refused() -> None:
    with pytest.raises(NotDifferentiableError, match="vectors of a repeated value"):
        pb.grad(lambda x: np.sum(L.eigh(x)[1]))(np.eye(2))
    with pytest.raises(NotDifferentiableError, match="test_decompositions"):
        pb.grad(lambda x: np.sum(L.svd(x)[0] * np.arange(4.0).reshape(2, 2)))(np.eye(2))

    def restored(x):  # the right answer exists, but not from here: see the sharp bits
        u, s, vh = L.svd(x)
        return np.sum((u * s) @ vh)

    with pytest.raises(NotDifferentiableError, match="use the values alone"):
        pb.grad(restored)(np.eye(2))
    assert np.isnan(pb.compile(pb.grad(restored))(np.eye(2))).all()
    assert np.isnan(pb.jvp(restored, (np.eye(2),), (np.ones((2, 2)),))[1])


def test_what_has_no_form_is_refused_with_a_remedy() -> None:
    with pytest.raises(UnsupportedError, match="use 'reduced'"):
        pb.grad(lambda a: np.sum(L.qr(a, "complete")[0]))(TALL)
    with pytest.raises(ValueError, match="UPLO argument"):
        pb.vjp(lambda a: L.eigvalsh(a, "X"), A)
    with pytest.raises(ValueError, match="Invalid norm order"):
        pb.vjp(lambda a: L.norm(a, 3), A)
    with pytest.raises(ValueError, match="both set"):
        pb.vjp(lambda a: L.pinv(a, 1e-3, rtol=1e-3), A)


def test_triangular_systems_are_solved_as_such() -> None:
    lower = np.tril(RNG.normal(size=(20, 20))) + 5 * np.eye(20)
    b = RNG.normal(size=(20, 2))
    for a in (lower, lower.T, lower + 1j * np.tril(lower), lower.astype("f")):
        check_values(L.solve, a.astype("d") if a.dtype == "f" else a, b)
        pb.check_grads(L.solve, (a.astype(np.result_type(a, "d")), b), order=1)
    with pytest.raises(L.LinAlgError, match="Singular"):
        pb.vjp(L.solve, np.tril(np.ones((20, 20))) - np.eye(20), b)


@pytest.mark.parametrize("run", [lambda f, x: pb.vjp(f, x), lambda f, x: pb.compile(f)(x)])
@pytest.mark.parametrize(
    "name", ["det", "inv", "cholesky", "eigh", "eigvalsh", "svd", "slogdet", "qr", "pinv"]
)
def test_a_vector_is_no_matrix(name, run) -> None:
    with pytest.raises(L.LinAlgError):
        getattr(L, name)(np.ones(3))
    with pytest.raises(L.LinAlgError):
        run(getattr(L, name), np.ones(3))

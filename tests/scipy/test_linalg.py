"""Linear algebra against SciPy and differences."""

import numpy as np
import pytest
import scipy.linalg
from numpy.testing import assert_allclose

import pullback as pb
from pullback.errors import ArgumentError, DTypeError, ForeignArrayError, UnsupportedError

own = pb.scipy.linalg
RNG = np.random.default_rng(0)
A = RNG.normal(size=(3, 3)) + 4 * np.eye(3)
S = A @ A.T
C = A + 0.5j * RNG.normal(size=(3, 3))
V, W = RNG.normal(size=3), RNG.normal(size=(3, 2))
BANDS = np.array([[0, 0, 0.4, 0.1], [0, 0.5, -0.3, 0.2], [3, 4, 3, 5], [0.3, 0.2, 0.9, 0]])
CASES = [
    ("solve", (A, V), {}),
    ("solve", (A, W), {"transposed": True}),
    ("solve", (C, W), {}),
    ("solve", (S, W), {"assume_a": "pos", "lower": True}),
    ("solve_triangular", (A, W), {}),
    ("solve_triangular", (C, W), {"trans": 1, "lower": True}),
    ("solve_triangular", (A, V), {"trans": "C", "unit_diagonal": True}),
    ("solve_banded", ((1, 2), BANDS, np.append(V, 1.0)), {}),
    ("solve_sylvester", (A, S, W @ W.T), {}),
    ("solve_continuous_lyapunov", (A, S), {}),
    ("solve_toeplitz", ((9 * np.eye(3)[0] + V, 9 * np.eye(3)[0] + V), V), {}),
    ("cholesky", (S,), {}),
    ("cholesky", (C @ C.conj().T,), {"lower": True}),
    ("inv", (A,), {}),
    ("det", (A,), {}),
    ("expm", (A / 4,), {}),
    ("expm", (C / 4,), {}),
    ("sqrtm", (S,), {}),
    ("logm", (S,), {}),
    ("cosm", (A / 4,), {}),
    ("sinm", (A / 4,), {}),
    ("tanhm", (A / 4,), {}),
    ("eigvalsh", (S,), {}),
    ("eigvalsh", (A + A.T, S), {}),
    ("svdvals", (W,), {}),
    ("pinv", (W,), {}),
    ("qr", (A,), {"mode": "economic"}),
    ("norm", (A,), {}),
    ("block_diag", (A, W, V), {}),
    ("toeplitz", (V, W[:, 0]), {}),
    ("circulant", (V,), {}),
]


@pytest.mark.parametrize(("name", "args", "options"), CASES)
def test_values_and_derivatives(name: str, args: tuple, options: dict) -> None:
    expected = getattr(scipy.linalg, name)(*args, **options)
    found = getattr(own, name)(*args, **options)
    pairs = zip(found, expected, strict=True) if name == "qr" else [(found, expected)]
    for one, two in pairs:
        assert_allclose(abs(one) if name == "qr" else one, abs(two) if name == "qr" else two,
                        rtol=1e-9, atol=1e-11)  # fmt: skip
    fixed = 1 if name == "solve_banded" else 0
    operands = args[fixed:]

    def function(*operands: object) -> object:
        return getattr(own, name)(*args[:fixed], *operands, **options)

    pb.check_grads(function, operands, order=1 if name in ("pinv", "eigvalsh") else 2)


def test_cholesky_factors_solve() -> None:
    for lower in (False, True):
        c, flag = own.cho_factor(S, lower)
        expected, _ = scipy.linalg.cho_factor(S, lower)
        assert_allclose(c, expected)
        assert_allclose(own.cho_solve((c, flag), V), np.linalg.solve(S, V))
        pb.check_grads(lambda s, b, lower=lower: own.cho_solve(own.cho_factor(s, lower), b), (S, W))


def test_generalised_eigenvectors() -> None:
    w, v = own.eigh(A + A.T, S)
    assert_allclose((A + A.T) @ v, S @ v * w, atol=1e-12)
    assert_allclose(v.T @ S @ v, np.eye(3), atol=1e-13)


def test_batches_and_compiled() -> None:
    stack = np.stack([A / 4, A / 5])
    trace = lambda a: np.trace(own.expm(a) @ own.expm(a))
    gradient = pb.grad(trace)
    expected = np.stack([gradient(a) for a in stack])
    assert_allclose(pb.vmap(gradient)(stack), expected)
    assert_allclose(pb.compile(gradient)(stack[0]), expected[0])
    bands = lambda b: own.solve_banded((1, 2), BANDS, b)
    many = RNG.normal(size=(2, 4))
    assert_allclose(pb.vmap(bands)(many), np.stack([bands(b) for b in many]))


def test_refusals_name_what_to_write() -> None:
    with pytest.raises(ForeignArrayError, match=r"scipy.linalg.solve reads(.*\n)*.*"
                       r"use pullback.scipy.linalg.solve") as caught:  # fmt: skip
        pb.grad(lambda b: np.sum(scipy.linalg.solve(A, b)))(V)
    assert "test_linalg.py" in str(caught.value)
    with pytest.raises(UnsupportedError, match="pivoting=True"):
        own.qr(A, pivoting=True)
    with pytest.raises(UnsupportedError, match="assume_a='banded'"):
        own.solve(A, V, assume_a="banded")
    with pytest.raises(DTypeError, match="sqrtm of this real matrix is complex"):
        own.sqrtm(-S)
    with pytest.raises(ArgumentError, match=r"pass ab of shape \(4, 3\)"):
        own.solve_banded((1, 2), BANDS, V)

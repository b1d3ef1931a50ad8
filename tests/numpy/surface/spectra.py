"""Calls of ``numpy.fft``, ``numpy.linalg`` and the functions that may answer in complex numbers."""

from __future__ import annotations

import numpy as np
from tests.numpy.surface.judge import OUT, A

X = np.array([[0.35, 1.62, -0.81, 0.5], [2.44, 0.27, -0.71, 1.1], [-1.3, 0.9, 0.15, 3.2]])
Y = np.array([1.3, 0.6, 2.2, 0.4])
Z = np.array([[0.7, -0.4, 1.9], [2.1, 0.3, -1.2]])
SQUARE = X[:, :3] + 3 * np.eye(3)
POSITIVE = SQUARE @ SQUARE.T
POINTS = np.array([0.1, 0.7, 1.1, 2.0])
TENSOR = np.reshape(np.diag(Y + 1) + np.outer(Y, POINTS) / 4, (4, 2, 2))

ONE = [A(X), A(X, n=5), A(X, axis=0), A(X, norm="ortho"), A(X, 3, -1, "forward"), A(X, out=OUT)]
MANY = [A(X), A(X, s=(5, 3), axes=(0, 1)), A(X, axes=(1,)), A(X, norm="ortho"), A(X, out=OUT)]
PLANE = [A(X), A(X, s=(5, 3)), A(X, axes=(1, 0)), A(X, norm="forward"), A(X, out=OUT)]
ORDERS = (1, 2, 3, 0.5, 0, np.inf, -np.inf)

CALLS: dict[str, list[A]] = {
    "angle": [A(X), A(X, deg=True)],
    "sort_complex": [A(Y)],
    "polyfit": [
        A(POINTS, Y, 1),
        A(POINTS, Y, deg=2, w=Y),
        A(POINTS, Y, 1, rcond=1e-12),
        A(POINTS, Y, 1, full=True),
        A(POINTS, Y, 1, cov=True),
    ],
    "roots": [A(np.array([1.0, -6.5, 11.2, -6.1]))],
    **{f"fft.{name}": ONE for name in ("fft", "ifft", "rfft", "irfft", "hfft", "ihfft")},
    **{f"fft.{name}": MANY for name in ("fftn", "ifftn", "rfftn", "irfftn")},
    **{f"fft.{name}": PLANE for name in ("fft2", "ifft2", "rfft2", "irfft2")},
    **{f"fft.{name}": [A(X), A(X, axes=1)] for name in ("fftshift", "ifftshift")},
    "linalg.cond": [A(SQUARE), *(A(SQUARE, p=p) for p in (2, -2, 1, "fro", "nuc", np.inf))],
    "linalg.eig": [A(SQUARE)],
    "linalg.eigh": [A(POSITIVE), A(POSITIVE, UPLO="U")],
    "linalg.eigvals": [A(SQUARE)],
    "linalg.eigvalsh": [A(POSITIVE), A(POSITIVE, UPLO="U")],
    "linalg.lstsq": [A(X.T, Y), A(X, Z.T), A(X.T, Y, rcond=1e-9)],
    "linalg.matrix_rank": [A(X), A(X, tol=1.0), A(X, rtol=0.5), A(SQUARE, hermitian=True)],
    "linalg.pinv": [A(X), A(X, rcond=1e-9), A(X, rtol=1e-9), A(POSITIVE, hermitian=True)],
    "linalg.qr": [A(X), A(SQUARE, mode="complete"), A(X.T, mode="r"), A(X.T, mode="complete")],
    "linalg.svd": [
        A(SQUARE),
        A(X, full_matrices=False),
        A(X, compute_uv=False),
        A(POSITIVE, hermitian=True, compute_uv=False),
    ],
    "linalg.svdvals": [A(X)],
    "linalg.tensorinv": [A(TENSOR, ind=1)],
    "linalg.tensorsolve": [A(TENSOR, Y), A(TENSOR.T, Y, axes=(0, 1))],
    "linalg.cholesky": [A(POSITIVE), A(POSITIVE, upper=True)],
    "linalg.cross": [A(Z, Z[::-1]), A(Z.T, Z[::-1].T, axis=0)],
    "linalg.det": [A(SQUARE)],
    "linalg.diagonal": [A(X), A(X, offset=1)],
    "linalg.inv": [A(SQUARE)],
    "linalg.matmul": [A(X, X.T)],
    "linalg.matrix_norm": [A(X), A(X, ord=1, keepdims=True)],
    "linalg.matrix_power": [A(SQUARE, 3), A(SQUARE, -2)],
    "linalg.matrix_transpose": [A(X)],
    "linalg.multi_dot": [A([X, X.T, X]), A([X, X.T, X], out=OUT)],
    "linalg.norm": [
        A(X),
        *(A(Y, ord=p) for p in ORDERS),
        *(A(X, ord=p) for p in ("fro", "nuc", 1, -1, 2, -2, np.inf, -np.inf)),
        A(X, axis=1, keepdims=True),
    ],
    "linalg.outer": [A(Y, Y)],
    "linalg.slogdet": [A(SQUARE)],
    "linalg.solve": [A(SQUARE, Z.T), A(SQUARE, Z[0])],
    "linalg.tensordot": [A(X, Y, axes=1)],
    "linalg.trace": [A(SQUARE), A(X, offset=1, dtype=np.float64)],
    "linalg.vecdot": [A(X, Y), A(X, X, axis=0)],
    "linalg.vector_norm": [
        A(X),
        A(X, axis=0, keepdims=True),
        *(A(Y, ord=p) for p in ORDERS),
    ],
}

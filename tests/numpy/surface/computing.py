"""Calls of the functions that compute: products, polynomials, differences, tests, text."""

from __future__ import annotations

import io

import numpy as np
from tests.numpy.surface.judge import OUT, A

X = np.array([[0.35, 1.62, -0.81, 0.5], [2.44, 0.27, -0.71, 1.1], [-1.3, 0.9, 0.15, 3.2]])
Y = np.array([1.3, 0.6, 2.2, 0.4])
Z = np.array([[0.7, -0.4, 1.9], [2.1, 0.3, -1.2]])
N = np.array([0.3, np.nan, np.inf, -np.inf])
TIMES = np.array([0.1, 0.7, 1.1, 2.0])
PHASES = np.array([0.1, 3.0, 6.2, 9.9])
TRUTH = np.array([True, False, True, True])
BYTES = np.array([[7, 200], [1, 255]], np.uint8)
SQUARE = X[:, :3] + 3 * np.eye(3)
POSITIVE = SQUARE @ SQUARE.T
CLOSE = [A(X, X + 1e-9), A(X, X + 0.1, rtol=0.5, atol=0.1), A(N, N, equal_nan=True)]
PRODUCT = [A(X, Y), A(X, X.T)]
NORM = [A(X), A(X, axis=0, keepdims=True), *(A(Y, ord=p) for p in (0, 1, 2, 3, np.inf, -np.inf))]

CALLS: dict[str, list[A]] = {
    # -- products
    "dot": [*PRODUCT, A(X, Y, out=OUT)],
    "inner": PRODUCT[:1],
    "outer": [A(X, Y), A(X, Y, out=OUT)],
    "vdot": [A(X, 2 * X)],
    "kron": PRODUCT,
    "tensordot": [A(X, X, axes=2), A(X, Y, axes=1), A(X, X.T, ([0, 1], [1, 0]))],
    "cross": [A(Z, Z[::-1]), A(Z.T, Z.T, axisa=0, axisb=0, axisc=0), A(Z.T, Z[::-1].T, axis=0)],
    "convolve": [A(X[0], Z[0]), *(A(X[0], Z[0], mode=m) for m in ("full", "same", "valid"))],
    "correlate": [A(X[0], Z[0]), *(A(X[0], Z[0], mode=m) for m in ("full", "same", "valid"))],
    "einsum": [
        A("ij,kj->ik", X, X),
        A("ij,j", X, Y),
        A("...j->...", X),
        A("ii->i", SQUARE),
        A("ij,jk,kl->il", X.T, X, X.T, optimize=True),
        A(X, [0, 1], Y, [1], [0]),
        A("ij->j", X, out=OUT),
        A("ij->j", X, dtype=np.float64),
        A("ij->j", X, casting="safe"),
        A("ij->j", X, order="C"),
    ],
    "einsum_path": [A("ij,jk->ik", X, X.T), A("ij,jk->ik", X, X.T, optimize="optimal")],
    # -- differences and sums along an axis
    "diff": [A(X), A(X, n=2, axis=0), A(Y, prepend=0.5, append=Y)],
    "ediff1d": [A(X), A(Y, to_end=Y, to_begin=0.5)],
    "gradient": [A(Y), A(Y, TIMES), A(X, axis=1), A(X, 0.5, 2.0), A(Y, edge_order=2)],
    "trapezoid": [A(X), A(X, x=TIMES), A(X, dx=0.5, axis=0)],
    "interp": [
        A(Y, TIMES, X[0]),
        A(X[2], TIMES, X[0], left=-1.0),
        A(X[2], TIMES, X[0], right=5.0),
        A(X[2], TIMES, X[0], period=2.6),
    ],
    "unwrap": [A(PHASES), A(PHASES, discont=4.0), A(PHASES[None], axis=1, period=5.0)],
    "cov": [
        A(X),
        A(X[0], Y),
        A(X, rowvar=False),
        A(X, bias=True),
        A(X, ddof=0),
        A(X, fweights=np.array([1, 2, 1, 3])),
        A(X, aweights=Y),
        A(X, dtype=np.float64),
    ],
    "corrcoef": [A(X), A(X[0], y=Y), A(X, rowvar=False, dtype=np.float64)],
    # -- elementwise
    "clip": [
        A(X, -0.5, 1.0),
        A(X, min=-0.5, max=1.0),
        A(X, a_min=0.0, a_max=Y),
        A(X, 0, 1, out=OUT),
        A(X, -0.5, 1.0, dtype=np.float64),
    ],
    "round": [A(Z), A(Z, decimals=1), A(Z, 1, out=OUT)],
    "around": [A(Z), A(Z, decimals=-1), A(Z, 1, out=OUT)],
    "fix": [A(X), A(X, out=OUT)],
    "nan_to_num": [A(N[:2]), A(N, copy=True, nan=1.0, posinf=2.0, neginf=3.0)],
    "real": [A(X)],
    "imag": [A(X)],
    "real_if_close": [A(X), A(X, tol=10)],
    "sinc": [A(X)],
    "i0": [A(X)],
    # -- polynomials
    "poly": [A(Y)],
    "polyadd": [A(Y, Z[0])],
    "polysub": [A(Y, Z[0])],
    "polymul": [A(Y, Z[0])],
    "polydiv": [A(Y, Z[0])],
    "polyval": [A(Y, X)],
    "polyder": [A(Y), A(Y, m=2)],
    "polyint": [A(Y), A(Y, m=2, k=[0.5, 1.5])],
    # -- questions
    "isclose": CLOSE,
    "allclose": CLOSE,
    "array_equal": [A(X, X), A(N, N, equal_nan=True)],
    "array_equiv": [A(X, X)],
    "isneginf": [A(N), A(N, out=OUT)],
    "isposinf": [A(N), A(N, out=OUT)],
    "isreal": [A(X)],
    "iscomplex": [A(X)],
    "isrealobj": [A(X)],
    "iscomplexobj": [A(X)],
    "can_cast": [A(np.float64, np.float32), A(np.float64, np.float32, casting="same_kind")],
    "common_type": [A(X, Y)],
    "min_scalar_type": [A(X)],
    "result_type": [A(X, np.float32)],
    "packbits": [A(TRUTH), A(TRUTH[None], axis=1, bitorder="little")],
    "unpackbits": [A(BYTES), A(BYTES, axis=1, count=3, bitorder="little")],
    # -- text and files
    "array2string": [
        A(Y),
        A(
            Y,
            precision=2,
            separator=", ",
            prefix="x",
            suffix="y",
            max_line_width=60,
            suppress_small=True,
            formatter=None,
            threshold=9,
            edgeitems=2,
            sign="+",
            floatmode="fixed",
            legacy=False,
        ),
    ],
    "array_repr": [A(Y), A(Y, max_line_width=60, precision=2, suppress_small=True)],
    "array_str": [A(Y), A(Y, max_line_width=60, precision=2, suppress_small=True)],
    "save": [A(io.BytesIO(), X), A(io.BytesIO(), X, allow_pickle=False)],
    "savetxt": [
        A(io.BytesIO(), X),
        A(
            io.BytesIO(),
            X,
            fmt="%.2f",
            delimiter=",",
            header="h",
            newline="\n",
            footer="f",
            comments="#",
            encoding="utf8",
        ),
    ],
    "savez": [A(io.BytesIO(), X), A(io.BytesIO(), x=X, allow_pickle=False)],
    "savez_compressed": [A(io.BytesIO(), X), A(io.BytesIO(), x=X, allow_pickle=False)],
}

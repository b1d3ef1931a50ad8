"""Calls of the functions that shape, join, pick and write."""

from __future__ import annotations

import numpy as np
from tests.numpy.surface.judge import OUT, A, Writes

X = np.arange(12.0).reshape(3, 4) ** 1.5 + 0.5
Y = np.array([1.3, 0.6, 2.2, 0.4])
V = X[None]
MASK = X > 5
WHICH = np.array([[2, 0, 1, 3]])
JOIN = [A([X, X]), A((X, 2 * X))]
KINDS = [A([X, X], dtype=np.float32, casting="same_kind")]
PARTS = [A(X, 2), A(X, [1])]


def pads(mode: str, **options: object) -> list[A]:
    return [A(X, 2, mode), A(X, ((1, 0), (2, 3)), mode=mode, **options)]


CALLS: dict[str, list[A]] = {
    # -- shape
    "shape": [A(X)],
    "ndim": [A(X)],
    "size": [A(X), A(X, axis=1)],
    "reshape": [
        A(X, (4, 3)),
        A(X, -1),
        A(X, shape=(2, 6)),
        A(X, (6, 2), order="F"),
        A(X, (6, 2), copy=True),
    ],
    "ravel": [A(X), A(X, order="F")],
    "resize": [A(X, (2, 3)), A(X, new_shape=(4, 5))],
    "transpose": [A(X), A(X, axes=(1, 0))],
    "permute_dims": [A(X), A(X, axes=(1, 0))],
    "matrix_transpose": [A(X)],
    "swapaxes": [A(X, 0, 1)],
    "moveaxis": [A(V, 0, -1), A(V, [0, 1], [1, 0])],
    "rollaxis": [A(V, 2), A(V, 2, start=1)],
    "expand_dims": [A(X, 0), A(X, (0, 2))],
    "squeeze": [A(V), A(V, axis=0)],
    "broadcast_to": [A(Y, (3, 4)), A(Y, shape=(3, 4), subok=True)],
    "broadcast_arrays": [A(X, Y), A(X, Y, subok=True)],
    "atleast_1d": [A(np.array(2.0), Y)],
    "atleast_2d": [A(Y)],
    "atleast_3d": [A(Y, X)],
    "flip": [A(X), A(X, axis=1)],
    "fliplr": [A(X)],
    "flipud": [A(X)],
    "roll": [A(X, 2), A(X, (1, 2), axis=(0, 1))],
    "rot90": [A(X), A(X, k=2), A(V, axes=(1, 2))],
    "copy": [A(X), A(X, order="F"), A(X, subok=True)],
    "astype": [A(X, np.float32), A(X, np.float64, copy=False), A(X, np.float64, device="cpu")],
    # -- joining and splitting
    "concatenate": [*JOIN, A([X, X], axis=1), A([X, X], axis=None), A([X, X], out=OUT), *KINDS],
    "stack": [*JOIN, A([X, X], axis=-1), A([X, X], out=OUT), *KINDS],
    "hstack": [*JOIN, *KINDS],
    "vstack": [*JOIN, *KINDS],
    "row_stack": [*JOIN, *KINDS],
    "dstack": JOIN,
    "column_stack": [*JOIN, A([Y, Y])],
    "block": [A([[X, X], [X, 2 * X]]), A([Y, Y])],
    "append": [A(X, Y), A(X, X, axis=0)],
    "split": [*PARTS[1:], A(X, 2, axis=1)],
    "array_split": [*PARTS, A(X, 3, axis=1)],
    "hsplit": PARTS,
    "vsplit": [A(X, 3)],
    "dsplit": [A(V, 2)],
    "unstack": [A(X), A(X, axis=1)],
    "repeat": [A(X, 2), A(X, [1, 0, 2], axis=0)],
    "tile": [A(X, 2), A(Y, (2, 3))],
    "insert": [A(Y, 1, 5.0), A(X, [0, 2], Y, axis=0), A(X, 1, np.ones(3), axis=1)],
    "delete": [A(Y, 1), A(X, [0, 2], axis=1), A(X, slice(1), axis=0)],
    "trim_zeros": [
        A(Y),
        A(Y, trim="f"),
        A(X, axis=0),
    ],
    "pad": [
        A(X, 1),
        *pads("constant", constant_values=((1.0, 2.0), (3.0, 4.0))),
        *pads("edge"),
        *pads("reflect", reflect_type="odd"),
        *pads("symmetric", reflect_type="odd"),
        *pads("wrap"),
        *pads("linear_ramp", end_values=1.5),
        *pads("mean", stat_length=2),
        *pads("maximum", stat_length=2),
        *pads("minimum", stat_length=2),
        *pads("median", stat_length=3),
        A(X, {0: 1}, "edge"),
    ],
    # -- parts of a matrix
    "diag": [A(X), A(Y, k=1), A(X, k=-1)],
    "diagflat": [A(X), A(Y, k=-1)],
    "diagonal": [A(X), A(X, offset=1), A(V, axis1=1, axis2=2)],
    "trace": [A(X), A(X, offset=1), A(V, axis1=1, axis2=2, dtype=np.float64), A(V, out=OUT)],
    "tril": [A(X), A(X, k=1)],
    "triu": [A(X), A(X, k=-1)],
    "diag_indices_from": [A(X[:, :3])],
    "tril_indices_from": [A(X), A(X, k=1)],
    "triu_indices_from": [A(X), A(X, k=1)],
    "ix_": [A(Y, Y)],
    "vander": [A(Y), A(Y, N=3), A(Y, increasing=True)],
    # -- picking
    "take": [
        A(X, [1, 5]),
        A(X, [[0, 2]], axis=1),
        A(X, [1, 7], axis=1, mode="wrap"),
        A(X, [1, 7], 1, mode="clip"),
        A(X, [1, 2], axis=0, out=OUT),
    ],
    "take_along_axis": [A(X, WHICH, axis=1), A(X, WHICH[0], axis=None), A(X, WHICH)],
    "choose": [
        A(WHICH[0], [X[0], X[1], X[2], Y]),
        A(WHICH[0], [X[0], X[1]], mode="wrap"),
        A(WHICH[0], [X[0], X[1]], mode="clip", out=OUT),
    ],
    "compress": [A([1, 0, 1], X, axis=0), A(MASK.ravel(), X), A([1, 1], X, axis=1, out=OUT)],
    "extract": [A(MASK, X)],
    "where": [A(MASK, X, 2 * X), A(MASK)],
    "select": [A([MASK, X < 2], [X, X**2]), A([MASK], [X], default=1.5)],
    "piecewise": [
        A(X, [MASK, X < 1], [lambda x: x**2, 3.0, lambda x: -x]),
        A(X, [MASK], [lambda x, a, b=0: a * x + b, 0.0], 2.0, b=1.0),
    ],
    "unravel_index": [A(WHICH[0], (2, 2)), A(WHICH[0], shape=(2, 2), order="F")],
    "ravel_multi_index": [
        A((WHICH[0], WHICH[0]), (4, 5)),
        A((WHICH[0], WHICH[0]), dims=(2, 2), mode="clip", order="F"),
    ],
    "meshgrid": [A(Y, X[0]), A(Y, X[0], copy=False), A(Y, X[0], sparse=True, indexing="ij")],
    # -- writing
    "copyto": [
        Writes(X, Y),
        Writes(X, Y, casting="same_kind"),
        Writes(X, Y, where=MASK),
    ],
    "put": [
        Writes(X, [0, 5], [1.0, 2.0]),
        Writes(X, [0, 13], Y, mode="wrap"),
        Writes(X, [-1, 50], Y, mode="clip"),
    ],
    "put_along_axis": [Writes(X, WHICH, X[:1], axis=1)],
    "putmask": [Writes(X, MASK, Y)],
    "place": [Writes(X, MASK, Y)],
    "fill_diagonal": [Writes(X, 2.5), Writes(X.T, Y, wrap=True)],
    # -- making
    "array": [
        A([[Y, 2 * Y]]),
        A(Y, dtype=np.float32),
        A(Y, copy=False),
        A(X, order="F"),
        A(Y, subok=True, ndmin=3),
    ],
    "asarray": [A([Y, Y]), A(Y, dtype=np.float32, order="C", copy=True, device="cpu")],
    "asanyarray": [A([Y, Y]), A(Y, dtype=np.float32, order="C", copy=True, device="cpu")],
    "ascontiguousarray": [A(X.T), A(Y, dtype=np.float32)],
    "asfortranarray": [A(X), A(X, dtype=np.float32)],
    "asarray_chkfinite": [A([Y, Y]), A(Y, dtype=np.float32, order="C")],
    "full": [A((3, 4), Y), A((3, 4), Y, dtype=np.float32, order="F", device="cpu")],
    "full_like": [
        A(X, Y),
        A(X, Y, dtype=np.float32, order="C", subok=False, device="cpu"),
        A(X, Y, shape=(2, 4)),
    ],
    **{
        f"{name}_like": [A(X), A(X, dtype=int, order="C", subok=False), A(X, shape=3, device="cpu")]
        for name in ("ones", "zeros")
    },
    "linspace": [
        A(Y, 2 * Y),
        A(Y, 2 * Y, num=5, endpoint=False),
        A(Y, 2 * Y, 4, retstep=True),
        A(Y, 2 * Y, 4, axis=1, dtype=np.float32, device="cpu"),
    ],
    "logspace": [
        A(Y, 2 * Y, 7),
        A(Y, 2 * Y, num=5, endpoint=False),
        A(Y, 2 * Y, 4, base=2.5, axis=1, dtype=np.float32),
    ],
    "geomspace": [
        A(Y, 2 * Y, 7),
        A(-Y, -2 * Y, num=5, endpoint=False),
        A(Y, 2 * Y, 4, axis=1, dtype=np.float32),
    ],
    # -- looping
    "apply_along_axis": [A(np.cumsum, 1, X), A(lambda r, k: r * r[0] * k, 0, X, k=2.0)],
    "apply_over_axes": [A(np.sum, V, [0, 2])],
    "lib.stride_tricks.sliding_window_view": [
        A(X, (2, 3)),
        A(X, 2, axis=0, subok=True),
        A(X, 2, axis=0, writeable=True),
    ],
    "lib.stride_tricks.as_strided": [A(X, (2, 2), (8, 8), subok=False, writeable=False)],
}

"""Sparse matrices whose values are traced: products, and the class of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse

from pullback.core.primitive import Primitive, Sample
from pullback.core.source import here
from pullback.core.types import ArrayType
from pullback.errors import ArgumentError
from pullback.ops.families import cast, conjugate, contraction, draw
from pullback.scipy.opaque import floats, one_by_one

__all__ = ["Pattern", "SparseArray", "coo_array", "csr_array", "from_scipy", "sparse_product"]


@dataclass(frozen=True, eq=False)
class Pattern:
    """Rows and columns of the stored values, and the shape of the matrix. Repeats add up."""

    rows: Any
    columns: Any
    shape: tuple[int, int]

    def __repr__(self) -> str:
        return f"{self.shape[0]}x{self.shape[1]}, {len(self.rows)} stored"

    def turned(self) -> Pattern:
        return Pattern(self.columns, self.rows, self.shape[::-1])

    def matrix(self, values: Any) -> Any:
        """SciPy's matrix with these values."""
        return scipy.sparse.csr_array((values, (self.rows, self.columns)), self.shape)


def _samples(rng: np.random.Generator, dtype: np.dtype[Any]) -> list[Sample]:
    if dtype.kind not in "fc":
        return []
    pattern = Pattern(np.array([0, 1, 1, 0]), np.array([0, 2, 1, 0]), (2, 3))
    return [Sample((draw(rng, dtype, 4), draw(rng, dtype, 3, 2)), {"pattern": pattern})]


def _type(values: ArrayType, x: ArrayType, *, pattern: Pattern) -> ArrayType:
    if x.shape[0] != pattern.shape[1]:
        raise ValueError(f"a sparse matrix {pattern} does not fit {x}")
    return ArrayType((pattern.shape[0], x.shape[1]), np.result_type(values.dtype, x.dtype))


def _evaluate(values: Any, x: Any, *, pattern: Pattern) -> Any:
    dtype = np.result_type(values, x)
    return np.asarray(pattern.matrix(np.asarray(values)) @ x).astype(dtype, copy=False)


sparse_product: Primitive = contraction(
    "sparse_product",
    _evaluate,
    doc="y = A x2 for the matrix A of `pattern` with the values x1, and the columns of x2",
    type_rule=_type,
    transposes=(
        lambda ct, x_type, x2, *, pattern: cast(
            np.sum(ct[pattern.rows] * conjugate(x2)[pattern.columns], axis=-1), x_type.dtype
        ),
        lambda ct, x_type, x1, *, pattern: cast(
            sparse_product(conjugate(x1), ct, pattern=pattern.turned()), x_type.dtype
        ),
    ),
    batch=one_by_one(lambda: sparse_product),
    samples=_samples,
    flops=lambda types, out_types, params: 2 * types[0].size * types[1].shape[-1],
)


class SparseArray:
    """A sparse matrix with traced values; made by :func:`coo_array` or :func:`csr_array`.

    ``A @ x``, ``x @ A``, ``A.T``, ``c * A``, ``A + B`` and ``A.toarray()``; ``A.data`` are the
    values in the order in which they were given.
    """

    __array_priority__ = 2000.0
    __array_ufunc__ = None
    __pullback_plain__ = True

    def __init__(self, data: Any, pattern: Pattern) -> None:
        self.data, self.pattern = data, pattern
        self.shape = pattern.shape
        self.dtype = data.dtype
        self.ndim = 2

    def __repr__(self) -> str:
        return f"SparseArray({self.pattern}, {self.dtype})"

    @property
    def T(self) -> SparseArray:  # noqa: N802 - NumPy's name
        return SparseArray(self.data, self.pattern.turned())

    def __matmul__(self, x: Any) -> Any:
        x = floats(x)
        if x.ndim not in (1, 2) or x.shape[0] != self.shape[1]:
            raise ArgumentError(
                f"sparse @: {self.shape[0]}x{self.shape[1]} and an array of shape {x.shape}",
                where=str(here()),
                fix=f"pass an array with {self.shape[1]} rows",
            )
        if x.ndim == 1:
            return sparse_product(self.data, x[:, None], pattern=self.pattern)[:, 0]
        return sparse_product(self.data, x, pattern=self.pattern)

    dot = __matmul__

    def __rmatmul__(self, x: Any) -> Any:
        return (self.T @ floats(x).T).T

    def __mul__(self, factor: Any) -> SparseArray:
        if np.ndim(factor):
            raise ArgumentError(
                f"sparse *: a factor of shape {np.shape(factor)}",
                where=str(here()),
                fix="multiply by a number, or write products of matrices with @",
            )
        return SparseArray(self.data * factor, self.pattern)

    __rmul__ = __mul__

    def __neg__(self) -> SparseArray:
        return SparseArray(-self.data, self.pattern)

    def __add__(self, other: Any) -> SparseArray:
        other = from_scipy(other)
        if other.shape != self.shape:
            raise ArgumentError(
                f"sparse +: shapes {self.shape} and {other.shape}",
                where=str(here()),
                fix="add matrices of one shape",
            )
        pattern = Pattern(
            np.concatenate([self.pattern.rows, other.pattern.rows]),
            np.concatenate([self.pattern.columns, other.pattern.columns]),
            self.shape,
        )
        return SparseArray(np.concatenate([self.data, other.data]), pattern)

    __radd__ = __add__

    def __sub__(self, other: Any) -> SparseArray:
        return self + -from_scipy(other)

    def tocoo(self) -> SparseArray:
        """Itself: it keeps places and values."""
        return self

    def toarray(self) -> Any:
        """The matrix as an array, zeros included."""
        return self @ np.eye(self.shape[1], dtype=self.dtype)


def coo_array(arg: Any, shape: tuple[int, int]) -> SparseArray:
    """The matrix of ``(data, (rows, columns))``; values of one place add up, as in SciPy.

    >>> import numpy as np
    >>> import pullback as pb
    >>> def total(data):
    ...     a = pb.scipy.sparse.coo_array((data, ([0, 1], [1, 0])), (2, 2))
    ...     return np.sum(a @ np.array([1.0, 2.0]))
    >>> pb.grad(total)(np.ones(2)).tolist()
    [2.0, 1.0]
    """
    data, (rows, columns) = arg
    data = floats(data)
    rows, columns = np.asarray(rows), np.asarray(columns)
    if not rows.shape == columns.shape == data.shape:
        raise ArgumentError(
            f"coo_array: data {data.shape}, rows {rows.shape}, columns {columns.shape}",
            where=str(here()),
            fix="pass three vectors of one length",
        )
    inside = (rows >= 0) & (rows < shape[0]) & (columns >= 0) & (columns < shape[1])
    if not inside.all():
        raise ArgumentError(
            f"coo_array: a place outside of the shape {shape}",
            where=str(here()),
            fix="pass a larger shape",
        )
    return SparseArray(data, Pattern(rows, columns, (int(shape[0]), int(shape[1]))))


def csr_array(arg: Any, shape: tuple[int, int]) -> SparseArray:
    """The matrix of ``(data, indices, indptr)``: row by row, as in SciPy."""
    data, indices, indptr = arg
    rows = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
    return coo_array((data, (rows, indices)), shape)


def from_scipy(matrix: Any) -> SparseArray:
    """A matrix of SciPy, in any of its formats, as one that meets traced arrays."""
    if isinstance(matrix, SparseArray):
        return matrix
    coo = scipy.sparse.coo_array(matrix)
    data = coo.data if coo.data.dtype.kind in "fc" else coo.data.astype(np.float64)
    return SparseArray(data, Pattern(coo.coords[0], coo.coords[1], coo.shape))

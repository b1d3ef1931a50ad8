"""``numpy.linalg`` on traced arrays: linear systems, factorizations, and norms of matrices."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np

from pullback.core.array import Array, operand
from pullback.core.types import type_of
from pullback.numpy.arguments import concrete, normalize_axis, unsupported
from pullback.numpy.elements import as_float
from pullback.numpy.products import vector_norm
from pullback.numpy.registry import implements
from pullback.ops import decompositions, linalg
from pullback.ops.identity import stop_gradient
from pullback.ops.linalg import dagger

__all__: list[str] = []

_ONE = np.eye(1)
Eig: Any = type(np.linalg.eig(_ONE))  # the named tuples that NumPy returns
Eigh: Any = type(np.linalg.eigh(_ONE))
QR: Any = type(np.linalg.qr(_ONE))
Slogdet: Any = type(np.linalg.slogdet(_ONE))
SVD: Any = type(np.linalg.svd(_ONE))


def as_matrices(a: Any) -> Any:
    """``a`` as floating-point matrices; refuses what has fewer than two axes, as NumPy does."""
    a = as_float(a)
    if a.ndim < 2:
        raise linalg.no_matrix(type_of(a))
    return a


# -- linear systems -------------------------------------------------------------------------------
@implements(np.linalg.solve)
def solve(a: Any, b: Any) -> Any:
    a, b = as_float(operand(a)), as_float(operand(b))
    return linalg.solve(a, b[:, None])[..., 0] if b.ndim == 1 else linalg.solve(a, b)


@implements(np.linalg.inv)
def inv(a: Any) -> Any:
    a = as_float(a)
    return linalg.solve(a, np.eye(a.shape[-1], dtype=a.dtype))


@implements(np.linalg.tensorsolve)
def tensorsolve(a: Any, b: Any, axes: Any = None) -> Any:
    a, b = operand(a), operand(b)
    if axes is not None:
        moved = [normalize_axis(k, a.ndim) for k in axes]
        a = np.transpose(a, [k for k in range(a.ndim) if k not in moved] + moved)
    shape = a.shape[b.ndim - a.ndim :]
    n = math.prod(shape)
    if a.size != n**2:
        raise np.linalg.LinAlgError(
            "Input arrays must satisfy the requirement prod(a.shape[b.ndim:]) == "
            "prod(a.shape[:b.ndim])"
        )
    return np.reshape(solve(np.reshape(a, (n, n)), np.ravel(b)), shape)


@implements(np.linalg.pinv)
def pinv(a: Any, rcond: Any = None, hermitian: bool = False, *, rtol: Any = np._NoValue) -> Any:
    a = as_matrices(a)
    if rcond is not None and rtol is not np._NoValue:
        raise ValueError("`rtol` and `rcond` can't be both set.")
    if rcond is None:
        rcond = 1e-15 if rtol is np._NoValue else rtol
    if rcond is None:
        rcond = max(a.shape[-2:]) * np.finfo(a.dtype).eps
    if np.ndim(rcond):
        raise unsupported("pinv with an array as rcond", "pass a number")
    if hermitian:
        a = linalg.mirrored(a)
    return decompositions.pinv(a, rtol=float(concrete(rcond, "rcond")))


@implements(np.linalg.lstsq)
def lstsq(a: Any, b: Any, rcond: Any = None) -> tuple[Any, Any, Any, Any]:
    """``x = pinv(a) b``, the residuals, the rank, and the singular values of ``a``."""
    a, b = as_float(operand(a)), as_float(operand(b))
    m, n = a.shape
    cut = max(m, n) * np.finfo(a.dtype).eps if rcond is None else float(concrete(rcond, "rcond"))
    columns = b if b.ndim == 2 else b[:, None]
    s = svdvals(a)
    rank = np.sum(np.greater(s, cut * np.max(s, initial=0))).astype(np.intc)
    x = np.matmul(decompositions.pinv(a, rtol=max(cut, 0.0)), columns)
    rest = columns - np.matmul(a, x)
    residuals = np.sum(np.square(np.real(rest)) + np.square(np.imag(rest)), axis=0)
    if type(rank) is Array:  # unknown: what NumPy would leave out is NaN
        residuals = np.where(rank == n, residuals, np.nan)
    if m <= n or (type(rank) is not Array and rank != n):
        residuals = residuals[:0]
    return (x if b.ndim == 2 else x[:, 0]), residuals, rank, s


# -- determinants ---------------------------------------------------------------------------------
@implements(np.linalg.slogdet)
def slogdet(a: Any) -> Any:
    a = as_float(a)
    sign = linalg.det_phase if a.dtype.kind == "c" else linalg.det_sign
    return Slogdet(sign(a), linalg.log_abs_det(a))


@implements(np.linalg.det)
def det(a: Any) -> Any:
    return linalg.det(as_float(a))


# -- factorizations -------------------------------------------------------------------------------
@implements(np.linalg.cholesky)
def cholesky(a: Any, /, *, upper: bool = False) -> Any:
    a = as_float(a)
    if upper:  # NumPy reads the upper triangle then
        return np.swapaxes(linalg.cholesky(np.swapaxes(a, -1, -2)), -1, -2)
    return linalg.cholesky(a)


@implements(np.linalg.eigh)
def eigh(a: Any, UPLO: str = "L") -> Any:  # noqa: N803
    side = UPLO.upper()
    if side not in ("L", "U"):
        raise ValueError("UPLO argument must be 'L' or 'U'")
    return Eigh(*decompositions.eigh(as_float(a), lower=side == "L"))


@implements(np.linalg.eigvalsh)
def eigvalsh(a: Any, UPLO: str = "L") -> Any:  # noqa: N803
    return eigh(a, UPLO)[0]


@cache
def _eig_is_complex() -> bool:
    """Whether this NumPy gives complex eigenvalues whatever they are."""
    return np.linalg.eigvals(np.ones((1, 1))).dtype.kind == "c"


@implements(np.linalg.eig)
def eig(a: Any) -> Any:
    """Real where NumPy's is: before 2.5, where all eigenvalues of a real matrix are real."""
    a = as_float(a)
    w, v = decompositions.eig(a)
    if a.dtype.kind != "c" and not _eig_is_complex():
        purpose = "whether all eigenvalues are real, for the dtype of np.linalg.eig,"
        if concrete(np.all(np.equal(np.imag(w), 0)), purpose):
            w, v = np.real(w), np.real(v)
    return Eig(w, v)


@implements(np.linalg.eigvals)
def eigvals(a: Any) -> Any:
    return eig(a)[0]


@implements(np.linalg.svd)
def svd(
    a: Any, full_matrices: bool = True, compute_uv: bool = True, hermitian: bool = False
) -> Any:
    a = as_matrices(a)
    if hermitian:
        a = linalg.mirrored(a)
    u, s, vh = decompositions.svd(a, full=bool(full_matrices and compute_uv))
    return SVD(u, s, vh) if compute_uv else s


@implements(np.linalg.svdvals)
def svdvals(x: Any, /) -> Any:
    return svd(x, compute_uv=False)


@implements(np.linalg.qr)
def qr(a: Any, mode: str = "reduced") -> Any:
    """Of a wide matrix, the first columns are factored and the others multiplied by ``q^H``."""
    a = as_matrices(a)
    m, n = a.shape[-2:]
    if mode == "raw" or (mode == "complete" and m > n):
        raise unsupported(f"qr with mode={mode!r} of a matrix of shape {(m, n)}", "use 'reduced'")
    if mode not in ("reduced", "complete", "r"):
        raise ValueError(f"Unrecognized mode '{mode}'")
    q, r = decompositions.qr(a[..., :, :m])
    if m < n:
        r = np.concatenate([r, np.matmul(dagger(q), a[..., :, m:])], axis=-1)
    return r if mode == "r" else QR(q, r)


# -- norms ----------------------------------------------------------------------------------------
@implements(np.linalg.matrix_norm)
def matrix_norm(x: Any, /, *, keepdims: Any = False, ord: Any = "fro") -> Any:
    return norm(x, ord, (-2, -1), keepdims)


@implements(np.linalg.norm)
def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: Any = False) -> Any:
    x = operand(x)
    if axis is None and ord is None:
        result = vector_norm(np.ravel(x))
        return np.reshape(result, (1,) * x.ndim) if keepdims else result
    axes = tuple(range(x.ndim)) if axis is None else axis
    axes = axes if isinstance(axes, tuple) else (axes,)
    if not 1 <= len(axes) <= 2:
        raise ValueError("Improper number of dimensions to norm.")
    if len(axes) == 1 and isinstance(ord, str):
        raise ValueError(f"Invalid norm order {ord!r} for vectors")
    if len(axes) == 1 or ord is None or ord in ("fro", "f"):
        return vector_norm(x, axis=axes, keepdims=keepdims, ord=2 if len(axes) == 2 else ord)
    row, column = (normalize_axis(i, x.ndim) for i in axes)
    if ord in ("nuc", 2, -2):
        result = _of_singular_values(np.moveaxis(as_float(x), (row, column), (-2, -1)), ord)
        return np.expand_dims(result, (row, column)) if keepdims else result
    if ord not in (1, -1, np.inf, -np.inf):
        raise ValueError("Invalid norm order for matrices.")
    summed, left = (row, column) if abs(ord) == 1 else (column, row)
    sums = np.sum(np.abs(x), axis=summed, keepdims=True)
    result = (np.max if ord > 0 else np.min)(sums, axis=left, keepdims=True)
    return result if keepdims else np.squeeze(result, axis=(row, column))


def _of_singular_values(x: Any, ord: Any) -> Any:
    s = svdvals(x)
    if ord != "nuc":
        return np.max(s, axis=-1) if ord == 2 else np.min(s, axis=-1)
    # At a zero singular value the slope is taken to be 0: the subgradient of least norm.
    bound = max(x.shape[-2:]) * np.finfo(s.dtype).eps * np.max(s, axis=-1, keepdims=True)
    return np.sum(np.where(np.greater(s, bound), s, stop_gradient(s)), axis=-1)


@implements(np.linalg.cond)
def cond(x: Any, p: Any = None) -> Any:
    x = as_float(x)
    if p is None or p in (2, -2):
        s = svdvals(x)
        return s[..., -1] / s[..., 0] if p == -2 else s[..., 0] / s[..., -1]
    axes = (-2, -1)
    return norm(x, p, axes) * norm(inv(x), p, axes)


@implements(np.linalg.matrix_rank)
def matrix_rank(
    A: Any,  # noqa: N803
    tol: Any = None,
    hermitian: bool = False,
    *,
    rtol: Any = None,
) -> Any:
    """A count: it has no derivative."""
    a = as_float(A)
    if a.ndim < 2:
        return np.any(np.not_equal(a, 0)).astype(int)
    s = svd(a, compute_uv=False, hermitian=hermitian)
    largest = np.max(s, axis=-1, keepdims=True)
    if tol is None:
        share = max(a.shape[-2:]) * np.finfo(s.dtype).eps if rtol is None else rtol
        bound = largest * (share if not np.ndim(share) else share[..., None])
    else:
        bound = tol if not np.ndim(tol) else tol[..., None]
    return np.sum(np.greater(s, bound), axis=-1)

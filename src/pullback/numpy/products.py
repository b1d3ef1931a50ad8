"""Matrix products in NumPy's many spellings, all in terms of one primitive."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cache
from string import ascii_letters
from typing import Any

import numpy as np

from pullback.core.array import operand
from pullback.core.types import is_differentiable
from pullback.numpy.arguments import finish, normalize_axis
from pullback.numpy.reductions import abs_squared
from pullback.numpy.registry import implements
from pullback.numpy.shapes import diagonal_view
from pullback.numpy.twins import twin
from pullback.ops import contract, transcendental
from pullback.ops.families import conjugate

__all__: list[str] = []

matmul = contract.matmul
implements(np.linalg.matmul)(matmul)


@implements(np.dot)
def dot(a: Any, b: Any, out: Any = None) -> Any:
    a, b = operand(a), operand(b)
    if not np.ndim(a) or not np.ndim(b):
        return finish(np.multiply(a, b), None, out)
    if b.ndim <= 2:
        return finish(matmul(a, b), None, out)
    return finish(np.tensordot(a, b, ((a.ndim - 1,), (b.ndim - 2,))), None, out)


implements(method="dot")(dot)


@implements(np.inner)
def inner(a: Any, b: Any, /) -> Any:
    a, b = operand(a), operand(b)
    if not np.ndim(a) or not np.ndim(b):
        return np.multiply(a, b)
    return np.tensordot(a, b, ((a.ndim - 1,), (b.ndim - 1,)))


@implements(np.vdot)
def vdot(a: Any, b: Any, /) -> Any:
    return matmul(conjugate(np.ravel(a)), np.ravel(b))


@implements(np.linalg.outer)
def outer_of_vectors(x1: Any, x2: Any, /) -> Any:
    if np.ndim(x1) != 1 or np.ndim(x2) != 1:
        raise ValueError(
            f"Input arrays must be one-dimensional, not {np.ndim(x1)} and {np.ndim(x2)}"
        )
    return outer(x1, x2)


@implements(np.outer)
def outer(a: Any, b: Any, out: Any = None) -> Any:
    return finish(np.reshape(operand(a), (-1, 1)) * np.reshape(operand(b), (1, -1)), None, out)


@implements(np.tensordot, np.linalg.tensordot)
def tensordot(a: Any, b: Any, axes: Any = 2) -> Any:
    a, b = operand(a), operand(b)
    if isinstance(axes, (int, np.integer)):
        left, right = list(range(a.ndim - axes, a.ndim)), list(range(axes))
    else:
        left, right = (
            [
                normalize_axis(i, x.ndim)
                for i in (side if isinstance(side, (tuple, list)) else [side])
            ]
            for side, x in zip(axes, (a, b), strict=True)
        )
    if [a.shape[i] for i in left] != [b.shape[j] for j in right]:
        raise ValueError("shape-mismatch for sum")
    rows = [i for i in range(a.ndim) if i not in left]
    columns = [j for j in range(b.ndim) if j not in right]
    n = int(np.prod([a.shape[i] for i in left]))
    row_shape, column_shape = [a.shape[i] for i in rows], [b.shape[j] for j in columns]
    matrix = np.reshape(np.transpose(a, (*rows, *left)), (int(np.prod(row_shape)), n))
    other = np.reshape(np.transpose(b, (*right, *columns)), (n, int(np.prod(column_shape))))
    return np.reshape(matmul(matrix, other), (*row_shape, *column_shape))


def _last(x: Any, axis: int) -> Any:
    return np.moveaxis(x, axis, -1)


@implements(np.vecdot)
def vecdot(x1: Any, x2: Any) -> Any:
    return matmul(conjugate(x1[..., None, :]), x2[..., :, None])[..., 0, 0]


@implements(np.linalg.vecdot)
def vecdot_along(x1: Any, x2: Any, /, *, axis: int = -1) -> Any:
    return vecdot(_last(operand(x1), axis), _last(operand(x2), axis))


@implements(np.matvec)
def matvec(x1: Any, x2: Any) -> Any:
    if np.ndim(x1) < 2:
        raise ValueError("matvec: the first operand must be a matrix")
    return matmul(x1, x2[..., :, None])[..., 0]


@implements(np.vecmat)
def vecmat(x1: Any, x2: Any) -> Any:
    if np.ndim(x2) < 2:
        raise ValueError("vecmat: the second operand must be a matrix")
    return matmul(conjugate(x1[..., None, :]), x2)[..., 0, :]


@implements(np.kron)
def kron(a: Any, b: Any) -> Any:
    a, b = operand(a), operand(b)
    ndim = max(np.ndim(a), np.ndim(b))
    a, b = (np.reshape(x, (*(1,) * (ndim - np.ndim(x)), *np.shape(x))) for x in (a, b))
    spread = np.expand_dims(a, tuple(range(1, 2 * ndim, 2)))
    other = np.expand_dims(b, tuple(range(0, 2 * ndim, 2)))
    return np.reshape(spread * other, [m * n for m, n in zip(a.shape, b.shape, strict=True)])


@cache
def _crosses_planes() -> bool:
    """Whether this NumPy takes vectors of length 2: since 2.5 it refuses them."""
    with warnings.catch_warnings(action="ignore"):
        try:
            np.cross((1, 0), (0, 1))
        except ValueError:
            return False
    return True


@implements(np.cross)
def cross(
    a: Any, b: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: int | None = None
) -> Any:
    if axis is not None:
        axisa = axisb = axisc = axis
    a, b = _last(operand(a), axisa), _last(operand(b), axisb)
    if a.shape[-1] == b.shape[-1] == 2 and _crosses_planes():
        return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
    if a.shape[-1] != 3 or b.shape[-1] != 3:
        more = ", or both of length 2" if _crosses_planes() else ""
        raise ValueError(f"cross: both arrays must hold vectors of length 3{more}")
    (a0, a1, a2), (b0, b1, b2) = ((x[..., 0], x[..., 1], x[..., 2]) for x in (a, b))
    return np.stack([a1 * b2 - a2 * b1, a2 * b0 - a0 * b2, a0 * b1 - a1 * b0], axis=axisc)


MODES = {0: "valid", 1: "same", 2: "full"}  # NumPy takes numbers for them, too


@implements(np.convolve)
def convolve(a: Any, v: Any, mode: Any = "full") -> Any:
    mode = MODES.get(mode, mode)
    return (
        _slid(operand(a), operand(v)[::-1], mode)
        if np.size(a) >= np.size(v)
        else convolve(v, a, mode)
    )


@implements(np.polymul)
def polymul(a1: Any, a2: Any) -> Any:
    """Product of two polynomials given by coefficients, the highest power first."""
    old: Any = twin(np.poly1d)
    factors = [a if isinstance(a, np.poly1d) else old(a) for a in (a1, a2)]
    product = convolve(factors[0].coeffs, factors[1].coeffs)
    return old(product) if factors[0] is a1 or factors[1] is a2 else product


@implements(np.correlate)
def correlate(a: Any, v: Any, mode: Any = "valid") -> Any:
    mode = MODES.get(mode, mode)
    a, v = operand(a), operand(v)
    return _slid(a, conjugate(v), mode)


def _slid(a: Any, v: Any, mode: str) -> Any:
    """Windows of the padded longer operand times the shorter one."""
    if a.ndim != 1 or v.ndim != 1:
        raise ValueError("object of too small depth for desired array")
    if not a.size or not v.size:
        raise ValueError("an array without elements cannot be convolved or correlated")
    if v.size > a.size:
        return _slid(v, a, mode)[::-1]
    n = v.size
    before, after = {"valid": (0, 0), "same": (n // 2, n - 1 - n // 2), "full": (n - 1, n - 1)}[
        mode
    ]
    places = np.arange(-before, a.size + after - n + 1)[:, None] + np.arange(n)
    first, inside, last = np.split(places, [before, len(places) - after])
    whole = matmul(a[inside], v)
    ends = [_overhanging(a, v, part) if len(part) else whole[:0] for part in (first, last)]
    return np.concatenate([ends[0], whole, ends[1]]) if before + after else whole


def _overhanging(a: Any, v: Any, places: Any) -> Any:
    """Windows of ``a`` that reach beyond its ends: only what lies inside is multiplied."""
    inside = (places >= 0) & (places < a.size)
    windows = np.where(inside, a[np.clip(places, 0, a.size - 1)], 0)
    return np.sum(windows.astype(a.dtype) * np.where(inside, v, 0).astype(v.dtype), axis=-1)


# -- einsum ---------------------------------------------------------------------------------------
@implements(np.einsum)
def einsum(*operands: Any, out: Any = None, optimize: Any = "greedy", **options: Any) -> Any:
    """Sums of products by subscripts: diagonals, sums and matrix products of pairs of operands."""
    dtype = options.get("dtype")
    text, *arrays = operands if isinstance(operands[0], str) else _spelled_out(operands)
    parts = [operand(a) if dtype is None else operand(a).astype(dtype) for a in arrays]
    inputs, output = _parse(text, [np.ndim(p) for p in parts])
    shapes = [np.broadcast_to(np.int8(0), np.shape(p)) for p in parts]
    plain = ",".join("".join(i) for i in inputs) + "->" + "".join(output)
    path = np.einsum_path(plain, *shapes, optimize=optimize if optimize is not False else "greedy")
    terms = [_diagonal(p, i) for p, i in zip(parts, inputs, strict=True)]
    for positions in path[0][1:]:
        chosen = [terms.pop(i) for i in sorted(positions, reverse=True)][::-1]
        needed = set(output).union(*[labels for _, labels in terms])
        while len(chosen) > 1:
            right, left = chosen.pop(), chosen.pop()
            still = needed.union(*[labels for _, labels in chosen])
            chosen.append(_pair(left, right, still))
        terms.append(_summed(chosen[0], needed))
    ((result, labels),) = terms
    return finish(np.transpose(result, [labels.index(c) for c in output]), None, out)


def _spelled_out(operands: Sequence[Any]) -> list[Any]:
    """The form ``einsum(a, [0, 1], b, [1, 2], [0, 2])`` as text and operands."""

    def spell(labels: Any) -> str:
        return "".join("..." if i is Ellipsis else ascii_letters[i] for i in labels)

    pairs = len(operands) // 2
    text = ",".join(spell(operands[2 * i + 1]) for i in range(pairs))
    if len(operands) % 2:
        text += "->" + spell(operands[-1])
    return [text, *operands[0 : 2 * pairs : 2]]


def _parse(text: str, ndims: Sequence[int]) -> tuple[list[list[str]], list[str]]:
    """Labels per operand and of the output; an ellipsis becomes labels of its own."""
    text = text.replace(" ", "")
    left, arrow, right = text.partition("->")
    terms = left.split(",")
    if len(terms) != len(ndims):
        raise ValueError("einsum: more operands than subscripts, or fewer")
    spare = [c for c in ascii_letters if c not in text]
    inputs, widest = [], 0
    for term, ndim in zip(terms, ndims, strict=True):
        named = term.replace("...", "")
        extra = ndim - len(named)
        if extra < 0 or (extra and "..." not in term):
            raise ValueError(f"einsum: subscripts {term!r} do not fit an operand with {ndim} axes")
        widest = max(widest, extra if "..." in term else 0)
        at = term.find("...")
        inputs.append([*named[: max(at, 0)], *spare[len(spare) - extra :], *named[max(at, 0) :]])
    dots = spare[len(spare) - widest :]
    if arrow:
        at = right.find("...")
        named = right.replace("...", "")
        if widest and at < 0:
            raise ValueError("einsum: the output needs '...' for the axes that the operands have")
        return inputs, ([*named[:at], *dots, *named[at:]] if at >= 0 else [*named])
    flat = [c for labels in inputs for c in labels if c not in dots]
    return inputs, [*dots, *sorted(c for c in set(flat) if flat.count(c) == 1)]


Term = tuple[Any, list[str]]


def _diagonal(x: Any, labels: list[str]) -> Term:
    """Take the diagonal of axes that share a label."""
    labels = list(labels)
    for label in sorted(set(labels)):
        while labels.count(label) > 1:
            i = labels.index(label)
            j = labels.index(label, i + 1)
            if x.shape[i] != x.shape[j]:
                raise ValueError(f"einsum: label {label!r} has sizes {x.shape[i]} and {x.shape[j]}")
            x = diagonal_view(x, 0, i, j, is_writeable=True)
            labels = [c for k, c in enumerate(labels) if k not in (i, j)] + [label]
    return x, labels


def _summed(term: Term, needed: set[str]) -> Term:
    """Sum over the labels that nobody needs."""
    x, labels = term
    gone = tuple(i for i, label in enumerate(labels) if label not in needed)
    if not gone:
        return term
    total = np.any(x, axis=gone) if x.dtype == bool else np.sum(x, axis=gone, dtype=x.dtype)
    return total, [label for label in labels if label in needed]


def _pair(left: Term, right: Term, needed: set[str]) -> Term:
    """Multiply two operands and sum over the labels that nobody else needs, by one matmul."""
    x, x_labels = _summed(left, needed | set(right[1]))
    y, y_labels = _summed(right, needed | set(x_labels))
    sizes = dict(zip(y_labels, y.shape, strict=True))
    for label, n in zip(x_labels, x.shape, strict=True):
        if n == 1 and sizes.get(label, 1) != 1:  # broadcasting within an ellipsis
            x = np.take(x, 0, axis=x_labels.index(label))
            return _pair((x, [c for c in x_labels if c != label]), (y, y_labels), needed | {label})
        if sizes.get(label, n) == 1 != n:
            y = np.take(y, 0, axis=y_labels.index(label))
            return _pair((x, x_labels), (y, [c for c in y_labels if c != label]), needed | {label})
        if sizes.setdefault(label, n) != n:
            raise ValueError(f"einsum: label {label!r} has sizes {n} and {sizes[label]}")
    stack = [c for c in x_labels if c in y_labels and c in needed]
    inside = [c for c in x_labels if c in y_labels and c not in needed]
    rows = [c for c in x_labels if c not in y_labels]
    columns = [c for c in y_labels if c not in x_labels]

    def arrange(value: Any, labels: list[str], *groups: list[str]) -> Any:
        value = np.transpose(value, [labels.index(c) for group in groups for c in group])
        lengths = [int(np.prod([sizes[c] for c in group])) for group in groups[1:]]
        return np.reshape(value, (*[sizes[c] for c in groups[0]], *lengths))

    if inside:
        product = matmul(
            arrange(x, x_labels, stack, rows, inside), arrange(y, y_labels, stack, inside, columns)
        )
    else:
        product = arrange(x, x_labels, stack, rows, []) * arrange(y, y_labels, stack, [], columns)
    labels = [*stack, *rows, *columns]
    return np.reshape(product, [sizes[c] for c in labels]), labels


# -- norms ----------------------------------------------------------------------------------------
# The derivative of a norm at zero is chosen to be 0: the subgradient of least norm.
@implements(np.linalg.vector_norm)
def vector_norm(x: Any, /, *, axis: Any = None, keepdims: Any = False, ord: Any = 2) -> Any:
    x = operand(x)
    x = x if is_differentiable(x.dtype) else x.astype(np.float64)
    size = np.abs(x)
    if ord is None or ord == 2:
        return transcendental.root(np.sum(abs_squared(x), axis=axis, keepdims=keepdims))
    if ord == np.inf:
        return np.max(size, axis=axis, keepdims=keepdims)
    if ord == -np.inf:
        return np.min(size, axis=axis, keepdims=keepdims)
    if ord == 0:
        return np.sum(np.not_equal(x, 0).astype(size.dtype), axis=axis, keepdims=keepdims)
    if ord == 1:
        return np.sum(size, axis=axis, keepdims=keepdims)
    powers = x**ord if ord in (4, 6, 8) and x.dtype.kind == "f" else size**ord
    sums = np.sum(powers, axis=axis, keepdims=keepdims)
    return transcendental.root_of_power(sums, 1 / ord) if ord > 0 else sums ** (1 / ord)

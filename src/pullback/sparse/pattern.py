"""Which output depends on which input: sparsity patterns, read off a run of the function.

Algorithm: every value carries a Boolean matrix with a row for each of its elements and a column
for each input; an operation combines the rows of its operands. Moves of elements (slices, gathers,
concatenations, ...) are run on numbers of rows instead of values, so that each says itself where
its elements come from. Cost: the sum of the sizes of these matrices. Known limits: a pattern is
conservative (``x - x`` depends on ``x``); an operation without a rule, and an index that is
computed from the inputs, make the rows dense, with a warning.

Source: A. Griewank, A. Walther (2008), *Evaluating Derivatives*, section 7.1 (propagation of index
domains).
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from pullback.control.known import known_primitive
from pullback.core.array import Array, bind
from pullback.core.graph import Graph
from pullback.core.primitive import MISSING, Marker, Primitive
from pullback.core.source import here
from pullback.core.trace import Trace
from pullback.core.types import is_differentiable, type_of
from pullback.errors import ArgumentError, SnapshotError
from pullback.ops import contract, cumulative, index, linalg, shape
from pullback.transforms.evaluate import evaluate

__all__ = ["Pattern", "PatternTrace"]

Matrix = Any  # a scipy.sparse.csr_array of bool

MOVES = (
    index.index,
    index.place,
    index.update,
    index.gather,
    index.scatter,
    shape.reshape,
    shape.transpose,
    shape.broadcast_to,
    shape.concatenate,
)


@dataclass(frozen=True)
class Pattern:
    """Where a matrix may have nonzeros: ``matrix`` is a ``csr_array`` of bool, ``(m, n)``."""

    matrix: Matrix

    @property
    def shape(self) -> tuple[int, int]:
        rows, columns = self.matrix.shape
        return int(rows), int(columns)

    @property
    def nnz(self) -> int:
        return int(self.matrix.nnz)

    @property
    def density(self) -> float:
        return self.nnz / max(1, self.shape[0] * self.shape[1])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the pattern to an ``.npz`` file."""
        sparse.save_npz(path, self.matrix)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Pattern:
        """Read a pattern that :meth:`save` wrote.

        Raises:
            SnapshotError: for another file.
        """
        try:
            return cls(as_pattern(sparse.load_npz(path)))
        except FileNotFoundError:
            raise
        except (ValueError, KeyError, OSError) as error:
            raise SnapshotError(
                f"{os.fspath(path)} is not a sparsity pattern",
                details=[str(error)],
                fix="write one with Pattern.save",
            ) from error


def as_pattern(given: Any) -> Matrix:
    """A pattern from a :class:`Pattern`, a sparse matrix, or an array."""
    if isinstance(given, Pattern):
        return given.matrix
    if not sparse.issparse(given) and np.ndim(given) != 2:
        raise ArgumentError(
            "a sparsity pattern is not a matrix",
            where=str(here()),
            fix="pass a Pattern, a SciPy sparse matrix or a two-dimensional array",
        )
    matrix = sparse.csr_array(given, dtype=bool)
    matrix.eliminate_zeros()
    matrix.sort_indices()
    return matrix


def selection(rows: Any, columns: Any, shape: tuple[int, int]) -> Matrix:
    ones = np.ones(np.size(rows), bool)
    return sparse.csr_array((ones, (np.ravel(rows), np.ravel(columns))), shape=shape)


class TooManyEntriesError(Exception):
    """A pattern has more entries than the caller can use; it is caught there."""


class PatternTrace(Trace):
    """``array.value`` is the value, ``array.aux`` the pattern: ``None`` if it is unknown.

    Values without derivatives that were computed from the inputs stay traced, with an unknown
    pattern, so that an index computed from the inputs is noticed.
    """

    name = "sparsity"

    def __init__(self, n: int, most: float = np.inf) -> None:
        super().__init__()
        self.n = n
        self.most = most  # entries of one value, beyond which it is not worth going on
        self.dense: dict[str, str] = {}  # operations that made rows dense, and where

    def process(self, primitive: Primitive, args: Any, params: dict[str, Any]) -> Any:
        if primitive is known_primitive:
            return self.with_known(args, **params)
        graph = inlined(primitive, params)
        if graph is not None:
            return tuple(self.own(y) for y in evaluate(graph, args))
        if "body" in params and "n_carry" in params:
            return tuple(self.own(y) for y in self.loop(args, **params))
        primals = [a.value if self.is_mine(a) else a for a in args]
        result = bind(primitive, primals, params)
        outputs = list(result) if primitive.multiple else [result]
        patterns = [a.aux if self.is_mine(a) else None for a in args]
        unknown = any(self.is_mine(a) and a.aux is None for a in args)
        if not any(is_differentiable(type_of(y).dtype) for y in outputs):
            found = [Array(self, y, None) for y in outputs]
        elif all(p is None for p in patterns) and unknown:
            found = [
                Array(self, y, sparse.csr_array((np.size(y), self.n), dtype=bool)) for y in outputs
            ]
        else:
            rows = self.rows(primitive, args, primals, patterns, outputs, params)
            if any(r is not None and r.nnz > self.most for r in rows):
                raise TooManyEntriesError
            found = [Array(self, y, r) for y, r in zip(outputs, rows, strict=True)]
        return tuple(found) if primitive.multiple else found[0]

    def is_mine(self, a: Any) -> bool:
        return type(a) is Array and a.traced_by is self

    def own(self, y: Any) -> Any:
        """``y`` as an array of this trace; a constant depends on nothing."""
        if self.is_mine(y):
            return y
        empty = sparse.csr_array((np.size(y), self.n), dtype=bool)
        return Array(self, y, empty if is_differentiable(type_of(y).dtype) else None)

    def with_known(self, args: Sequence[Any], *, graph: Graph) -> tuple[Any, ...]:
        """The first operands, with the patterns that ``graph`` has at the others."""
        n = len(graph.outputs)
        values = [a.value if self.is_mine(a) else a for a in args[:n]]
        derived = [self.own(y) for y in evaluate(graph, args[n:])]
        return tuple(Array(self, v, y.aux) for v, y in zip(values, derived, strict=True))

    def loop(
        self,
        args: Sequence[Any],
        *,
        body: Graph,
        n_constants: int,
        n_carry: int,
        length: int,
        reverse: bool,
        **_: Any,
    ) -> list[Any]:
        """``scan``, step by step."""
        constants, carry = args[:n_constants], list(args[n_constants : n_constants + n_carry])
        rows = args[n_constants + n_carry :]
        stacked: list[Any] = [None] * length
        for i in reversed(range(length)) if reverse else range(length):
            found = evaluate(body, [*constants, *carry, *(x[i] for x in rows)])
            carry, stacked[i] = found[:n_carry], found[n_carry:]
        types = [v.type for v in body.outputs[n_carry:]]
        outputs = [
            np.stack([row[k] for row in stacked])
            if stacked
            else np.zeros((0, *types[k].shape), types[k].dtype)
            for k in range(len(types))
        ]
        return [*carry, *outputs]

    def rows(
        self,
        primitive: Primitive,
        args: Sequence[Any],
        primals: Sequence[Any],
        patterns: Sequence[Matrix | None],
        outputs: Sequence[Any],
        params: dict[str, Any],
    ) -> list[Matrix]:
        sizes = [np.shape(y) for y in outputs]
        if primitive in MOVES and not any(self.is_mine(a) and a.aux is None for a in args):
            return [moved(primitive, primals, patterns, params, self.n)]
        if primitive.family == "elementwise" or primitive is shape.astype:
            return [aligned(primitive, primals, patterns, sizes[0], self.n)]
        if primitive.family == "reduction":
            return [folded(primals[0], patterns[0], params["axis"])]
        if primitive in (cumulative.cumsum, cumulative.cumprod):
            return [accumulated(primals[0], patterns[0], params["axis"])]
        if primitive is contract.matmul:
            return [multiplied(primals, patterns, sizes[0], self.n)]
        if primitive is index.scatter_add and not any(
            self.is_mine(a) and a.aux is None for a in args
        ):
            places = np.arange(np.size(outputs[0])).reshape(sizes[0])[tuple(primals[1:])]
            size = np.size(primals[0])
            numbers = np.broadcast_to(np.arange(size).reshape(np.shape(primals[0])), places.shape)
            return [selection(places, numbers, (np.size(outputs[0]), size)) @ patterns[0]]
        if primitive is linalg.solve:
            return [stacked_systems(primals, patterns, sizes[0], self.n)]
        source = str(here())
        self.dense.setdefault(primitive.name, source)
        union = self.union([p for p in patterns if p is not None])
        return [
            sparse.csr_array(np.ones((np.size(y), 1), bool)) @ union
            if is_differentiable(type_of(y).dtype)
            else None
            for y in outputs
        ]

    def union(self, patterns: Sequence[Matrix]) -> Matrix:
        """One row: the columns that occur in any row of ``patterns``."""
        columns = np.unique(np.concatenate([p.indices for p in patterns] or [[]])).astype(int)
        return selection(np.zeros(columns.size, int), columns, (1, self.n))

    def warn(self) -> None:
        if self.dense:
            names = ", ".join(f"{name} ({where})" for name, where in self.dense.items())
            warnings.warn(
                f"sparsity: taken as dense for want of a rule, or for an index that depends on the "
                f"inputs: {names}. Fix: pass sparsity=, a pattern that you know",
                RuntimeWarning,
                stacklevel=4,
            )


def inlined(primitive: Primitive, params: dict[str, Any]) -> Graph | None:
    """The graph that an operation runs once, such as a compiled or checkpointed function."""
    graphs: list[Graph] = [v for v in params.values() if isinstance(v, Graph)]
    is_run_once = primitive.family == "control" and len(graphs) == 1 and "graph" in params
    return graphs[0] if is_run_once else None


def moved(
    primitive: Primitive,
    primals: Sequence[Any],
    patterns: Sequence[Matrix | None],
    params: dict[str, Any],
    n: int,
) -> Matrix:
    """Rows of an operation that moves elements: it is run on their numbers, where 0 is none."""
    numbers, start = [], 1
    for x, pattern in zip(primals, patterns, strict=True):
        if pattern is not None:
            numbers.append(np.arange(start, start + np.size(x)).reshape(np.shape(x)))
            start += np.size(x)
        elif is_differentiable(type_of(x).dtype):
            numbers.append(np.zeros(np.shape(x), np.int64))
        else:
            numbers.append(x)
    origins = np.ravel(primitive.numpy(*numbers, **params))
    empty = sparse.csr_array((1, n), dtype=bool)
    known = sparse.vstack([empty, *(p for p in patterns if p is not None)], format="csr")
    return known[origins]


def aligned(
    primitive: Primitive,
    primals: Sequence[Any],
    patterns: Sequence[Matrix | None],
    out_shape: tuple[int, ...],
    n: int,
) -> Matrix:
    """Rows of an elementwise operation: those of all operands that have a derivative."""
    total = None
    for i, (x, pattern) in enumerate(zip(primals, patterns, strict=True)):
        if pattern is None or (isinstance(primitive.vjp, tuple) and is_flat(primitive, i)):
            continue
        if np.shape(x) != out_shape:
            rows = np.broadcast_to(np.arange(np.size(x)).reshape(np.shape(x)), out_shape)
            pattern = pattern[rows.ravel()]
        total = pattern if total is None or total is pattern else total + pattern
    size = int(np.prod(out_shape))
    return sparse.csr_array((size, n), dtype=bool) if total is None else total


def is_flat(primitive: Primitive, position: int) -> bool:
    """Whether the derivative for an operand is zero everywhere."""
    assert isinstance(primitive.vjp, tuple)
    rule = primitive.vjp[min(position, len(primitive.vjp) - 1)]
    return isinstance(rule, Marker) and rule is not MISSING


def folded(x: Any, pattern: Matrix, axis: tuple[int, ...]) -> Matrix:
    """Rows of a reduction: the union over the elements that are folded."""
    kept = tuple(1 if i in axis else n for i, n in enumerate(np.shape(x)))
    groups = np.broadcast_to(np.arange(int(np.prod(kept))).reshape(kept), np.shape(x))
    size = int(np.prod(kept))
    return selection(groups, np.arange(np.size(x)), (size, np.size(x))) @ pattern


def accumulated(x: Any, pattern: Matrix, axis: int) -> Matrix:
    """Rows of a running fold: each has those before it."""
    numbers = np.moveaxis(np.arange(np.size(x)).reshape(np.shape(x)), axis, -1)
    length = numbers.shape[-1]
    later, earlier = np.tril_indices(length)
    targets, sources = numbers[..., later], numbers[..., earlier]
    return selection(targets, sources, (np.size(x), np.size(x))) @ pattern


def multiplied(
    primals: Sequence[Any], patterns: Sequence[Matrix | None], out_shape: Any, n: int
) -> Matrix:
    """Rows of a product of (stacks of) matrices; zeros of a constant factor are left out."""
    a, b = (np.asarray(p) for p in primals)
    left: Any = np.arange(a.size).reshape(a.shape)
    right: Any = np.arange(b.size).reshape(b.shape)
    left = left[None, :] if a.ndim == 1 else left
    right = right[:, None] if b.ndim == 1 else right
    stack = np.broadcast_shapes(left.shape[:-2], right.shape[:-2])
    left = np.broadcast_to(left, (*stack, *left.shape[-2:]))
    right = np.broadcast_to(right, (*stack, *right.shape[-2:]))
    rows, columns = left.shape[-2], right.shape[-1]
    numbers = np.arange(int(np.prod(out_shape))).reshape(*stack, rows, columns)
    total = sparse.csr_array((numbers.size, n), dtype=bool)
    if patterns[0] is not None:
        total = total + product_rows(
            numbers,
            left,
            a.size,
            patterns[0],
            None if patterns[1] is not None else b.ravel()[right],
        )
    if patterns[1] is not None:
        total = total + product_rows(
            np.swapaxes(numbers, -1, -2),
            np.swapaxes(right, -1, -2),
            b.size,
            patterns[1],
            None if patterns[0] is not None else np.swapaxes(a.ravel()[left], -1, -2),
        )
    return total


def product_rows(numbers: Any, left: Any, size: int, pattern: Matrix, right: Any) -> Matrix:
    """Rows of ``left @ right`` as far as they come from ``left``; ``right`` if it is constant.

    ``numbers (.., rows, columns)`` are those of the outputs, ``left (.., rows, inner)`` those of
    the elements of the left factor.
    """
    rows, inner, columns = left.shape[-2], left.shape[-1], numbers.shape[-1]
    if right is not None and np.count_nonzero(right) < 0.5 * right.size:
        *where, k, j = np.nonzero(right)
        targets = numbers[(*where, slice(None), j)] if where else numbers[:, j].T
        sources = left[(*where, slice(None), k)] if where else left[:, k].T
        return selection(targets, sources, (numbers.size, size)) @ pattern
    # All columns have the same rows: the union over the inner axis, once for each row.
    of_rows = np.arange(left.size // max(inner, 1)).reshape(*left.shape[:-2], rows)
    united = selection(np.broadcast_to(of_rows[..., None], left.shape), left, (of_rows.size, size))
    order = np.empty(numbers.size, int)
    order[numbers.ravel()] = np.broadcast_to(of_rows[..., None], (*of_rows.shape, columns)).ravel()
    return (united @ pattern)[order]


def stacked_systems(
    primals: Sequence[Any], patterns: Sequence[Matrix | None], out_shape: tuple[int, ...], n: int
) -> Matrix:
    """Rows of ``solve``: an unknown depends on its matrix and on its right-hand side."""
    a, b = (np.arange(np.size(p)).reshape(np.shape(p)) for p in primals)
    numbers = np.arange(int(np.prod(out_shape))).reshape(out_shape)
    if b.ndim == 1:
        numbers, b = numbers[..., None], b[:, None]
    b = np.broadcast_to(b, numbers.shape)
    a = np.broadcast_to(a.reshape(*a.shape[:-2], -1), (*numbers.shape[:-2], a.shape[-1] ** 2))
    total = sparse.csr_array((numbers.size, n), dtype=bool)
    if patterns[0] is not None:
        flat = numbers.reshape(*numbers.shape[:-2], -1)
        total = total + every_pair(flat, a, (numbers.size, np.size(primals[0]))) @ patterns[0]
    if patterns[1] is not None:
        columns, known = np.swapaxes(numbers, -1, -2), np.swapaxes(b, -1, -2)
        pairs = every_pair(columns, known, (numbers.size, np.size(primals[1])))
        total = total + pairs @ patterns[1]
    return total


def every_pair(targets: Any, sources: Any, shape: tuple[int, int]) -> Matrix:
    """Ones wherever both numbers stand at the same place but for the last axis."""
    full = (*targets.shape, sources.shape[-1])
    return selection(
        np.broadcast_to(targets[..., :, None], full),
        np.broadcast_to(sources[..., None, :], full),
        shape,
    )


def run(
    function: Callable[..., Sequence[Any]], leaves: Sequence[Any], most: float = np.inf
) -> tuple[list[Any], Matrix]:
    """Outputs of a flat function and the pattern of its Jacobian, over all leaves in order."""
    sizes = [np.size(x) for x in leaves]
    n = sum(sizes)
    with PatternTrace(n, most) as trace:
        inputs, start = [], 0
        for x, size in zip(leaves, sizes, strict=True):
            columns = np.arange(start, start + size)
            inputs.append(Array(trace, x, selection(np.arange(size), columns, (size, n))))
            start += size
        outputs = list(function(*inputs))
        for y in outputs:
            if type(y) is Array and y.alias is not None:
                y.alias.refresh(y)
        owned = [trace.own(y) for y in outputs]
    trace.warn()
    blocks = [sparse.csr_array((0, n), dtype=bool)]
    for y in owned:
        empty = sparse.csr_array((np.size(y.value), n), dtype=bool)
        blocks.append(empty if y.aux is None else y.aux)
    matrix = sparse.vstack(blocks, format="csr")
    matrix.sort_indices()
    return [y.value for y in owned], matrix

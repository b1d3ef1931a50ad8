"""Colourings of sparsity patterns: which directions one derivative can serve at once.

Algorithms, all greedy, over three orders of the columns (as they come, most entries first, fewest
left last), of which the one with the fewest colours is taken:

``color_columns``    columns of one colour share no row (Curtis, Powell & Reid 1974; Coleman &
                     More 1983). Lower bound: the entries of the fullest row.
``color_symmetric``  star colouring: every path of four vertices has three colours, so that each
                     entry or its mirror image can be read off (Gebremedhin, Manne & Pothen 2005,
                     "What Color Is Your Jacobian?", algorithm 4.1).
``color_jacobian``   both sides: full rows are taken by cotangents, the rest by tangents (Coleman &
                     Verma 1998, with the simplest of partitions: rows by their entries).

Cost: linear in the entries; the colours around a vertex are kept as the bits of an integer. Known
limits: greedy colourings are not always minimal (7 instead of 5 for the five-point stencil).
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from pullback.core.source import here
from pullback.errors import ShapeError
from pullback.sparse.pattern import as_pattern

__all__ = ["Coloring", "color_columns", "color_jacobian", "color_symmetric"]


@dataclass(frozen=True)
class Coloring:
    """Colours of the columns and, where cotangents serve some rows, of these.

    Attributes:
        columns: colour of each column, ``(n,)``; -1 where no tangent is needed.
        rows: colour of each row, ``(m,)``; -1 where tangents serve.
        n_columns, n_rows: numbers of colours: of JVPs, and of VJPs.
    """

    columns: Any
    rows: Any
    n_columns: int
    n_rows: int = 0

    @property
    def n_colors(self) -> int:
        return self.n_columns + self.n_rows


def adjacency(matrix: Any) -> list[list[int]]:
    """The columns of each row."""
    columns, starts = matrix.indices.tolist(), matrix.indptr.tolist()
    return [columns[a:b] for a, b in pairwise(starts)]


def smallest_last(degrees: Sequence[int], neighbours: Any) -> list[int]:
    """Vertices in the reverse of the order in which the one of least degree is taken away."""
    left = list(degrees)
    heap = [(d, v) for v, d in enumerate(left)]
    heapq.heapify(heap)
    taken = [False] * len(left)
    order = []
    while heap:
        d, v = heapq.heappop(heap)
        if taken[v] or d != left[v]:
            continue
        taken[v] = True
        order.append(v)
        for w in neighbours(v):
            if not taken[w]:
                left[w] -= 1
                heapq.heappush(heap, (left[w], w))
    return order[::-1]


def free_color(taken: int) -> int:
    """The lowest bit that is not set."""
    return ((~taken) & (taken + 1)).bit_length() - 1


def greedy_columns(of_column: Any, n_rows: int, order: Sequence[int]) -> Any:
    in_row = [0] * n_rows  # bit c: a column of colour c has an entry in the row
    colors = np.zeros(len(of_column), np.int64)
    for j in order:
        taken = 0
        for row in of_column[j]:
            taken |= in_row[row]
        color = free_color(taken)
        colors[j] = color
        bit = 1 << color
        for row in of_column[j]:
            in_row[row] |= bit
    return colors


def fewest(candidates: Sequence[Any]) -> tuple[Any, int]:
    counted = [(int(colors.max(initial=-1)) + 1, colors) for colors in candidates]
    n, colors = min(counted, key=lambda item: item[0])
    return colors, n


def color_columns(pattern: Any) -> Coloring:
    """Colours such that columns of one colour share no row.

    >>> import numpy as np
    >>> from pullback.sparse import color_columns
    >>> tridiagonal = np.eye(6, k=-1) + np.eye(6) + np.eye(6, k=1)
    >>> color_columns(tridiagonal).n_colors
    3
    """
    matrix = as_pattern(pattern)
    m, n = matrix.shape
    of_column = adjacency(matrix.T.tocsr())
    degrees = [len(rows) for rows in of_column]
    natural = range(n)
    fullest = sorted(natural, key=lambda j: -degrees[j])
    least = int(np.diff(matrix.indptr).max(initial=0))  # no colouring has fewer
    colors, n_colors = fewest([greedy_columns(of_column, m, natural)])
    if n_colors > least:
        colors, n_colors = fewest([colors, greedy_columns(of_column, m, fullest)])
    return Coloring(colors, np.full(m, -1), n_colors)


def color_symmetric(pattern: Any) -> Coloring:
    """Star colouring of a symmetric pattern, for Hessians.

    Raises:
        ShapeError: if the pattern is not square.

    >>> import numpy as np
    >>> from pullback.sparse import color_symmetric
    >>> arrow = np.eye(9)
    >>> arrow[0] = arrow[:, 0] = 1
    >>> color_symmetric(arrow).n_colors
    2
    """
    matrix = as_pattern(pattern)
    m, n = matrix.shape
    if m != n:
        raise ShapeError(
            f"color_symmetric: a pattern of shape {matrix.shape} is not symmetric",
            where=str(here()),
            fix="use color_jacobian",
        )
    matrix = as_pattern(matrix + matrix.T)
    near = [[w for w in row if w != v] for v, row in enumerate(adjacency(matrix))]
    natural = range(n)
    fullest = sorted(natural, key=lambda v: -len(near[v]))
    peeled = smallest_last([len(row) for row in near], near.__getitem__)
    candidates = [greedy_star(near, order) for order in (natural, fullest, peeled)]
    colors, n_colors = fewest(candidates)
    return Coloring(colors, np.full(m, -1), n_colors)


def greedy_star(near: Sequence[Sequence[int]], order: Sequence[int]) -> Any:
    colors = [-1] * len(near)
    around = [0] * len(near)  # bit c: a neighbour has colour c
    for v in order:
        taken = 0
        for w in near[v]:
            color = colors[w]
            if color < 0:
                taken |= around[w]
            else:
                taken |= (1 << color) | (around[w] & ((1 << color) - 1))
        colors[v] = color = free_color(taken)
        bit = 1 << color
        for w in near[v]:
            around[w] |= bit
    return np.array(colors, np.int64)


def color_jacobian(pattern: Any) -> Coloring:
    """Colours of columns and rows: the cheaper of one side, the other, and both.

    A tangent costs less than a cotangent; here both count the same, as in the literature.

    >>> import numpy as np
    >>> from pullback.sparse import color_jacobian
    >>> arrow = np.eye(9)
    >>> arrow[0] = arrow[:, 0] = 1
    >>> coloring = color_jacobian(arrow)
    >>> coloring.n_columns, coloring.n_rows
    (2, 1)
    """
    matrix = as_pattern(pattern)
    m, n = matrix.shape
    if matrix.nnz == 0:
        return Coloring(np.full(n, -1), np.full(m, -1), 0)
    best = color_columns(matrix)
    counts = np.diff(matrix.indptr)
    levels = np.unique(counts)[::-1]
    # Rows with many entries go to cotangents; a few thresholds between "none" and "all".
    chosen = {int(levels[int(i)]) for i in np.linspace(0, len(levels) - 1, 6)}
    for level in sorted(chosen, reverse=True):
        full = counts >= level
        at_columns = np.bincount(matrix.indices[np.repeat(full, counts)], minlength=n)
        least = int(counts[~full].max(initial=0)) + int(at_columns.max(initial=0))
        if least >= best.n_colors:
            continue
        found = split(matrix, full)
        if found.n_colors < best.n_colors:
            best = found
    return best


def split(matrix: Any, full: Any) -> Coloring:
    """Cotangents for the rows ``full``, tangents for the others."""
    m, n = matrix.shape
    by_rows = color_columns(matrix[full].T.tocsr())
    rows = np.full(m, -1)
    rows[full] = by_rows.columns
    rest = matrix[~full]
    columns = np.full(n, -1)
    n_columns = 0
    if rest.nnz:
        by_columns = color_columns(rest)
        used = np.diff(rest.tocsc().indptr) > 0
        columns[used] = by_columns.columns[used]
        n_columns = int(columns.max()) + 1
    return Coloring(columns, rows, n_columns, by_rows.n_columns)


def seeds(colors: Any, n_colors: int) -> Any:
    """A row for each colour: 1 where an element has it, ``(n_colors, size)``."""
    rows = np.zeros((n_colors, colors.size))
    used = np.flatnonzero(colors >= 0)
    rows[colors[used], used] = 1
    return rows


def places_jacobian(matrix: Any, coloring: Coloring) -> Any:
    """Where the entries at ``matrix`` stand in the products, one after the other.

    First ``S^T J^T`` for the seeds ``S`` of the columns, ``(n_columns, m)``, then ``W J`` for those
    of the rows, ``(n_rows, n)``.
    """
    m, n = matrix.shape
    i, j = entries(matrix)
    by_column = coloring.columns[j] * m + i
    by_row = coloring.n_columns * m + coloring.rows[i] * n + j
    return np.where(coloring.rows[i] >= 0, by_row, by_column)


def places_symmetric(matrix: Any, coloring: Coloring) -> Any:
    """Where the entries of a symmetric matrix ``H`` stand in ``S^T H``, ``(n_columns, n)``.

    Entry ``(i, j)`` stands alone in its row of ``H S`` unless another neighbour of ``i`` has the
    colour of ``j``; then its mirror image ``(j, i)`` does.
    """
    n = matrix.shape[0]
    i, j = entries(matrix)
    colors = coloring.columns.astype(np.int64)
    shared = np.bincount(i * coloring.n_columns + colors[j])
    is_alone = shared[i * coloring.n_columns + colors[j]] == 1
    return np.where(is_alone, colors[j] * n + i, colors[i] * n + j)


def entries(matrix: Any) -> tuple[Any, Any]:
    """Row and column of each entry of a ``csr_array``, in its order."""
    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    return rows, matrix.indices.astype(np.int64)

"""Sparse Jacobians and Hessians: pattern, colouring, one derivative per colour, entries.

Sources: Curtis, Powell & Reid (1974); Griewank & Walther (2008), chapter 8; A. Hill, G. Dalle
(2025), "Sparser, Better, Faster, Stronger: Sparsity Detection for Efficient Automatic
Differentiation", arXiv:2501.17737.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from pullback import tree
from pullback.compiler.jit import compile  # noqa: A004
from pullback.core.guard import fingerprint
from pullback.core.source import here
from pullback.core.types import type_of
from pullback.errors import ArgumentError, ShapeError, StagingError
from pullback.sparse.coloring import (
    Coloring,
    color_jacobian,
    color_symmetric,
    places_jacobian,
    places_symmetric,
    seeds,
)
from pullback.sparse.pattern import Pattern, as_pattern, run
from pullback.transforms.derivatives import as_leaves, flat, grad, jvp, vjp
from pullback.transforms.evaluate import evaluate
from pullback.transforms.stage import stage
from pullback.transforms.vmap import vmap

__all__ = ["hessian_sparsity", "jacobian_sparsity", "sparse_hessian", "sparse_jacobian"]

Function = Callable[..., Any]


class Found:
    """A pattern that was read off a function, and until when it holds.

    It holds for all values of the arguments if the function could be staged: then no branch depends
    on them. What the function read from outside may have been a matrix with zeros; if that was
    changed in place, the pattern no longer holds.
    """

    def __init__(self, fun: Function, args: tuple[Any, ...], most: float = np.inf) -> None:
        leaves, structure = as_leaves(args, "args")
        function = flat(fun, structure, [])
        self.outside: list[tuple[Any, Any]] = []
        try:
            staged = stage(function, [type_of(x) for x in leaves], "sparsity")
        except StagingError:
            self.is_staged = False
        else:
            self.is_staged = True
            self.outside = [(x, fingerprint(x)) for x in staged.captured if type(x) is np.ndarray]

            def function(*xs: Any) -> Any:
                return evaluate(staged.graph, [*staged.captured, *xs])

        self.matrix = run(function, leaves, most)[1]

    def holds(self) -> bool:
        return self.is_staged and all(fingerprint(x) == content for x, content in self.outside)


def jacobian_sparsity(fun: Function, *args: Any) -> Pattern:
    """Where the Jacobian of ``fun`` may have nonzeros: rows are outputs, columns all of ``args``.

    Conservative: what is not marked is zero at every point (at these values, if branches of
    ``fun`` depend on values). An operation without a rule makes its rows dense, with a warning.

    >>> import numpy as np
    >>> import pullback as pb
    >>> pattern = pb.sparse.jacobian_sparsity(lambda x: x[1:] * x[:-1], np.ones(4))
    >>> pattern.matrix.toarray().astype(int)
    array([[1, 1, 0, 0],
           [0, 1, 1, 0],
           [0, 0, 1, 1]])
    """
    return Pattern(Found(fun, args).matrix)


def hessian_sparsity(fun: Function, *args: Any) -> Pattern:
    """Where the Hessian of the scalar function ``fun`` may have nonzeros, over all of ``args``.

    >>> import numpy as np
    >>> import pullback as pb
    >>> pb.sparse.hessian_sparsity(lambda x: x[0] ** 2 + x[1] * x[2], np.ones(3)).nnz
    3
    """
    return Pattern(Found(grad(fun, tuple(range(len(args)))), args).matrix)


class Compressed:
    """A matrix of derivatives through its pattern; made by :func:`sparse_jacobian`.

    Attributes:
        pattern: the :class:`Pattern` in use, after the first call.
        coloring: its :class:`Coloring`.
    """

    def __init__(
        self,
        fun: Function,
        sparsity: Any,
        coloring: Coloring | None,
        is_symmetric: bool,
        is_compiled: bool,
        most: float = np.inf,
    ) -> None:
        self.fun = fun
        self.most = most  # entries of a pattern, beyond which detection gives up
        self.is_symmetric = is_symmetric
        self.given = None if sparsity is None else as_pattern(sparsity)
        self.given_coloring = coloring
        self.pattern: Pattern | None = None
        self.coloring: Coloring | None = None
        self.known: dict[Any, Plan] = {}  # by the types of the arguments
        self.found: dict[Any, Found] = {}
        self.run = self.values if not is_compiled else compile(self.values)

    def values(self, args: tuple[Any, ...], tangents: Any, cotangents: Any, places: Any) -> Any:
        """The entries: products with all tangents and cotangents at once, and those at places."""
        x, unravel = tree.ravel(args)

        def flat(x: Any) -> Any:
            return tree.joined(self.fun(*unravel(x)))

        parts = []
        if len(tangents):
            pushed = vmap(lambda v: jvp(flat, (x,), (v,))[1])(tangents.astype(x.dtype))
            parts.append(pushed.ravel())
        if len(cotangents):
            y, pull = vjp(flat, x)
            parts.append(vmap(lambda u: pull(u)[0])(cotangents.astype(y.dtype)).ravel())
        return (parts[0] if len(parts) == 1 else np.concatenate(parts))[places]

    def prepare(self, args: tuple[Any, ...]) -> Plan:
        leaves, structure = as_leaves(args, "args")
        key = (structure, tuple((np.shape(x), x.dtype) for x in leaves))
        if key in self.known and (key not in self.found or self.found[key].holds()):
            return self.known[key]
        if self.given is None:
            found = self.found[key] = Found(self.fun, args, self.most)
            matrix = found.matrix
        else:
            matrix = self.given
        n = sum(np.size(x) for x in leaves)
        if matrix.shape[1] != n:
            raise ShapeError(
                f"the sparsity pattern has {matrix.shape[1]} columns for {n} inputs",
                where=str(here()),
                fix="give a pattern with a column for each element of the arguments",
            )
        plan = self.known[key] = planned(matrix, self.given_coloring, self.is_symmetric)
        return plan

    def __call__(self, *args: Any) -> Any:
        plan = self.prepare(args)
        matrix, coloring = plan.pattern.matrix, plan.coloring
        self.pattern, self.coloring = plan.pattern, coloring
        if not coloring.n_colors:
            return sparse.csr_array(matrix.shape, dtype=type_of(tree.leaves(args)[0]).dtype)
        values = np.asarray(self.run(args, plan.tangents, plan.cotangents, plan.places))
        # Copies: SciPy's methods on a matrix change these arrays in place.
        parts = values, matrix.indices.copy(), matrix.indptr.copy()
        return sparse.csr_array(parts, shape=matrix.shape)


@dataclass(frozen=True)
class Plan:
    """What every evaluation through a pattern shares: the seeds, and where its entries stand."""

    pattern: Pattern
    coloring: Coloring
    tangents: Any  # (n_columns, n)
    cotangents: Any  # (n_rows, m)
    places: Any  # of the entries, in the order of the pattern


def planned(matrix: Any, coloring: Coloring | None, is_symmetric: bool) -> Plan:
    if is_symmetric:
        matrix = as_pattern(matrix + matrix.T)
    coloring = coloring or (color_symmetric if is_symmetric else color_jacobian)(matrix)
    return Plan(
        Pattern(matrix),
        coloring,
        seeds(coloring.columns, coloring.n_columns),
        seeds(coloring.rows, coloring.n_rows),
        (places_symmetric if is_symmetric else places_jacobian)(matrix, coloring),
    )


def sparse_jacobian(
    fun: Function,
    *,
    sparsity: Any = None,
    coloring: Coloring | None = None,
    compile: bool = False,
) -> Compressed:
    """Function that returns the Jacobian of ``fun`` as a ``scipy.sparse.csr_array``.

    Rows are the elements of the result, columns those of all arguments, in order. The pattern is
    read off the function at the first call for each set of shapes (at every call, if branches of
    ``fun`` depend on values); then each call costs one JVP or VJP per colour.

    Args:
        fun: NumPy code from float arrays (or containers of them) to float arrays.
        sparsity: the pattern, if you know it: a :class:`Pattern`, sparse matrix or array. It must
            hold every nonzero.
        coloring: the colouring, if you have it; it must belong to the pattern.
        compile: whether the derivatives run as native code.

    Returns:
        A function of the arguments of ``fun``; its attributes ``pattern`` and ``coloring`` are
        those of its last call.

    Raises:
        ShapeError: if ``sparsity`` does not fit the arguments.

    >>> import numpy as np
    >>> import pullback as pb
    >>> jacobian = pb.sparse_jacobian(lambda x: np.diff(x) ** 2)
    >>> jacobian(np.array([1.0, 2.0, 4.0])).toarray()
    array([[-2.,  2.,  0.],
           [ 0., -4.,  4.]])
    >>> jacobian.coloring.n_colors
    2
    """
    require_pattern(sparsity, coloring)
    return Compressed(fun, sparsity, coloring, False, compile)


def sparse_hessian(
    fun: Function,
    *,
    sparsity: Any = None,
    coloring: Coloring | None = None,
    compile: bool = False,
) -> Compressed:
    """Function that returns the Hessian of the scalar ``fun`` as a ``scipy.sparse.csr_array``.

    Arguments and errors are those of :func:`sparse_jacobian`; rows and columns are the elements of
    all arguments. Each call costs one Hessian-vector product per colour of a star colouring.

    >>> import numpy as np
    >>> import pullback as pb
    >>> hessian = pb.sparse_hessian(lambda x: np.sum(x[1:] * x[:-1] ** 2))
    >>> hessian(np.array([1.0, 2.0, 3.0])).toarray()
    array([[4., 2., 0.],
           [2., 6., 4.],
           [0., 4., 0.]])
    """
    require_pattern(sparsity, coloring)

    def gradient(*args: Any) -> Any:
        return grad(fun, tuple(range(len(args))))(*args)

    return Compressed(gradient, sparsity, coloring, True, compile)


def require_pattern(sparsity: Any, coloring: Any) -> None:
    if coloring is not None and sparsity is None:
        raise ArgumentError(
            "a colouring was given without its pattern",
            where=str(here()),
            fix="pass sparsity=, the pattern that it colours",
        )

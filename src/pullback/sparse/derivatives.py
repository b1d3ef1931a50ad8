"""Sparse Jacobians and Hessians: pattern, colouring, one derivative per colour, entries.

Sources: Curtis, Powell & Reid (1974); Griewank & Walther (2008), chapter 8; A. Hill, G. Dalle
(2025), "Sparser, Better, Faster, Stronger: Sparsity Detection for Efficient Automatic
Differentiation", arXiv:2501.17737.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import sparse

from pullback import tree
from pullback.compiler.jit import compile  # noqa: A004
from pullback.core.source import here
from pullback.core.types import type_of
from pullback.errors import ArgumentError, ShapeError, StagingError
from pullback.sparse.coloring import (
    Coloring,
    color_jacobian,
    color_symmetric,
    read_jacobian,
    read_symmetric,
    seeds,
)
from pullback.sparse.pattern import Pattern, as_pattern, run
from pullback.transforms.derivatives import as_leaves, flat, grad, jvp, vjp
from pullback.transforms.evaluate import evaluate
from pullback.transforms.stage import stage
from pullback.transforms.vmap import vmap

__all__ = ["hessian_sparsity", "jacobian_sparsity", "sparse_hessian", "sparse_jacobian"]

Function = Callable[..., Any]


def detect(fun: Function, args: tuple[Any, ...]) -> tuple[Any, bool]:
    """Pattern of the Jacobian over all arguments, and whether it holds at every point.

    It does if the function can be staged: then no branch depends on values.
    """
    leaves, structure = as_leaves(args, "args")
    function = flat(fun, structure, [])
    try:
        staged = stage(function, [type_of(x) for x in leaves], "sparsity")
    except StagingError:
        return run(function, leaves)[1], False
    return run(lambda *xs: evaluate(staged.graph, [*staged.captured, *xs]), leaves)[1], True


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
    return Pattern(detect(fun, args)[0])


def hessian_sparsity(fun: Function, *args: Any) -> Pattern:
    """Where the Hessian of the scalar function ``fun`` may have nonzeros, over all of ``args``.

    >>> import numpy as np
    >>> import pullback as pb
    >>> pb.sparse.hessian_sparsity(lambda x: x[0] ** 2 + x[1] * x[2], np.ones(3)).nnz
    3
    """
    return Pattern(detect(grad(fun, tuple(range(len(args)))), args)[0])


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
    ) -> None:
        self.fun = fun
        self.is_symmetric = is_symmetric
        self.given = None if sparsity is None else as_pattern(sparsity)
        self.given_coloring = coloring
        self.pattern: Pattern | None = None
        self.coloring: Coloring | None = None
        self.known: dict[Any, tuple[Any, Coloring]] = {}  # by the types of the arguments
        self.forward = self.tangents if not is_compiled else compile(self.tangents)
        self.backward = self.cotangents if not is_compiled else compile(self.cotangents)

    def tangents(self, args: tuple[Any, ...], rows: Any) -> Any:
        """``J`` times each row of ``rows``, as rows."""
        x, unravel = tree.ravel(args)
        return vmap(lambda v: jvp(lambda x: tree.joined(self.fun(*unravel(x))), (x,), (v,))[1])(
            rows.astype(x.dtype)
        )

    def cotangents(self, args: tuple[Any, ...], rows: Any) -> Any:
        """Each row of ``rows`` times ``J``."""
        x, unravel = tree.ravel(args)
        y, pull = vjp(lambda x: tree.joined(self.fun(*unravel(x))), x)
        return vmap(lambda u: pull(u)[0])(rows.astype(y.dtype))

    def prepare(self, args: tuple[Any, ...]) -> tuple[Any, Coloring]:
        leaves, structure = as_leaves(args, "args")
        key = (structure, tuple((np.shape(x), x.dtype) for x in leaves))
        if key in self.known:
            return self.known[key]
        if self.given is None:
            matrix, holds = detect(self.fun, args)
        else:
            matrix, holds = self.given, True
        n = sum(np.size(x) for x in leaves)
        if matrix.shape[1] != n:
            raise ShapeError(
                f"the sparsity pattern has {matrix.shape[1]} columns for {n} inputs",
                where=str(here()),
                fix="give a pattern with a column for each element of the arguments",
            )
        if self.is_symmetric:
            matrix = as_pattern(matrix + matrix.T)
        choose = color_symmetric if self.is_symmetric else color_jacobian
        found = matrix, self.given_coloring or choose(matrix)
        if holds:
            self.known[key] = found
        return found

    def __call__(self, *args: Any) -> Any:
        matrix, coloring = self.prepare(args)
        self.pattern, self.coloring = Pattern(matrix), coloring
        forward = backward = np.zeros((0, 0))
        if coloring.n_columns:
            forward = np.asarray(self.forward(args, seeds(coloring.columns, coloring.n_columns)))
        if coloring.n_rows:
            backward = np.asarray(self.backward(args, seeds(coloring.rows, coloring.n_rows)))
        if not coloring.n_colors:
            return sparse.csr_array(matrix.shape, dtype=type_of(tree.leaves(args)[0]).dtype)
        if self.is_symmetric:
            return read_symmetric(matrix, coloring, forward.T)
        return read_jacobian(matrix, coloring, forward.T, backward)


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

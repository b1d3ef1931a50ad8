"""Whole Jacobians and Hessians, by the cheapest of all ways: plain, mixed or compressed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from pullback import tree
from pullback.core.array import Array
from pullback.core.guard import fingerprint
from pullback.core.source import here
from pullback.core.types import type_of
from pullback.core.wrapper import Wrapper
from pullback.errors import ArgumentError
from pullback.sparse.coloring import Coloring
from pullback.sparse.derivatives import Compressed
from pullback.sparse.pattern import TooManyEntriesError
from pullback.transforms.derivatives import as_leaves, grad, pick
from pullback.transforms.mode import Choice, Jacobian, Problem, require_float

__all__ = ["hessian", "jacobian"]

Function = Callable[..., Any]
MODES = ("auto", "forward", "reverse", "mixed", "sparse")
LEAST_ENTRIES = 4_000_000  # of a dense matrix, below which reading a pattern does not pay
SERVED = 4  # columns (and rows) that a derivative has to serve on the average, for it to pay
MOST_REMEMBERED = 8  # values of the other arguments, for which patterns are kept


def jacobian(
    fun: Function,
    argnums: int | Sequence[int] = 0,
    mode: str = "auto",
    holomorphic: bool = False,
    *,
    sparse: bool | str = False,
    explain: bool = False,
) -> Function:
    """Function that returns the matrix of all first derivatives of ``fun``.

    Args:
        fun: returns a container of float or complex arrays.
        argnums: position(s) of the differentiated arguments.
        mode: ``"forward"`` (one tangent per input element), ``"reverse"`` (one cotangent per output
            element), ``"mixed"`` (products of the Jacobians of stretches of ``fun``, in the
            cheapest order), ``"sparse"`` (one derivative per colour, see
            :func:`pullback.sparse_jacobian`), or ``"auto"``: the cheapest by the modelled number
            of operations. Complex results of real arguments need forward mode, real results of
            complex arguments reverse mode; then each entry is the gradient of the result, a
            direction of steepest ascent.
        holomorphic: whether ``fun`` is a holomorphic function of complex arguments, whose complex
            derivatives are wanted.
        sparse: ``True``: each block is a ``scipy.sparse.csr_array``; ``"auto"``: if a pattern
            saves at least three derivatives in four, else an array.
        explain: whether to return ``(jacobian, choice)``; ``print(choice)`` says which mode was
            taken, why, and what the others would have cost.

    Returns:
        For each output leaf of shape ``s`` and each argument leaf of shape ``t`` an array of shape
        ``s + t``, nested as the output, then as the argument. A sparse block has the shape
        ``(size of the output leaf, size of the argument leaf)``.

    Raises:
        ArgumentError: for an unknown mode, or for a sparse result inside another transform.
        NotDifferentiableError: if arguments and results are complex without ``holomorphic``, since
            one complex number then cannot hold the derivative.

    Reference:
        Griewank & Walther (2008), *Evaluating Derivatives*, chapters 3, 8 and 10.

    >>> import numpy as np
    >>> import pullback as pb
    >>> pb.jacobian(lambda x: x**2)(np.array([1.0, 2.0]))
    array([[2., 0.],
           [0., 4.]])
    >>> J, choice = pb.jacobian(lambda x: np.sum(x**2), explain=True)(np.ones(3))
    >>> print(choice.mode, "because", choice.reason)
    reverse because 1 cotangents cost less than 3 tangents
    """
    return Chosen(fun, argnums, mode, holomorphic, sparse, explain, False)


def hessian(
    fun: Function,
    argnums: int | Sequence[int] = 0,
    holomorphic: bool = False,
    *,
    sparse: bool | str = False,
    explain: bool = False,
) -> Function:
    """Function that returns the matrix of second derivatives of the scalar function ``fun``.

    Forward over reverse: all unit tangents through the gradient at once, or one for each colour of
    a star colouring (see :func:`pullback.sparse_hessian`). Shapes nest as in :func:`jacobian` of
    the gradient; ``sparse`` and ``explain`` are those of :func:`jacobian`.

    >>> import numpy as np
    >>> import pullback as pb
    >>> pb.hessian(lambda x: x[0] ** 2 * x[1])(np.array([1.0, 3.0]))
    array([[6., 2.],
           [2., 0.]])
    """
    gradient = grad(fun, argnums, holomorphic=holomorphic)
    return Chosen(gradient, argnums, "auto", holomorphic, sparse, explain, True)


class Chosen(Wrapper):
    """What :func:`jacobian` and :func:`hessian` return."""

    def __init__(
        self,
        fun: Function,
        argnums: int | Sequence[int],
        mode: str,
        holomorphic: bool,
        sparse: bool | str,
        explain: bool,
        is_symmetric: bool,
    ) -> None:
        super().__init__(fun)
        if mode not in MODES:
            raise ArgumentError(
                f"jacobian: mode={mode!r}",
                where=str(here()),
                fix="choose one of " + ", ".join(map(repr, MODES)),
            )
        if sparse not in (True, False, "auto") or (sparse and mode not in ("auto", "sparse")):
            raise ArgumentError(
                f"jacobian: sparse={sparse!r} with mode={mode!r}",
                where=str(here()),
                fix="pass sparse=True or 'auto' without a mode, or leave it out",
            )
        self.argnums = argnums
        self.mode = mode
        self.sparse = sparse
        self.explain = explain
        self.is_symmetric = is_symmetric
        plain = "forward" if is_symmetric else mode if mode != "sparse" else "auto"
        self.dense = Jacobian(fun, argnums, plain, holomorphic)
        self.known: dict[Any, Compressed | None] = {}  # None: too many entries

    def action(self) -> str:
        return "jacobian"

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        value, choice = self.chosen(args, kwargs)
        return (value, choice) if self.explain else value

    def chosen(self, args: Any, kwargs: Any) -> tuple[Any, Choice | None]:
        problem = self.dense.problem(args, kwargs)
        if self.may_compress(problem):
            compressed = self.compressed(args, kwargs, problem)
            if compressed is not None:
                return self.through(compressed, problem)
        mode = problem.decide()
        choice = problem.explanation(mode) if self.explain else None
        return self.dense.nested(problem.structure, *problem.blocks(mode)), choice

    def may_compress(self, problem: Problem) -> bool:
        """Whether to look at the pattern; refuses what was asked for and cannot be."""
        is_plain = all(
            type(x) is not Array and kind.dtype.kind == "f"
            for x, kind in zip(problem.leaves, problem.types, strict=True)
        )
        if self.sparse is True or self.mode == "sparse":
            if not is_plain:
                raise ArgumentError(
                    "jacobian: a sparse evaluation needs real arrays, not "
                    + ", ".join(map(str, problem.types)),
                    where=str(here()),
                    details=["inside another transform there is no sparse matrix"],
                    fix="pass mode='auto' without sparse",
                )
            return True
        if not is_plain or self.mode != "auto":
            return False
        if self.sparse == "auto":
            return True
        # A square matrix of this size at least; of a gradient no pattern is read.
        n = problem.n
        return n * n >= LEAST_ENTRIES and n * problem.m >= LEAST_ENTRIES and problem.m > SERVED

    def compressed(self, args: Any, kwargs: Any, problem: Problem) -> Compressed | None:
        """The evaluation through the pattern; ``None`` if that does not pay."""
        key = self.key(args, kwargs)
        if key is not None and key in self.known:
            found = self.known[key]
            if found is not None:
                found.fun = problem.function
            return found
        is_asked = self.sparse is True or self.mode == "sparse"
        most = np.inf if is_asked else problem.n * max(problem.m, 1) / SERVED
        found = Compressed(problem.function, None, None, self.is_symmetric, False, most)
        try:
            plan = found.prepare(tree.unflatten(problem.structure, problem.leaves))
        except TooManyEntriesError:
            found = None
        else:
            m, n = plan.pattern.shape
            if not is_asked and SERVED * plan.coloring.n_colors > min(m, n):
                found = None
        if key is not None:
            if len(self.known) >= MOST_REMEMBERED:
                self.known.clear()
            self.known[key] = found
        return found

    def key(self, args: Any, kwargs: Any) -> Any:
        """What a pattern depends on: shapes, and the content of the other arguments."""
        numbers = pick(args, self.argnums)
        others = [a for k, a in enumerate(args) if k not in numbers]
        leaves, structure = tree.flatten((others, kwargs))
        if not all(isinstance(x, (np.ndarray, np.generic, int, float)) for x in leaves):
            return None
        chosen, inner = as_leaves(tuple(args[k] for k in numbers), "args")
        content = [str(fingerprint(np.asarray(x))) for x in leaves]
        shapes = [type_of(x) for x in (*leaves, *chosen)]
        return str(structure), str(inner), *content, *map(str, shapes)

    def through(self, compressed: Compressed, problem: Problem) -> tuple[Any, Choice | None]:
        chosen = tree.unflatten(problem.structure, problem.leaves)
        outputs, out_structure = tree.flatten(problem.function(*chosen))
        require_float(outputs)
        matrix = compressed(*chosen)
        coloring = compressed.coloring
        assert coloring is not None
        rows, columns = offsets(outputs), offsets(problem.leaves)
        blocks = [
            [self.block(matrix[a:b, c:d], y, x) for x, (c, d) in columns] for y, (a, b) in rows
        ]
        choice = explained(coloring, matrix, problem) if self.explain else None
        return self.dense.nested(problem.structure, out_structure, blocks), choice

    def block(self, part: Any, y: Any, x: Any) -> Any:
        if self.sparse:
            return part
        return part.toarray().reshape(np.shape(y) + np.shape(x)).astype(x.dtype, copy=False)


def offsets(leaves: Sequence[Any]) -> list[tuple[Any, tuple[int, int]]]:
    """Each leaf with the interval of its elements."""
    ends = np.cumsum([0, *(np.size(leaf) for leaf in leaves)])
    return list(zip(leaves, pairwise(map(int, ends)), strict=True))


def explained(coloring: Coloring, matrix: Any, problem: Problem) -> Choice:
    m, n = matrix.shape
    forward, reverse = problem.chain.plain()
    each = problem.chain.plain()[0] / max(n, 1)
    item = matrix.data.itemsize
    sides = [
        f"{count} {kind}"
        for count, kind in ((coloring.n_columns, "tangents"), (coloring.n_rows, "cotangents"))
        if count
    ]
    return Choice(
        "sparse",
        f"{' and '.join(sides) or 'no derivatives'} serve all columns: it has {matrix.nnz} entries",
        (m, n),
        {"sparse": coloring.n_colors * each, "forward": forward, "reverse": reverse},
        {"sparse": coloring.n_colors * (m + n) * item, "forward": n * m * item},
    )

"""Hessian, Gauss-Newton, Fisher and Jacobian matrices as SciPy's ``LinearOperator``.

Sources:
    Hessian: B. Pearlmutter (1994), "Fast Exact Multiplication by the Hessian".
    Gauss-Newton: N. Schraudolph (2002), "Fast Curvature Matrix-Vector Products for Second-Order
    Gradient Descent".
    Fisher: J. Martens (2020), "New Insights and Perspectives on the Natural Gradient Method",
    section 9: for a loss that is a negative log-likelihood in natural parameters the Fisher matrix
    is the Gauss-Newton matrix. The empirical Fisher (squared gradients at the labels) is another
    matrix (Kunstner et al. 2019), and is not offered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from scipy.sparse.linalg import LinearOperator

from pullback import tree
from pullback.compiler.jit import compile  # noqa: A004
from pullback.core.source import here
from pullback.core.types import type_of
from pullback.errors import ArgumentError, ShapeError
from pullback.transforms.derivatives import as_leaves, grad, jvp, linearize, vjp
from pullback.transforms.vmap import vmap

__all__ = ["linear_operator"]

KINDS = ("hessian", "gauss_newton", "fisher", "jacobian")
Function = Callable[..., Any]


def linear_operator(
    fun: Function,
    x: Any,
    kind: str = "hessian",
    *,
    loss: Function | None = None,
    batches: Iterable[tuple[Any, ...]] | None = None,
    compile: bool = False,
) -> Any:
    """A matrix of derivatives of ``fun`` at ``x``, known by its products with vectors.

    ========================  ====================  =====================================
    kind                      ``fun(x)`` returns    the matrix, for ``n`` elements of x
    ========================  ====================  =====================================
    ``"hessian"``             a scalar              second derivatives, ``(n, n)``
    ``"jacobian"``            ``m`` numbers         first derivatives, ``(m, n)``
    ``"gauss_newton"``        predictions ``z``     ``J^T H_loss J``, ``(n, n)``
    ``"fisher"``              natural parameters    the same, ``loss`` a negative log-likelihood
    ========================  ====================  =====================================

    Args:
        fun: NumPy code of ``x`` (and of the arrays of a batch).
        x: a container of float arrays.
        kind: see above.
        loss: for ``"gauss_newton"`` and ``"fisher"`` the scalar function of ``fun``'s result (and
            of the arrays of a batch) that is minimised; the matrix is positive semi-definite
            where ``loss`` is convex.
        batches: tuples of further arguments of ``fun`` and ``loss``; the matrix is then the sum
            over them, each evaluated when a product asks for it, so that memory does not grow with
            their number. Not for ``"jacobian"``.
        compile: whether products run as native code.

    Returns:
        A ``scipy.sparse.linalg.LinearOperator`` over vectors: ``op @ v``, ``op.T @ u``, and SciPy's
        ``eigsh``, ``svds``, ``cg`` take it. It also has ``op.ravel(container)`` and
        ``op.unravel(vector)``, between containers like ``x`` and vectors of length ``n``.
        Without ``batches`` the function is run once, here, and products repeat the linear part.

    Raises:
        ArgumentError: for an unknown kind, a missing or useless ``loss``, or no batches.
        ShapeError: if a scalar is wanted and ``fun`` or ``loss`` returns none.

    >>> import numpy as np
    >>> import pullback as pb
    >>> op = pb.linear_operator(lambda x: np.sum(x**3), np.array([1.0, 2.0]))
    >>> op @ np.array([1.0, 1.0])
    array([ 6., 12.])
    """
    check(kind, loss, batches)
    leaves, structure = as_leaves(x, "x")
    x = tree.unflatten(structure, leaves)
    vector, unravel = tree.ravel(x)
    batch_list = None if batches is None else [tuple(b) for b in batches]
    if batch_list is not None and not batch_list:
        raise ArgumentError(
            "linear_operator: there are no batches",
            where=str(here()),
            fix="pass a sequence of tuples of arrays",
        )
    if kind == "jacobian":
        operator = jacobian_operator(fun, x, vector, unravel, compile)
    else:
        apply = product(fun, x, loss, batch_list, compile)
        operator = symmetric(apply, vector, unravel)
    operator.ravel = lambda container: ravel(container, vector.dtype)
    operator.unravel = unravel
    return operator


def check(kind: str, loss: Function | None, batches: Any) -> None:
    if kind not in KINDS:
        raise ArgumentError(
            f"linear_operator: kind={kind!r}",
            where=str(here()),
            fix="choose one of " + ", ".join(KINDS),
        )
    needs_loss = kind in ("gauss_newton", "fisher")
    if needs_loss != (loss is not None):
        raise ArgumentError(
            f"linear_operator: kind={kind!r} takes {'a' if needs_loss else 'no'} loss",
            where=str(here()),
            fix="pass loss, a scalar function of what fun returns"
            if needs_loss
            else "drop loss, or ask for kind='gauss_newton'",
        )
    if kind == "jacobian" and batches is not None:
        raise ArgumentError(
            "linear_operator: a Jacobian is not a sum over batches",
            where=str(here()),
            fix="let fun return the values of all batches, or drop batches",
        )


def ravel(container: Any, dtype: Any) -> Any:
    return tree.joined(container).astype(dtype, copy=False)


def symmetric(apply: Function, vector: Any, unravel: Function) -> Any:
    """An operator that is its own transpose, from a function between containers."""
    n, dtype = vector.size, vector.dtype

    def matvec(v: Any) -> Any:
        return ravel(apply(unravel(np.reshape(v, -1).astype(dtype, copy=False))), dtype)

    def matmat(columns: Any) -> Any:
        return many(apply, unravel, columns, dtype)

    return LinearOperator((n, n), matvec, matvec, matmat, dtype, matmat)


def many(apply: Function, unravel: Function, columns: Any, dtype: Any) -> Any:
    """``apply`` to all columns at once."""
    rows = np.asarray(columns, dtype).T
    return np.asarray(vmap(lambda v: tree.joined(apply(unravel(v))))(rows)).T.astype(
        dtype, copy=False
    )


def jacobian_operator(
    fun: Function, x: Any, vector: Any, unravel: Function, is_compiled: bool
) -> Any:
    value, push = linearize(fun, x)
    _, pull = vjp(fun, x)
    outputs, lift = tree.ravel(value)
    if is_compiled:
        push, pull = compile(push), compile(pull)
    dtype = np.result_type(vector.dtype, outputs.dtype)

    def matvec(v: Any) -> Any:
        return ravel(push(unravel(np.reshape(v, -1).astype(dtype, copy=False))), dtype)

    def rmatvec(u: Any) -> Any:
        return ravel(pull(lift(np.reshape(u, -1).astype(dtype, copy=False)))[0], dtype)

    return LinearOperator(
        (outputs.size, vector.size),
        matvec,
        rmatvec,
        lambda columns: many(push, unravel, columns, dtype),
        dtype,
        lambda columns: many(lambda u: pull(u)[0], lift, columns, dtype),
    )


def product(
    fun: Function,
    x: Any,
    loss: Function | None,
    batches: Sequence[tuple[Any, ...]] | None,
    is_compiled: bool,
) -> Function:
    """The product of a symmetric matrix with a container like ``x``."""
    if batches is None:
        apply = recorded(fun, x, loss)
        return compile(apply) if is_compiled else apply

    def once(x: Any, v: Any, *batch: Any) -> Any:
        if loss is None:
            return jvp(grad(lambda x: fun(x, *batch)), (x,), (v,))[1]
        return gauss_newton(lambda x: fun(x, *batch), lambda z: loss(z, *batch), x, v)

    run = compile(once) if is_compiled else once

    def summed(v: Any) -> Any:
        total = run(x, v, *batches[0])
        for batch in batches[1:]:
            total = tree.map(np.add, total, run(x, v, *batch))
        return total

    return summed


def recorded(fun: Function, x: Any, loss: Function | None) -> Function:
    """The product, with all that depends on ``x`` alone computed once."""
    if loss is None:
        require_scalar(fun, "fun", x)
        return linearize(grad(fun), x)[1]
    z, push = linearize(fun, x)
    require_scalar(loss, "loss", z)
    _, pull = vjp(fun, x)
    _, curve = linearize(grad(loss), z)
    return lambda v: pull(curve(push(v)))[0]


def gauss_newton(fun: Function, loss: Function, x: Any, v: Any) -> Any:
    z, z_dot = jvp(fun, (x,), (v,))
    _, pull = vjp(fun, x)
    return pull(jvp(grad(loss), (z,), (z_dot,))[1])[0]


def require_scalar(function: Function, name: str, point: Any) -> None:
    found = [type_of(leaf) for leaf in tree.leaves(function(point))]
    if len(found) != 1 or found[0].shape != ():
        came = ", ".join(map(str, found)) or "nothing"
        raise ShapeError(
            f"linear_operator: {name} must return one scalar, and returned {came}",
            where=str(here()),
            fix="reduce the result (np.sum, np.mean), or ask for kind='jacobian'",
        )

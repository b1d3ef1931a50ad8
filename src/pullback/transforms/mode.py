"""Whole Jacobians and Hessians, and the choice between forward and reverse mode.

Cost model (Griewank & Walther 2008, chapters 3 and 4): a tangent costs about 2.5 and a cotangent
about 4 evaluations of the function, primal included, so forward mode wins when
``2.5 n < 4 m`` for ``n`` inputs and ``m`` outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pullback import tree
from pullback.core.source import here
from pullback.core.types import ArrayType, is_differentiable, type_of
from pullback.core.wrapper import Wrapper
from pullback.errors import ArgumentError, NotDifferentiableError
from pullback.transforms.batch import batch_flat
from pullback.transforms.derivatives import (
    Reverse,
    as_leaves,
    bound,
    grad,
    jvp,
    linearize,
    pick,
    release,
    require_complex,
    several,
)
from pullback.transforms.vmap import place_axis

__all__ = ["hessian", "hvp", "jacobian"]

TANGENT_COST = 2.5
COTANGENT_COST = 4.0


def jacobian(
    fun: Callable[..., Any],
    argnums: int | Sequence[int] = 0,
    mode: str = "auto",
    holomorphic: bool = False,
) -> Callable[..., Any]:
    """Function that returns the matrix of all first derivatives of ``fun``.

    Args:
        fun: returns a container of float or complex arrays.
        argnums: position(s) of the differentiated arguments.
        mode: ``"forward"`` (one tangent per input element), ``"reverse"`` (one cotangent per output
            element), or ``"auto"``: the cheaper one by the cost model of this module. Complex
            results of real arguments need forward mode, real results of complex arguments reverse
            mode; then each entry is the gradient of the result, a direction of steepest ascent.
        holomorphic: whether ``fun`` is a holomorphic function of complex arguments, whose complex
            derivatives are wanted.

    Returns:
        For each output leaf of shape ``s`` and each argument leaf of shape ``t`` an array of shape
        ``s + t``, nested as the output, then as the argument.

    Raises:
        NotDifferentiableError: if arguments and results are complex without ``holomorphic``, since
            one complex number then cannot hold the derivative.

    >>> import numpy as np
    >>> import pullback as pb
    >>> pb.jacobian(lambda x: x**2)(np.array([1.0, 2.0]))
    array([[2., 0.],
           [0., 4.]])
    """
    if mode not in ("auto", "forward", "reverse"):
        raise ArgumentError(
            f"jacobian: mode={mode!r}", where=str(here()), fix='use "auto", "forward" or "reverse"'
        )

    return Jacobian(fun, argnums, mode, holomorphic)


class Jacobian(Wrapper):
    """What :func:`jacobian` returns."""

    def __init__(
        self,
        fun: Callable[..., Any],
        argnums: int | Sequence[int],
        mode: str,
        holomorphic: bool,
    ) -> None:
        super().__init__(fun)
        self.argnums = argnums
        self.mode = mode
        self.holomorphic = holomorphic

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        argnums, mode, holomorphic = self.argnums, self.mode, self.holomorphic
        numbers = pick(args, argnums)
        chosen = tuple(args[n] for n in numbers)
        leaves, structure = as_leaves(chosen, "args")
        function = bound(self.fun, args, numbers, kwargs)
        types = [type_of(leaf) for leaf in leaves]
        n = sum(type.size for type in types)
        blocks: list[list[Any]]
        run = None
        possible: tuple[str, ...] = (mode,)
        if mode != "forward":
            run = Reverse(function, leaves, structure)
            possible = modes(mode, types, run.outputs, holomorphic)
        if (
            run is None
            or (
                "forward" in possible
                and TANGENT_COST * n < COTANGENT_COST * sum(type_of(y).size for y in run.outputs)
            )
            or "reverse" not in possible
        ):
            out_structure, blocks = forward_blocks(function, chosen, types, holomorphic)
        else:
            out_structure, blocks = run.out_structure, reverse_blocks(run, types)
            if holomorphic:
                blocks = [[np.conjugate(block) for block in row] for row in blocks]
        rows = [tree.unflatten(structure, row) for row in blocks]
        single = isinstance(argnums, int)
        return release(tree.unflatten(out_structure, [row[0] if single else row for row in rows]))


def modes(
    mode: str, types: Sequence[ArrayType], outputs: Sequence[Any], holomorphic: bool
) -> tuple[str, ...]:
    """Which of the modes that ``mode`` allows give the derivative as one number per entry.

    A unit cotangent of a complex result sees its real part only, and so does a unit tangent of a
    complex argument, unless the function is holomorphic.

    Raises:
        NotDifferentiableError: if none does.
    """
    require_float(outputs)
    if holomorphic:
        require_complex([*types, *outputs])
        return ("forward", "reverse") if mode == "auto" else (mode,)
    possible = {"forward", "reverse"}
    if any(type.dtype.kind == "c" for type in types):
        possible.discard("forward")
    if any(type_of(y).dtype.kind == "c" for y in outputs):
        possible.discard("reverse")
    found = possible if mode == "auto" else possible & {mode}
    if not found:
        other = f", or mode={min(possible)!r}" if possible else ""
        raise NotDifferentiableError(
            f"jacobian: mode={mode!r} of a function of {', '.join(map(str, types))} that returns "
            f"{', '.join(str(type_of(y)) for y in outputs)}: a complex number cannot hold both the "
            "derivatives along the real and along the imaginary axis",
            where=str(here()),
            fix="differentiate real and imaginary parts as arrays of their own, pass "
            f"holomorphic=True where it is{other}",
        )
    return tuple(found)


def require_float(outputs: Sequence[Any]) -> None:
    for y in outputs:
        if not is_differentiable(type_of(y).dtype):
            raise NotDifferentiableError(
                f"the function returned {type_of(y)}: only floating-point results have derivatives",
                where=str(here()),
                fix="return floats",
            )


def basis(types: Sequence[ArrayType]) -> list[Any]:
    """All unit vectors of the joint space, one per row, split into the leaves."""
    total = sum(type.size for type in types)
    rows, start = [], 0
    for type in types:
        block = np.zeros((total, type.size), type.dtype)
        block[start : start + type.size] = np.eye(type.size, dtype=type.dtype)
        rows.append(block.reshape(total, *type.shape))
        start += type.size
    return rows


def forward_blocks(
    function: Callable[..., Any],
    chosen: tuple[Any, ...],
    types: Sequence[ArrayType],
    holomorphic: bool,
) -> tuple[tree.TreeDef, list[list[Any]]]:
    """Columns of the Jacobian: all unit tangents at once through the linearized function."""
    value, jvp_fn = linearize(function, *chosen)
    outputs, out_structure = tree.flatten(value)
    modes("forward", types, outputs, holomorphic)
    structure = tree.flatten(chosen)[1]
    n = sum(type.size for type in types)

    def columns(*tangents: Any) -> list[Any]:
        return tree.leaves(jvp_fn(*tree.unflatten(structure, tangents)))

    dots, axes = batch_flat(columns, basis(types), [0] * len(types), n)
    blocks = []
    for y, dot, axis in zip(outputs, dots, axes, strict=True):
        full = (
            place_axis(dot, axis, -1, n)
            if axis is not None
            else np.broadcast_to(np.expand_dims(dot, -1), (*np.shape(dot), n))
        )
        blocks.append(split_last(full, np.shape(y), types))
    return out_structure, blocks


def split_last(full: Any, shape: tuple[int, ...], types: Sequence[ArrayType]) -> list[Any]:
    parts, start = [], 0
    for type in types:
        part = full[..., start : start + type.size]
        dtype = np.result_type(type.dtype, full.dtype) if full.dtype.kind == "c" else type.dtype
        parts.append(np.reshape(part, (*shape, *type.shape)).astype(dtype))
        start += type.size
    return parts


def reverse_blocks(run: Reverse, types: Sequence[ArrayType]) -> list[list[Any]]:
    """Rows of the Jacobian: all unit cotangents at once through one backward sweep."""
    out_types = [type_of(y) for y in run.outputs]
    m = sum(type.size for type in out_types)
    cts, axes = batch_flat(
        lambda *seeds: run.sweep(seeds), basis(out_types), [0] * len(out_types), m
    )
    full = [place_axis(ct, axis, 0, m) for ct, axis in zip(cts, axes, strict=True)]
    blocks, start = [], 0
    for out_type in out_types:
        stop = start + out_type.size
        blocks.append(
            [
                np.array(np.reshape(ct[start:stop], (*out_type.shape, *type.shape)))
                if isinstance(ct, np.ndarray)
                else np.reshape(ct[start:stop], (*out_type.shape, *type.shape))
                for ct, type in zip(full, types, strict=True)
            ]
        )
        start = stop
    return blocks


def hessian(
    fun: Callable[..., Any], argnums: int | Sequence[int] = 0, holomorphic: bool = False
) -> Callable[..., Any]:
    """Function that returns the matrix of second derivatives of the scalar function ``fun``.

    Forward over reverse: all unit tangents through the gradient at once. Shapes nest as in
    :func:`jacobian` of the gradient.

    >>> import numpy as np
    >>> import pullback as pb
    >>> pb.hessian(lambda x: x[0] ** 2 * x[1])(np.array([1.0, 3.0]))
    array([[6., 2.],
           [2., 0.]])
    """
    gradient = grad(fun, argnums, holomorphic=holomorphic)
    return jacobian(gradient, argnums, mode="forward", holomorphic=holomorphic)


def hvp(fun: Callable[..., Any], primals: Sequence[Any], vectors: Sequence[Any]) -> Any:
    """Hessian of the scalar function ``fun`` at ``primals`` times ``vectors``, without the Hessian.

    ``H v = d/de grad fun(x + e v)`` at ``e = 0`` by forward over reverse (Pearlmutter 1994), at a
    small multiple of the cost of the gradient, whatever the number of parameters.

    Args:
        primals: tuple of arguments, each a container of float or complex arrays.
        vectors: tuple of the same structure.

    Returns:
        The product: a tuple like ``primals`` (a single container if there is one argument).

    >>> import numpy as np
    >>> import pullback as pb
    >>> pb.hvp(lambda x: np.sum(x**3), (np.array([1.0, 2.0]),), (np.array([1.0, 1.0]),))
    array([ 6., 12.])
    """
    primals = several(primals, "primals")
    gradient = grad(fun, 0 if len(primals) == 1 else tuple(range(len(primals))))
    return jvp(gradient, primals, several(vectors, "vectors"))[1]

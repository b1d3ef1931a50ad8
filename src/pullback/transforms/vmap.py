"""vmap: argument handling around the trace that carries a batch axis along."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pullback import tree
from pullback.core.array import Array, as_array
from pullback.core.source import here
from pullback.core.types import type_of
from pullback.core.wrapper import Wrapper
from pullback.errors import ArgumentError, ShapeError
from pullback.random import advance
from pullback.transforms.batch import batch_flat
from pullback.transforms.derivatives import flat, release

__all__ = ["place_axis", "vmap"]

Function = Callable[..., Any]


def vmap(fun: Function, in_axes: Any = 0, out_axes: Any = 0) -> Function:
    """``fun`` for many examples at once, without a Python loop.

    Args:
        fun: function of single examples.
        in_axes: axis of the examples in each argument: an int, ``None`` (the same for all), or a
            container of these that is a prefix of the arguments.
        out_axes: axis of the examples in the outputs.

    Raises:
        ShapeError: if the arguments disagree about the number of examples.

    >>> import numpy as np
    >>> import pullback as pb
    >>> pb.vmap(np.dot, in_axes=(0, None))(np.eye(2), np.array([3.0, 4.0]))
    array([3., 4.])
    """
    return Batched(fun, in_axes, out_axes)


class Batched(Wrapper):
    """What :func:`vmap` returns."""

    def __init__(self, fun: Function, in_axes: Any, out_axes: Any) -> None:
        super().__init__(fun)
        self.in_axes = in_axes
        self.out_axes = out_axes

    def action(self) -> str:
        return "vmap"

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        leaves, structure = tree.flatten(args)
        axes = spread(self.in_axes, args, "in_axes")
        leaves = list(map(as_array, leaves))
        axes = [
            axis if axis is None else axis_in(axis, np.ndim(leaf))
            for axis, leaf in zip(axes, leaves, strict=True)
        ]
        sizes = {
            np.shape(leaf)[axis]
            for leaf, axis in zip(leaves, axes, strict=True)
            if axis is not None
        }
        if len(sizes) != 1:
            raise ShapeError(
                "vmap: the arguments have different numbers of examples"
                if sizes
                else "vmap: no argument has a batch axis",
                where=str(here()),
                details=[
                    f"{path}: {type_of(leaf)}, axis {axis}"
                    for path, leaf, axis in zip(tree.paths(args, "args"), leaves, axes, strict=True)
                ],
                fix="give all batched arguments the same length along in_axes",
            )
        shape: list[tree.TreeDef] = []
        size = sizes.pop()

        def run(*inner: Any) -> Any:
            result = self.fun(*inner, **kwargs)
            advance(args, inner, lambda state: state.value if type(state) is Array else state)
            return result

        outputs, found = batch_flat(flat(run, structure, shape), leaves, axes, size)
        placeholder = tree.unflatten(shape[0], outputs)
        wanted = spread(self.out_axes, placeholder, "out_axes")
        return release(
            tree.unflatten(
                shape[0],
                [
                    place_axis(y, axis, target, size)
                    for y, axis, target in zip(outputs, found, wanted, strict=True)
                ],
            )
        )


def axis_in(axis: int, ndim: int) -> int:
    if not -ndim <= axis < ndim:
        raise ShapeError(
            f"vmap: axis {axis} of an argument with {ndim} axes",
            where=str(here()),
            fix="give in_axes an axis that the argument has, or None",
        )
    return axis % ndim


def place_axis(y: Any, axis: int | None, target: int | None, size: int) -> Any:
    """``y`` with its batch axis at ``target``; repeated along a new one where it has none."""
    if target is None:
        if axis is not None:
            raise ArgumentError(
                "vmap: out_axes=None for an output that differs between examples",
                fix="give out_axes an axis for it",
            )
        return y
    if axis is None:
        y, axis = np.broadcast_to(y, (size, *np.shape(y))), 0
    target = target % np.ndim(y)
    return y if axis == target else np.moveaxis(y, axis, target)


def spread(prefix: Any, full: Any, what: str) -> list[int | None]:
    """One axis per leaf of ``full`` from a prefix container, where ``None`` is an entry."""
    if prefix is None or isinstance(prefix, int):
        return [prefix] * len(tree.leaves(full))
    if isinstance(prefix, list) and isinstance(full, tuple):
        prefix = tuple(prefix)
    try:
        axes: list[int | None] = []
        tree.map_prefix(
            lambda axis, part: axes.extend([axis] * len(tree.leaves(part))), prefix, full
        )
        return axes
    except ValueError as error:
        raise ArgumentError(
            f"vmap: {what} does not fit the structure it describes",
            details=[str(error)],
            fix=f"make {what} an int, None, or a container shaped like it",
        ) from error

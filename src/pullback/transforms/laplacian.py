"""Laplacians in one forward pass: the value, all first derivatives, and the sum of the second ones.

Algorithm: along each coordinate ``d`` a value has the Taylor series ``x + J_d t + ...``. The second
coefficients enter linearly, so that their sum over ``d`` can be carried instead of each of them:
``L(f(x)) = J_f L(x) + sum_d H_f[J_d, J_d]`` (the forward Laplacian). The last term is the second
coefficient of one operation's own series, from Taylor mode; it is zero for linear operations.

Sources:
    R. Li et al. (2024), "A computational framework for neural network-based variational Monte
    Carlo with Forward Laplacian", Nature Machine Intelligence 6, equation 7.
    F. Dangel et al. (2025), "Collapsing Taylor Mode Automatic Differentiation", arXiv:2505.13644.

Cost: that of as many tangents as there are coordinates. Known limit: a loop is one operation, whose
series are carried along each coordinate on its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pullback import tree
from pullback.core.alias import as_arguments
from pullback.core.array import Array, bind
from pullback.core.primitive import Primitive
from pullback.core.trace import Trace
from pullback.core.types import is_differentiable, type_of
from pullback.core.wrapper import Wrapper
from pullback.transforms.batch import batch_flat
from pullback.transforms.derivatives import as_leaves, bound, flat, pick, release
from pullback.transforms.jet import JetTrace, Series, nothing
from pullback.transforms.jvp import jvp_flat, zeros
from pullback.transforms.mode import basis, require_float
from pullback.transforms.vmap import place_axis

__all__ = ["laplacian"]


class LaplaceTrace(Trace):
    """``array.aux`` is a pair: derivatives, ``(coordinates, *shape)``, and Laplacian or ``None``.

    ``None`` stands for a Laplacian of zero, as a value that is linear in the coordinates has.
    """

    name = "laplacian"

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def process(self, primitive: Primitive, args: Any, params: dict[str, Any]) -> Any:
        own = [type(a) is Array and a.traced_by is self for a in args]
        primals = [a.value if mine else a for a, mine in zip(args, own, strict=True)]
        slopes = [a.aux[0] if mine else None for a, mine in zip(args, own, strict=True)]
        carried = [a.aux[1] if mine else None for a, mine in zip(args, own, strict=True)]
        y = bind(primitive, primals, params)
        ys = list(y) if primitive.multiple else [y]
        if not any(is_differentiable(type_of(part).dtype) for part in ys):
            return y
        firsts, curved = self.along(primitive, primals, slopes, params)
        linear = pushed(primitive, primals, carried, params, len(ys))
        results = [
            part if first is None else Array(self, part, (first, plus(lap, second)))
            for part, first, second, lap in zip(ys, firsts, curved, linear, strict=True)
        ]
        return tuple(results) if primitive.multiple else results[0]

    def along(
        self,
        primitive: Primitive,
        primals: Sequence[Any],
        slopes: Sequence[Any],
        params: dict[str, Any],
    ) -> tuple[list[Any], list[Any]]:
        """Of each output the derivatives along the coordinates, and the sum of second ones."""
        active = [i for i, slope in enumerate(slopes) if slope is not None]
        absent: list[bool] = []

        def series(*tangents: Any) -> list[Any]:
            given = dict(zip(active, tangents, strict=True))
            with JetTrace(2) as jets:
                args = [
                    jets.array(Series([x, given[i], None], nothing)) if i in given else x
                    for i, x in enumerate(primals)
                ]
                found = bind(primitive, args, params)
                found = found if primitive.multiple else [found]
                rows = [coefficients(jets, part) for part in found]
            flattened = [part for row in rows for part in row]
            absent[:] = [part is None for part in flattened]
            return [np.zeros(()) if part is None else part for part in flattened]

        found, axes = batch_flat(series, [slopes[i] for i in active], [0] * len(active), self.size)
        full = [
            None if is_absent else place_axis(part, axis, 0, self.size)
            for part, axis, is_absent in zip(found, axes, absent, strict=True)
        ]
        return full[::2], [None if s is None else 2 * np.sum(s, axis=0) for s in full[1::2]]


def coefficients(jets: JetTrace, y: Any) -> tuple[Any, Any]:
    """First and second Taylor coefficient of a value, ``None`` where it is zero."""
    series = jets.series_of(y)
    if series is None or not is_differentiable(type_of(series[0]).dtype):
        return None, None
    return series[1], series[2]


def pushed(
    primitive: Primitive,
    primals: Sequence[Any],
    tangents: Sequence[Any],
    params: dict[str, Any],
    n_outputs: int,
) -> list[Any]:
    """Tangents through one operation."""
    if all(t is None for t in tangents):
        return [None] * n_outputs

    def apply(*args: Any) -> Any:
        y = bind(primitive, args, params)
        return list(y) if primitive.multiple else [y]

    return jvp_flat(apply, primals, tangents)[1]


def plus(a: Any, b: Any) -> Any:
    return b if a is None else a if b is None else a + b


def laplacian(fun: Callable[..., Any], argnums: int | Sequence[int] = 0) -> Callable[..., Any]:
    """Function that returns the sum of all second derivatives ``d^2 fun / d x_i^2``.

    In one forward pass, at about the cost of a first derivative along each coordinate; the Hessian
    is never formed. It can be differentiated, batched and compiled.

    Args:
        fun: returns a container of real float arrays.
        argnums: position(s) of the arguments whose elements are the coordinates.

    Returns:
        A function of the same arguments, whose result is like that of ``fun``: the trace of the
        Hessian of each element.

    Raises:
        MissingRuleError: naming an operation that has no series.

    Reference:
        Li et al. (2024), equation 7; see the module.

    >>> import numpy as np
    >>> import pullback as pb
    >>> x = np.array([1.0, 2.0])
    >>> float(pb.laplacian(lambda x: x[0] ** 3 * x[1])(x))  # 6 x_0 x_1
    12.0
    """
    return Laplacian(fun, argnums)


class Laplacian(Wrapper):
    """What :func:`laplacian` returns."""

    def __init__(self, fun: Callable[..., Any], argnums: int | Sequence[int]) -> None:
        super().__init__(fun)
        self.argnums = argnums

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        numbers = pick(args, self.argnums)
        leaves, structure = as_leaves(tuple(args[n] for n in numbers), "args")
        shape: list[tree.TreeDef] = []
        function = flat(bound(self.fun, args, numbers, kwargs), structure, shape)
        types = [type_of(x) for x in leaves]
        with LaplaceTrace(sum(type.size for type in types)) as trace:
            units = basis(types)
            inputs = [Array(trace, x, (unit, None)) for x, unit in zip(leaves, units, strict=True)]
            as_arguments(inputs, leaves)
            outputs = function(*inputs)
            for y in outputs:
                if type(y) is Array and y.alias is not None:
                    y.alias.refresh(y)
        require_float(outputs)
        found = [y.aux[1] if type(y) is Array and y.traced_by is trace else None for y in outputs]
        return release(
            tree.unflatten(
                shape[0],
                [
                    np.array(zeros(type_of(y))) if lap is None else lap
                    for y, lap in zip(outputs, found, strict=True)
                ],
            )
        )

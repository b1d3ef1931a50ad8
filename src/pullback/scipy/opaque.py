"""What the operations share that SciPy computes on plain arrays: refusals, batches, linear maps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from pullback.control.call import front_batch
from pullback.core.array import operand
from pullback.core.primitive import Primitive, Sample
from pullback.core.source import here
from pullback.core.types import ArrayType
from pullback.errors import UnsupportedError
from pullback.ops.families import cast, linear

__all__ = ["LinearMap", "floats", "linear_map", "one_by_one", "require"]


def require(function: str, fix: str = "", /, **options: Any) -> None:
    """Raise if an option is not at its default; each is ``name=(given, default)``.

    Raises:
        UnsupportedError: naming the function and the option.
    """
    for name, (given, default) in options.items():
        if given is not default and given != default:
            raise UnsupportedError(
                f"pullback.scipy.{function}: {name}={given!r} has no traced form",
                where=str(here()),
                fix=fix or f"leave {name} at {default!r}",
            )


def floats(*values: Any) -> Any:
    """The values as arrays of floats or complex numbers; whole numbers become float64."""
    arrays = []
    for value in values:
        x = operand(value)
        x = x if hasattr(x, "dtype") else np.asarray(x)
        arrays.append(x if x.dtype.kind in "fc" else x.astype(np.float64))
    return arrays[0] if len(arrays) == 1 else arrays


def one_by_one(primitive: Callable[[], Primitive]) -> Callable[..., Any]:
    """Batching by a run for each example: for functions of one system or one signal."""

    def batch(args: Any, axes: Any, params: Any) -> Any:
        moved, size = front_batch(args, axes)
        rows = [
            primitive()(
                *[a if axis is None else a[i] for a, axis in zip(moved, axes, strict=True)],
                **params,
            )
            for i in range(size)
        ]
        if not primitive().multiple:
            return np.stack(rows), 0
        return [np.stack(column) for column in zip(*rows, strict=True)], [0] * len(rows[0])

    return batch


@dataclass(frozen=True, eq=False)
class LinearMap:
    """A linear function of an array that SciPy computes, and its transpose.

    Attributes:
        name: for messages.
        apply: an array of ``shape`` to one of ``out_shape``; it has no complex conjugates in it.
        turned: the transposed function.
        shape: of the operand.
        out_shape: of the result.
    """

    name: str
    apply: Callable[[Any], Any]
    turned: Callable[[Any], Any]
    shape: tuple[int, ...]
    out_shape: tuple[int, ...]

    def __repr__(self) -> str:
        return self.name

    def transposed(self) -> LinearMap:
        return LinearMap(self.name, self.turned, self.apply, self.out_shape, self.shape)

    def __call__(self, x: Any) -> Any:
        return linear_map(x, map=self)


def _samples(rng: np.random.Generator, dtype: np.dtype[Any]) -> list[Sample]:
    """Multiplication by a matrix of whole numbers."""
    if dtype.kind not in "fc":
        return []
    matrix = np.array([[1, 2, 0], [0, -1, 3]])
    map = LinearMap("matrix", lambda x: matrix @ x, lambda y: matrix.T @ y, (3,), (2,))
    return [Sample((rng.normal(size=3).astype(dtype),), {"map": map})]


linear_map: Primitive = linear(
    "linear_map",
    lambda x, *, map: np.asarray(map.apply(np.asarray(x))).astype(x.dtype, copy=False),
    doc="y = map.apply(x), a linear function without derivative rules of its own",
    type_rule=lambda x, *, map: ArrayType(map.out_shape, x.dtype),
    transpose=lambda ct, x_type, *, map: cast(linear_map(ct, map=map.transposed()), x_type.dtype),
    batch=lambda args, axes, params: one_by_one(lambda: linear_map)(args, axes, params),
    samples=_samples,
    family="general",
    flops=lambda types, out_types, params: types[0].size + out_types[0].size,
)

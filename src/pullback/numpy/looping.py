"""Functions that call the user's function, or hand out elements, one place after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from pullback.core.array import Array, operand
from pullback.core.trace import EVALUATE, current_trace
from pullback.numpy.arguments import normalize_axis, unsupported
from pullback.numpy.creation import asarray
from pullback.numpy.registry import implements
from pullback.numpy.twins import replaces, twin

__all__ = ["ndenumerate", "nditer", "vectorize"]


@implements(np.apply_along_axis)
def apply_along_axis(func1d: Any, axis: int, arr: Any, *args: Any, **kwargs: Any) -> Any:
    """``func1d(row, *args, **kwargs)`` for every row of ``arr`` along ``axis``."""
    arr = operand(arr)
    axis = normalize_axis(axis, arr.ndim)
    rows = np.moveaxis(arr, axis, -1)
    outside = rows.shape[:-1]
    if 0 in outside:
        raise ValueError("Cannot apply_along_axis when any iteration dimensions are 0")
    results = [asarray(func1d(rows[i], *args, **kwargs)) for i in np.ndindex(outside)]
    result = _stacked(results, outside, results[0].dtype)
    inside = result.ndim - len(outside)
    places = tuple(range(len(outside), result.ndim))
    return np.moveaxis(result, places, tuple(range(axis, axis + inside)))


def _stacked(parts: Sequence[Any], outside: tuple[int, ...], dtype: Any) -> Any:
    """The parts, of one shape and dtype, as one array whose leading axes are ``outside``."""
    same = [part if part.dtype == dtype else part.astype(dtype) for part in parts]
    return np.reshape(np.stack(same), (*outside, *same[0].shape))


@replaces(np.vectorize)
class vectorize(twin(np.vectorize)):  # type: ignore[misc]  # noqa: N801 (NumPy's name)
    """As ``numpy.vectorize``; inside a transform the function gets traced elements.

    For many elements ``pullback.vmap`` does the same in one go.

    >>> import pullback as pb
    >>> import pullback.numpy as np
    >>> bounded = np.vectorize(lambda x, top: x * x if x < top else top)
    >>> pb.grad(lambda x: bounded(x, 4.0).sum())(np.array([1.0, 5.0]))
    array([2., 0.])
    """

    def _vectorize_call(self, func: Callable[..., Any], args: Sequence[Any]) -> Any:
        if self.signature is not None or not args or current_trace() is EVALUATE:
            return super()._vectorize_call(func, args)
        arrays = np.broadcast_arrays(*[asarray(a) for a in args])
        shape = np.shape(arrays[0])
        if 0 in shape:
            return super()._vectorize_call(func, [np.zeros(np.shape(a), a.dtype) for a in arrays])
        outputs = [func(*[a[i] for a in arrays]) for i in np.ndindex(shape)]
        several = isinstance(outputs[0], tuple)
        columns = list(zip(*outputs, strict=True)) if several else [outputs]
        parts = [[asarray(value) for value in column] for column in columns]
        types = self.otypes or [part[0].dtype for part in parts]
        results = [_stacked(part, shape, np.dtype(t)) for part, t in zip(parts, types, strict=True)]
        return tuple(results) if several else results[0]


@replaces(np.ndenumerate)
class ndenumerate:  # noqa: N801 (NumPy's name)
    """As ``numpy.ndenumerate``: pairs of a place and the element there, which may be traced.

    >>> import pullback.numpy as np
    >>> [(place, float(x)) for place, x in np.ndenumerate([[1.0, 2.0]])]
    [((0, 0), 1.0), ((0, 1), 2.0)]
    """

    def __init__(self, arr: Any) -> None:
        self.array = asarray(arr)
        self.places = np.ndindex(self.array.shape)

    def __next__(self) -> tuple[tuple[int, ...], Any]:
        place = next(self.places)
        return place, self.array[place]

    def __iter__(self) -> ndenumerate:
        return self


@replaces(np.nditer)
def nditer(op: Any, flags: Any = None, op_flags: Any = None, *args: Any, **kwargs: Any) -> Any:
    """As ``numpy.nditer``; over traced arrays, with the flags that do not ask for memory.

    Over plain arrays this is NumPy's. The elements of traced arrays are views of no axes, in C
    order: ``x[...] = value`` writes into an operand whose ``op_flags`` allow it.

    Raises:
        UnsupportedError: for traced operands with buffering, casting, an external loop, operands
            to be allocated, or ``op_axes``.

    >>> import pullback as pb
    >>> import pullback.numpy as np
    >>> def f(x):
    ...     total = 0.0
    ...     for element in np.nditer(x):
    ...         total += element**2
    ...     return total
    >>> pb.grad(f)(np.array([1.0, 3.0]))
    array([2., 6.])
    """
    operands = list(op) if isinstance(op, (list, tuple)) else [op]
    if not any(type(a) is Array for a in operands):
        return np.nditer(op, flags, op_flags, *args, **kwargs)
    return _Nditer(operands, isinstance(op, (list, tuple)), flags or [], op_flags, args, kwargs)


KNOWN_FLAGS = {"c_index", "f_index", "multi_index", "refs_ok", "zerosize_ok", "reduce_ok"}


class _Nditer:
    """Iteration over operands that broadcast together, place by place in C order."""

    def __init__(
        self, operands: list[Any], several: bool, flags: Any, op_flags: Any, args: Any, kwargs: Any
    ) -> None:
        strange = sorted(set(flags) - KNOWN_FLAGS) + sorted(kwargs) + [str(a) for a in args]
        if strange or any(a is None for a in operands):
            raise unsupported(
                f"np.nditer of traced arrays with {', '.join(strange) or 'an operand to allocate'}",
                "make the outputs with pullback.numpy.zeros, and leave out what asks for memory",
            )
        modes = op_flags or [["readonly"]] * len(operands)
        modes = [modes] * len(operands) if isinstance(modes[0], str) else modes
        arrays = [asarray(a) for a in operands]
        self.shape = np.broadcast_shapes(*[np.shape(a) for a in arrays])
        self.itersize = int(np.prod(self.shape))
        if not self.itersize and "zerosize_ok" not in flags:
            raise ValueError("Iteration of zero-sized operands is not enabled")
        self.several, self.flags = several, flags
        # An operand that is written has no axis to broadcast: its elements are views of it.
        self.operands = tuple(
            a
            if "readonly" not in mode and np.shape(a) == self.shape
            else np.broadcast_to(a, self.shape)
            for a, mode in zip(arrays, modes, strict=True)
        )
        self.nop, self.ndim = len(arrays), len(self.shape)
        self.reset()

    def reset(self) -> None:
        self.iterindex, self.started = 0, False

    @property
    def finished(self) -> bool:
        return self.iterindex >= self.itersize

    @property
    def multi_index(self) -> tuple[int, ...]:
        if "multi_index" not in self.flags:
            raise ValueError("Iterator is not tracking a multi-index")
        return self._place()

    def _place(self) -> tuple[int, ...]:
        return tuple(int(i) for i in np.unravel_index(self.iterindex, self.shape))

    @property
    def index(self) -> int:
        if "f_index" in self.flags:
            return int(np.ravel_multi_index(self._place(), self.shape, order="F"))
        if "c_index" not in self.flags:
            raise ValueError("Iterator does not have an index")
        return self.iterindex

    @property
    def value(self) -> Any:
        parts = self._parts()
        return parts if self.several else parts[0]

    def _parts(self) -> tuple[Any, ...]:
        place: Any = (*self._place(), ...)
        return tuple(a[place] for a in self.operands)

    def __getitem__(self, i: int) -> Any:
        return self._parts()[i]

    def __setitem__(self, i: int, value: Any) -> None:
        self._parts()[i][...] = value

    def __len__(self) -> int:
        return self.nop

    def iternext(self) -> bool:
        self.iterindex += 1
        return not self.finished

    def __next__(self) -> Any:
        if self.started:
            self.iterindex += 1
        self.started = True
        if self.finished:
            raise StopIteration
        return self.value

    def __iter__(self) -> Iterator[Any]:
        return self

    def __enter__(self) -> _Nditer:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Nothing to write back: the elements are views."""

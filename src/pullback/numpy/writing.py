"""NumPy's functions that write into an array: they rebind the traced array, views included."""

from __future__ import annotations

from typing import Any

import numpy as np

from pullback.core.alias import is_scalar
from pullback.core.array import Array, operand
from pullback.numpy.arguments import into
from pullback.numpy.order import take
from pullback.numpy.registry import implements

__all__: list[str] = []


@implements(np.copyto)
def copyto(dst: Any, src: Any, casting: str = "same_kind", where: Any = True) -> None:
    src = operand(src)
    while np.ndim(src) > np.ndim(dst) and np.shape(src)[0] == 1:
        src = src[0]
    new = np.broadcast_to(src, np.shape(dst))
    into(dst, new if where is True else np.where(where, new, dst))


@implements(np.putmask)
def putmask(a: Any, mask: Any, values: Any) -> None:
    if np.size(mask) != np.size(a):
        raise ValueError("putmask: mask and data must be the same size")
    values = np.ravel(operand(values))
    if not values.size:
        return
    numbers = np.reshape(np.arange(np.size(a)) % np.size(values), np.shape(a))
    into(a, np.where(mask, take(values, numbers).astype(a.dtype), a))


@implements(np.place)
def place(arr: Any, mask: Any, vals: Any) -> None:
    vals = np.ravel(operand(vals))
    numbers = np.cumsum(np.ravel(np.not_equal(mask, 0))) - 1
    numbers = np.reshape(np.remainder(numbers, np.size(vals)), np.shape(arr))
    into(arr, np.where(mask, take(vals, numbers).astype(arr.dtype), arr))


@implements(np.put)
def put(a: Any, ind: Any, v: Any, mode: str = "raise") -> None:
    indices = np.ravel(operand(ind))
    n = np.size(a)
    if mode == "wrap":
        indices = np.remainder(indices, n)
    elif mode == "clip":
        indices = np.clip(indices, 0, n - 1)
    values = np.ravel(operand(v))
    if not values.size or (type(a) is Array and is_scalar(a)):
        return  # of a scalar, NumPy writes into a copy
    values = values[np.arange(indices.size) % values.size]
    if type(a) is not Array:
        np.put(a, np.asarray(indices), np.asarray(values))
        return
    flat = a.flatten()
    flat[indices] = values
    into(a, np.reshape(flat, np.shape(a)))


implements(method="put")(put)


@implements(np.put_along_axis)
def put_along_axis(arr: Any, indices: Any, values: Any, axis: int | None) -> None:
    if axis is None:
        put(arr, indices, values)
        return
    key: list[Any] = [
        np.reshape(np.arange(n), [-1 if i == k else 1 for k in range(arr.ndim)])
        for i, n in enumerate(arr.shape)
    ]
    key[axis] = indices
    arr[tuple(key)] = values


@implements(np.fill_diagonal)
def fill_diagonal(a: Any, val: Any, wrap: bool = False) -> None:
    if a.ndim < 2:
        raise ValueError("array must be at least 2-d")
    if a.ndim > 2 and len(set(a.shape)) > 1:
        raise ValueError("All dimensions of input must be of equal length")
    step = 1 + int(np.sum(np.cumprod(a.shape[:0:-1]))) if a.ndim > 2 else a.shape[1] + 1
    end = a.size if wrap or a.ndim > 2 else a.shape[1] * a.shape[1]
    places = np.arange(0, min(end, a.size), step)
    values = np.ravel(operand(val))
    put(a, places, values)


@implements(method="fill")
def fill(a: Any, value: Any) -> None:
    if not is_scalar(a):  # of a scalar, NumPy fills a copy
        a[...] = value

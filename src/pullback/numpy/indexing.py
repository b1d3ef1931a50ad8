"""``x[key]`` and ``x[key] = v`` for every index form of NumPy, reduced to two primitives each.

An advanced key is split in three: a basic index that does slices and new axes, an optional
transposition that brings the indexed axes to the front, and a gather or scatter on them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pullback.core.alias import as_memory, is_scalar, require_same_kind, view, write
from pullback.core.array import Array, operand
from pullback.core.source import here
from pullback.core.trace import EVALUATE
from pullback.errors import StagingError
from pullback.numpy.registry import implements
from pullback.ops.index import gather, index, scatter, static_key, update

__all__: list[str] = []


def _normalize(key: Any, shape: tuple[int, ...]) -> tuple[list[Any], bool, int]:
    """The key as a full list without Ellipsis, whether it has arrays, and where the Ellipsis was.

    A truth value stands for a new axis that an index of length one or none picks from: ``(i,)``.
    """
    expanded: list[Any] = []
    advanced = False
    for item in key if isinstance(key, tuple) else (key,):
        if item is None or item is Ellipsis or isinstance(item, slice):
            expanded.append(item)
        elif isinstance(item, (int, np.integer)) and not isinstance(item, (bool, np.bool_)):
            expanded.append(int(item))
        else:
            item = _index_array(item)
            expanded += [item] if item.dtype != bool else _from_mask(item)
            advanced = True
    used = sum(
        not (item is None or item is Ellipsis or isinstance(item, tuple)) for item in expanded
    )
    if used > len(shape):
        raise IndexError(
            f"too many indices for array: array is {len(shape)}-dimensional, "
            f"but {used} were indexed"
        )
    holes = [i for i, item in enumerate(expanded) if item is Ellipsis]
    if len(holes) > 1:
        raise IndexError("an index can only have a single ellipsis ('...')")
    at = holes[0] if holes else len(expanded)
    expanded[at : at + bool(holes)] = [slice(None)] * (len(shape) - used)
    _check_masks(expanded, shape)
    items = [item.positions if isinstance(item, _Mask) else item for item in expanded]
    return items, advanced, at


def _index_array(item: Any) -> Any:
    if type(item) not in (np.ndarray, Array):
        item = operand(item)
        item = item if hasattr(item, "dtype") else np.asarray(item)
    if item.size == 0 and item.dtype.kind == "f" and not isinstance(item, Array):
        item = np.asarray(item).astype(int)
    if item.dtype.kind not in "biu":
        raise IndexError("arrays used as indices must be of integer (or boolean) type")
    return item


class _Mask:
    """Positions that a boolean mask picks along one axis, and the length that it expects there."""

    def __init__(self, positions: Any, length: int) -> None:
        self.positions = positions
        self.length = length


def _from_mask(mask: Any) -> list[Any]:
    if isinstance(mask, Array):
        try:
            mask = mask.traced_by.concrete(mask, "the boolean mask")
        except StagingError as error:
            raise StagingError(
                "a boolean mask picks a number of elements that is known only at run time",
                where=str(here()),
                fix="use np.where(mask, a, b), which keeps the shape",
            ) from error
    if not np.ndim(mask):
        return [(np.zeros(int(mask), int),)]
    return [_Mask(i, n) for i, n in zip(np.nonzero(mask), mask.shape, strict=True)]


def _check_masks(items: list[Any], shape: tuple[int, ...]) -> None:
    axis = 0
    for item in items:
        if isinstance(item, _Mask) and item.length != shape[axis]:
            raise IndexError(
                "boolean index did not match indexed array along "
                f"axis {axis}; size of axis is {shape[axis]} but size of corresponding boolean "
                f"axis is {item.length}"
            )
        axis += not (item is None or isinstance(item, tuple))


class _Advanced:
    """Plan of an advanced index: basic key, permutation to the front, index arrays, position."""

    def __init__(self, items: list[Any], ellipsis: int) -> None:
        arrays = [
            i for i, item in enumerate(items) if isinstance(item, (np.ndarray, Array, int, tuple))
        ]
        # An Ellipsis between them parts them, even one that stands for no axis at all.
        parted = arrays[0] < ellipsis <= arrays[-1]
        together = arrays[-1] - arrays[0] == len(arrays) - 1 and not parted
        self.indices = [_as_index(items[i]) for i in arrays]
        self.basic = tuple(
            None if isinstance(item, tuple) else slice(None) if i in arrays else item
            for i, item in enumerate(items)
        )
        self.trivial = all(isinstance(k, slice) and k == slice(None) for k in self.basic)
        others = [i for i in range(len(items)) if i not in arrays]
        self.front = (*arrays, *others)
        self.picked = len(np.broadcast_shapes(*[np.shape(i) for i in self.indices]))
        self.position = arrays[0] if together else 0

    def prepare(self, x: Any) -> Any:
        """The array with the indexed axes in front."""
        if not self.trivial:
            x = index(x, key=static_key(self.basic))
        return x if self.front == tuple(range(x.ndim)) else np.transpose(x, self.front)

    def restore(self, x: Any) -> Any:
        """Undo the transposition of ``prepare``."""
        inverse = tuple(int(i) for i in np.argsort(self.front))
        return x if inverse == tuple(range(x.ndim)) else np.transpose(x, inverse)

    def picked_axes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        source = tuple(range(self.picked))
        return source, tuple(range(self.position, self.position + self.picked))


def _as_index(item: Any) -> Any:
    if isinstance(item, tuple):
        return item[0]
    return np.asarray(item) if isinstance(item, int) else item


def _is_basic(key: Any) -> bool:
    if isinstance(key, tuple):
        return all(_is_basic(k) for k in key)
    return (
        key is None
        or key is Ellipsis
        or isinstance(key, slice)
        or (isinstance(key, (int, np.integer)) and not isinstance(key, bool))
    )


def _basic_key(key: Any) -> tuple[Any, ...]:
    items = key if isinstance(key, tuple) else (key,)
    return static_key(
        [
            slice(*(None if n is None else int(n) for n in (k.start, k.stop, k.step)))
            if isinstance(k, slice)
            else int(k)
            if isinstance(k, np.integer)
            else k
            for k in items
        ]
    )


@implements(method="__getitem__")
def getitem(x: Any, key: Any) -> Any:
    """``x[key]``: a view for basic keys, a copy for keys with arrays."""
    if _is_basic(key):
        static = _basic_key(key)
        result = view(
            x, lambda base: index(base, key=static), lambda base, new: update(base, new, key=static)
        )
        if type(result) is Array and result.alias is not None:
            if not result.shape and Ellipsis not in static:
                result.alias = None  # a NumPy scalar, not a view
            else:
                result.alias.key = static
        elif Ellipsis in static:
            as_memory(result)
        return result
    items, advanced, ellipsis = _normalize(key, x.shape)
    if not advanced:
        return index(x, key=static_key(items))
    plan = _Advanced(items, ellipsis)
    result = gather(plan.prepare(x), *plan.indices)
    source, target = plan.picked_axes()
    return result if source == target else np.moveaxis(result, source, target)


def _fits_mask(x: Array, key: Any) -> bool:
    return (
        isinstance(key, (np.ndarray, Array))
        and key.dtype == bool
        and key.shape == x.shape[: key.ndim]
    )


@implements(method="__setitem__")
def setitem(x: Array, key: Any, value: Any) -> None:
    """``x[key] = value`` in place: ``x`` and all its views and bases see the new values."""
    if is_scalar(x):
        raise TypeError(f"'numpy.{x.dtype}' object does not support item assignment")
    value = operand(value)
    basic = _is_basic(key)
    static = _basic_key(key) if basic else ()
    if (
        basic
        and type(value) is Array
        and value.alias is not None
        and value.alias.refers_to(x, static)
    ):
        return  # the second half of x[key] += v: the view has already written itself
    if _fits_mask(x, key) and np.ndim(value) == 0:
        mask = np.reshape(key, (*key.shape, *(1,) * (x.ndim - key.ndim)))
        write(x, _updated(x, value, (), lambda base, new: np.where(mask, new, base)))
        return
    if basic:
        shape = np.broadcast_to(np.False_, x.shape)[key if isinstance(key, tuple) else (key,)].shape
        write(x, _updated(x, value, shape, lambda base, new: update(base, new, key=static)))
        return
    items, _, ellipsis = _normalize(key, x.shape)
    plan = _Advanced(items, ellipsis)
    part = plan.prepare(x)
    picked = np.broadcast_shapes(*[np.shape(i) for i in plan.indices])
    rest = part.shape[len(plan.indices) :]
    source, target = plan.picked_axes()
    shape = (*rest[: plan.position], *picked, *rest[plan.position :])

    def put(base: Any, new: Any) -> Any:
        new = new if source == target else np.moveaxis(new, target, source)
        written = plan.restore(scatter(plan.prepare(base), new, *plan.indices))
        return written if plan.trivial else update(base, written, key=static_key(plan.basic))

    write(x, _updated(x, value, shape, put))


def _updated(x: Array, value: Any, shape: Any, put: Any) -> Any:
    if not hasattr(value, "dtype"):
        value = np.asarray(value, x.dtype)
    if value.dtype != x.dtype:
        if type(value) is Array and value.traced_by is not EVALUATE:
            require_same_kind(value.dtype, x.dtype)
        value = value.astype(x.dtype)
    if np.shape(value) != shape:
        while np.ndim(value) > len(shape) and np.shape(value)[0] == 1:
            value = value[0]
        try:
            value = np.broadcast_to(value, shape)
        except ValueError as error:
            raise ValueError(
                f"could not broadcast input array from shape {np.shape(value)} into shape {shape}"
            ) from error
    return put(x.frozen(), value)

"""Attributes of ``ndarray`` that are about memory, and refusals of the others by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from pullback.core.alias import base_of, is_scalar, is_writeable, memory, share_memory, view
from pullback.core.array import Array, attributes, remedies
from pullback.core.source import here
from pullback.errors import TracedValueError
from pullback.numpy.arguments import unsupported
from pullback.numpy.order import choose
from pullback.numpy.registry import implements
from pullback.numpy.writing import put

__all__ = ["REFUSED"]

# Names of ndarray without a traced form, and what to write instead.
REFUSED = {
    **dict.fromkeys(
        ["tobytes", "tofile", "dump", "dumps", "data", "ctypes"],
        "return the array from the transform, and read the bytes of the plain result",
    ),
    **dict.fromkeys(
        ["__array_interface__", "__array_struct__", "__dlpack__", "__dlpack_device__"],
        "return the array from the transform, and hand over the plain result",
    ),
    **dict.fromkeys(["getfield", "setfield", "byteswap"], "use x.astype(dtype)"),
    "resize": "use np.resize(x, shape), which returns a new array",
    "setflags": "use x.copy() where a write must not reach x",
    "to_device": "leave it out: there is one device, the CPU",
    "__array_namespace__": "use the functions of numpy or pullback.numpy",
    **dict.fromkeys(
        ["__array_finalize__", "__array_wrap__", "__setstate__", "__class_getitem__"],
        "leave it out: it serves subclasses and files of numpy.ndarray",
    ),
}


remedies.update(REFUSED)


def attribute(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Make the decorated function the attribute of its name."""
    attributes[function.__name__] = function
    return function


@attribute
def strides(x: Array) -> tuple[int, ...]:
    found: tuple[int, ...] = memory(x).strides
    return found


@attribute
def flags(x: Array) -> Any:
    """NumPy's flags of an array that lies in memory as ``x`` does."""
    plain = memory(x)
    if base_of(x) is None and plain.flags.forc:
        plain = np.empty_like(plain)
    plain.flags.writeable = is_writeable(x)
    return plain.flags


@attribute
def base(x: Array) -> Any:
    return base_of(x)


@attribute
def device(x: Array) -> str:
    return "cpu"


class Flat:
    """``x.flat``: the elements row by row, to read and to write."""

    def __init__(self, array: Array) -> None:
        self.base = array

    def __len__(self) -> int:
        return self.base.size

    def __iter__(self) -> Iterator[Any]:
        return iter(self.copy())

    def __getitem__(self, key: Any) -> Any:
        return self.copy()[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        if isinstance(key, (int, np.integer)) and np.size(value) != 1:
            raise ValueError("Error setting single item of array.")
        put(self.base, np.arange(self.base.size)[key], value)

    def copy(self) -> Any:
        """The elements as an array with one axis."""
        return self.base.flatten()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return self.base.__array__(dtype, copy)


attributes["flat"] = Flat


@implements(method="view")
def view_method(x: Array, dtype: Any = None, type: Any = None) -> Any:
    """The same memory under another name; other dtypes would read its bytes."""
    if dtype is np.ndarray:
        dtype = None
    if (dtype is not None and np.dtype(dtype) != x.dtype) or type not in (None, np.ndarray):
        raise unsupported("ndarray.view of another dtype or type", "use x.astype(dtype)")
    return x.frozen() if is_scalar(x) else view(x, lambda a: reshape_to_itself(a), lambda _, v: v)


def reshape_to_itself(a: Any) -> Any:
    return a.frozen() if isinstance(a, Array) else a


def set_shape(x: Array, shape: Any) -> None:
    """``x.shape = shape`` changes the array itself, if its memory allows."""
    plain = memory(x)
    plain.shape = shape
    if plain.shape != x.shape:
        raise unsupported("assignment to ndarray.shape", "use x = x.reshape(shape)")


attributes["set_shape"] = set_shape


@implements(method="__copy__")
def shallow(x: Array) -> Any:
    return x.frozen() if is_scalar(x) else np.copy(x)


@implements(method="choose")
def choose_method(x: Array, choices: Any, out: Any = None, mode: str = "raise") -> Any:
    return choose(x, choices, out, mode)


@implements(method="__round__")
def python_round(x: Array, ndigits: int | None = None) -> Any:
    """``round(x, n)`` of a scalar; without ``n`` Python wants an int, which has no derivative."""
    if not is_scalar(x):
        raise TypeError("type numpy.ndarray doesn't define __round__ method")
    if ndigits is None:
        raise TracedValueError(
            "round() of a traced value gives a Python int, which would cut its gradient",
            where=str(here()),
            fix="use np.round(x)",
        )
    return np.round(x, ndigits)


@implements(np.shares_memory, np.may_share_memory)
def shares_memory(a: Any, b: Any, max_work: int | None = None) -> bool:
    """Whether a write to one may be seen in the other: traced arrays share with traced ones."""
    if type(a) is Array and type(b) is Array:
        return share_memory(a, b)
    return False

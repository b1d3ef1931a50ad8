"""Python's operators on traced arrays: NumPy's ufuncs under other names; in place, they write."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pullback.core.alias import is_scalar, write
from pullback.core.array import PLAIN, Array, operand, ufuncs
from pullback.core.foreign import sparse_products
from pullback.core.primitive import registry

__all__: list[str] = []  # imported for what it does to Array


def _is_weak(value: Any) -> bool:
    kind = type(value)
    return value.traced_by.is_weak(value) if kind is Array else kind in (int, float, complex)


def _as_number(y: Any) -> Any:
    return registry["number"](y) if type(y) is Array else y.item()


def _apply(ufunc: np.ufunc, a: Any, b: Any) -> Any:
    """An operator: unlike a function of NumPy, it makes of Python's numbers one of these."""
    y = ufuncs[ufunc](a, b)
    return _as_number(y) if _is_weak(a) and _is_weak(b) else y


def _forward(ufunc: np.ufunc) -> Callable[..., Any]:
    def operator(self: Array, other: Any) -> Any:
        if type(other) not in PLAIN:
            if hasattr(other, "tocoo"):
                return _with_sparse(ufunc, self, other, False)
            other = operand(other)
        return _apply(ufunc, self, other)

    return operator


def _reflected(ufunc: np.ufunc) -> Callable[..., Any]:
    def operator(self: Array, other: Any) -> Any:
        if type(other) not in PLAIN:
            if hasattr(other, "tocoo"):
                return _with_sparse(ufunc, self, other, True)
            other = operand(other)
        return _apply(ufunc, other, self)

    return operator


def _unary(ufunc: np.ufunc) -> Callable[..., Any]:
    def operator(self: Array) -> Any:
        y = ufuncs[ufunc](self)
        return _as_number(y) if _is_weak(self) else y

    return operator


def _with_sparse(ufunc: np.ufunc, x: Array, matrix: Any, reflected: bool) -> Any:
    """``x @ matrix`` and ``matrix @ x``; what a matrix with traced values does otherwise is its."""
    if ufunc is np.matmul:
        return sparse_products[0](x, matrix, reflected)
    if getattr(matrix, "__pullback_plain__", False):
        return NotImplemented
    return operand(matrix)


def _in_place(ufunc: np.ufunc) -> Callable[..., Any]:
    def operator(self: Array, other: Any) -> Any:
        new = _apply(ufunc, self, other if type(other) in PLAIN else operand(other))
        if is_scalar(self):  # the name is rebound, not the value
            self.traced_by.wrote(self)
            return new
        if new.shape != self.shape:
            raise ValueError(
                f"non-broadcastable output operand with shape {self.shape} "
                f"doesn't match the broadcast shape {new.shape}"
            )
        write(self, new)
        return self

    return operator


def _install_operators() -> None:
    binary = {
        "add": np.add,
        "sub": np.subtract,
        "mul": np.multiply,
        "truediv": np.divide,
        "pow": np.power,
        "mod": np.remainder,
        "floordiv": np.floor_divide,
        "matmul": np.matmul,
        "and": np.bitwise_and,
        "or": np.bitwise_or,
        "xor": np.bitwise_xor,
        "lshift": np.left_shift,
        "rshift": np.right_shift,
    }
    compare = {
        "lt": np.less,
        "le": np.less_equal,
        "gt": np.greater,
        "ge": np.greater_equal,
        "eq": np.equal,
        "ne": np.not_equal,
    }
    unary = {"neg": np.negative, "pos": np.positive, "abs": np.absolute, "invert": np.invert}

    for name, ufunc in binary.items():
        setattr(Array, f"__{name}__", _forward(ufunc))
        setattr(Array, f"__r{name}__", _reflected(ufunc))
        setattr(Array, f"__i{name}__", _in_place(ufunc))
    for name, ufunc in compare.items():
        setattr(Array, f"__{name}__", _forward(ufunc))
    for name, ufunc in unary.items():
        setattr(Array, f"__{name}__", _unary(ufunc))


_install_operators()

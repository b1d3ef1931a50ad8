"""Real and imaginary parts, angles, and questions about complex arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from pullback.core.alias import memory, view
from pullback.core.array import Array, operand
from pullback.numpy.arguments import concrete
from pullback.numpy.registry import implements
from pullback.ops import parts

__all__: list[str] = []


@implements(np.iscomplexobj)
def iscomplexobj(x: Any) -> bool:
    return bool(operand(x).dtype.kind == "c")


@implements(np.isrealobj)
def isrealobj(x: Any) -> bool:
    return not iscomplexobj(x)


@implements(np.real)
def real(val: Any) -> Any:
    """The real part, a view as in NumPy: what is written into it is written into ``val``."""
    val = operand(val)
    if val.dtype.kind != "c":
        return val
    return view(val, parts.real, lambda base, new: parts.join(new, parts.imag(base)))


@implements(np.imag)
def imag(val: Any) -> Any:
    """The imaginary part, a view of complex arrays as in NumPy; zeros of real ones."""
    val = operand(val)
    if val.dtype.kind != "c":
        zeros = np.zeros_like(memory(val) if type(val) is Array else np.asarray(val))
        zeros.flags.writeable = False
        return zeros
    return view(val, parts.imag, lambda base, new: parts.join(parts.real(base), new))


@implements(np.angle)
def angle(z: Any, deg: bool = False) -> Any:
    """``arctan2`` of the parts; of a negative real number pi, of a positive one 0."""
    z = operand(z)
    result = np.arctan2(np.imag(z), np.real(z))
    return result * (180 / np.pi) if deg else result


@implements(np.sort_complex)
def sort_complex(a: Any) -> Any:
    ordered = np.sort(operand(a))
    if ordered.dtype.kind == "c":
        return ordered
    return ordered.astype(np.complex64 if ordered.dtype.char in "bhBH" else np.complex128)


@implements(np.real_if_close)
def real_if_close(a: Any, tol: float = 100) -> Any:
    if not iscomplexobj(a):
        return a
    bound = np.finfo(a.dtype).eps * tol if tol > 1 else tol
    is_close = concrete(np.all(np.less(np.abs(np.imag(a)), bound)), "whether np.imag is close to 0")
    return np.real(a) if is_close else a

"""NumPy's elementwise functions that are made of others, and the options of a ufunc call."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pullback.core.array import Array, operand, ufuncs
from pullback.core.types import is_differentiable
from pullback.numpy.arguments import finish, given, in_order, into, unsupported
from pullback.numpy.registry import implements
from pullback.ops import arithmetic, parts, special, transcendental
from pullback.ops.identity import stop_gradient

__all__ = ["erf", "erfc", "expit", "log_expit", "log_softmax", "relu", "softmax"]

expit, log_expit, erf, erfc = special.expit, special.log_expit, special.erf, special.erfc
LN2 = transcendental.LN2


# -- arithmetic -----------------------------------------------------------------------------------
@implements(np.power)
def power(x1: Any, x2: Any) -> Any:
    """``x1 ** x2`` with NumPy's short cuts for literal exponents."""
    if type(x2) in (int, float) and is_differentiable(x1.dtype):
        if x2 == 2:
            return arithmetic.square(x1)
        if x2 == 0.5:
            return transcendental.sqrt(x1)
        if x2 == -1:
            return arithmetic.divide(1, x1)
    if type(x2) is int and 0 < x2 < 64 and x1.dtype.kind in "iu":
        return _repeated(x1, x2)
    return arithmetic.power(x1, x2)


def _repeated(x: Any, n: int) -> Any:
    """``x ** n`` of integers, by squaring."""
    if n == 1:
        return np.copy(x)
    half = _repeated(x, n // 2)
    return half * half * x if n % 2 else half * half


def as_float(x: Any) -> Any:
    """``x`` with integers and booleans as float64; floats and complex numbers as they are."""
    x = operand(x)
    return x if is_differentiable(x.dtype) else x.astype(np.float64)


@implements(np.sign)
def sign(x: Any) -> Any:
    """-1, 0 or 1; of a complex number ``x / |x|``, which turns as x does."""
    if x.dtype.kind != "c":
        return arithmetic.sign(x)
    size = np.abs(x)
    is_zero, is_far = np.equal(size, 0), np.isinf(size)
    turned = np.where(is_zero, 0, x / np.where(is_zero | is_far, 1, size))
    ends = [np.where(np.isinf(part), np.sign(part), 0) for part in (np.real(x), np.imag(x))]
    axis = np.where(ends[0] * ends[1] == 0, ends[0] + 1j * ends[1], complex(np.nan, np.nan))
    return np.where(is_far, axis, turned)


def widened(x: Any) -> Any:
    """An operand as the floats that a function of C's ``math.h`` makes of it: half of booleans."""
    x = operand(x)
    kind = x.dtype.kind if hasattr(x, "dtype") else ""
    return (
        x.astype(np.sqrt.resolve_dtypes((x.dtype, None))[-1])
        if kind in "biu" and kind
        else as_float(x)
    )


@implements(np.float_power)
def float_power(x1: Any, x2: Any) -> Any:
    x1, x2 = operand(x1), operand(x2)
    dtype = np.result_type(x1, x2, np.float64)
    return arithmetic.power(*[x.astype(dtype) if hasattr(x, "dtype") else x for x in (x1, x2)])


@implements(np.positive)
def positive(x: Any) -> Any:
    if x.dtype == bool:
        raise TypeError("ufunc 'positive' has no loop for booleans")
    return in_order(x.frozen(), "K", x)


@implements(np.conjugate)
def conjugate(x: Any) -> Any:
    if x.dtype == bool:
        return x.astype(np.int8)  # the first type that NumPy has a conjugate of
    return parts.conjugate(x) if x.dtype.kind == "c" else positive(x)


@implements(method="conjugate")
def conjugate_method(x: Any) -> Any:
    return conjugate(x) if x.dtype.kind == "c" else x  # NumPy returns a real array itself


implements(method="conj")(conjugate_method)


@implements(np.reciprocal)
def reciprocal(x: Any) -> Any:
    if is_differentiable(x.dtype):
        return arithmetic.divide(1, x)
    if x.dtype == bool:
        return np.ones_like(x, np.int8)
    result = np.where(np.abs(x) == 1, x, 0 * x)
    return result if x.dtype.kind == "u" else np.where(x == 0, np.iinfo(x.dtype).min, result)


@implements(np.fabs)
def fabs(x: Any) -> Any:
    x = widened(x)
    if x.dtype.kind == "c":
        raise TypeError("ufunc 'fabs' not supported for complex numbers; np.abs is")
    return arithmetic.absolute(x)


@implements(np.divmod)
def divmod(x1: Any, x2: Any) -> tuple[Any, Any]:
    return arithmetic.floor_divide(x1, x2), arithmetic.remainder(x1, x2)


@implements(np.modf)
def modf(x: Any) -> tuple[Any, Any]:
    x = widened(x)
    whole, is_infinite = arithmetic.trunc(x), np.isinf(x)
    fraction = np.where(is_infinite, 0, x) - np.where(is_infinite, 0, whole)
    return fraction, whole


@implements(np.ldexp)
def ldexp(x1: Any, x2: Any) -> Any:
    """``x1 * 2**x2``, in thirds: a power that overflows alone may bring ``x1`` into range."""
    x1, x2 = widened(x1), x2 if hasattr(x2, "dtype") else np.asarray(x2)
    if x2.dtype.kind not in "biu":
        raise TypeError(f"ldexp: the exponent must be an integer, not {x2.dtype}")
    limit = 3 * np.finfo(x1.dtype).maxexp - 3
    whole = np.clip(x2, -limit, limit)
    for part in (whole // 3, (whole + 1) // 3, (whole + 2) // 3):
        x1 = x1 * np.exp2(part.astype(x1.dtype))
    return x1


@implements(np.fmax)
def fmax(x1: Any, x2: Any) -> Any:
    larger = arithmetic.maximum(x1, x2)
    return np.where(np.isnan(x1), x2, np.where(np.isnan(x2), x1, larger))


@implements(np.fmin)
def fmin(x1: Any, x2: Any) -> Any:
    smaller = arithmetic.minimum(x1, x2)
    return np.where(np.isnan(x1), x2, np.where(np.isnan(x2), x1, smaller))


@implements(np.clip, method="clip")
def clip(
    a: Any,
    a_min: Any = None,
    a_max: Any = None,
    out: Any = None,
    *,
    min: Any = None,
    max: Any = None,
    dtype: Any = None,
) -> Any:
    """``minimum(maximum(a, a_min), a_max)``; at a bound, half of the derivative passes."""
    low, high = (x if given(x) else y for x, y in ((a_min, min), (a_max, max)))
    result = operand(a)
    if given(low):
        result = np.maximum(result, low)
    if given(high):
        result = np.minimum(result, high)
    return finish(np.copy(result) if result is a else result, dtype, out, is_broadcast=True)


@implements(np.round, np.around, method="round")
def round(a: Any, decimals: int = 0, out: Any = None) -> Any:
    if a.dtype.kind == "c":
        rounded = [round(part, decimals) for part in (np.real(a), np.imag(a))]
        return finish(parts.join(*rounded), None, out)
    if a.dtype == bool:
        if decimals < 0:
            raise TypeError("truth values cannot be rounded to tens")
        return finish(a.astype(np.float16), None, out)
    if a.dtype.kind != "f" and decimals >= 0:
        return finish(np.copy(a), None, out)
    scale = 10.0 ** abs(decimals)
    if decimals >= 0:
        result = arithmetic.rint(a * scale) / scale if decimals else arithmetic.rint(a)
    else:
        result = (arithmetic.rint(a / scale) * scale).astype(a.dtype)
    return finish(result, None, out)


@implements(np.fix)
def fix(x: Any, out: Any = None) -> Any:
    return finish(arithmetic.trunc(x), None, out)


# -- exponentials and angles ----------------------------------------------------------------------
@implements(np.logaddexp2)
def logaddexp2(x1: Any, x2: Any) -> Any:
    dtype = np.logaddexp2.resolve_dtypes((*[_asked(x) for x in (x1, x2)], None))[-1]
    x1, x2 = (x.astype(dtype) if hasattr(x, "dtype") else float(x) for x in (x1, x2))
    return transcendental.logaddexp(x1 * LN2, x2 * LN2) / LN2


def _asked(x: Any) -> Any:
    """What an operand says in NumPy's promotion: a Python number has no width."""
    return x.dtype if hasattr(x, "dtype") else type(x)


@implements(np.degrees, np.rad2deg)
def degrees(x: Any) -> Any:
    return widened(x) * (180 / np.pi)


@implements(np.radians, np.deg2rad)
def radians(x: Any) -> Any:
    return widened(x) * (np.pi / 180)


@implements(np.sinc)
def sinc(x: Any) -> Any:
    """``sin(pi x) / (pi x)``; near zero its Taylor series, so that all derivatives hold there."""
    angle = np.pi * as_float(x)
    is_small = np.abs(angle) < 0.1
    s = np.where(is_small, angle * angle, 0)
    series = 1 - s / 6 * (1 - s / 20 * (1 - s / 42 * (1 - s / 72 * (1 - s / 110))))
    away = np.where(is_small, 1, angle)
    return finish(np.where(is_small, series, np.sin(away) / away), None, None)


def relu(x: Any) -> Any:
    """``max(x, 0)``, shape and dtype of ``x``; NaN stays NaN.

    The derivative at 0 is taken as 0: a unit that is exactly off stays off.

    >>> import numpy as np
    >>> import pullback as pb
    >>> pb.grad(lambda x: np.sum(pb.nn.relu(x)))(np.array([-1.0, 0.0, 2.0]))
    array([0., 0., 1.])
    """
    x = operand(x)
    return np.where(x <= 0, 0, x)


def softmax(x: Any, axis: int = -1) -> Any:
    """``exp(x) / sum(exp(x))`` along ``axis``, shape of ``x``: sums to 1, whatever is added to x.

    >>> import numpy as np
    >>> from pullback import nn
    >>> nn.softmax(np.log(np.array([1.0, 2.0, 5.0])) + 1000)
    array([0.125, 0.25 , 0.625])
    """
    powers = np.exp(_below_peak(operand(x), axis))
    return powers / np.sum(powers, axis=axis, keepdims=True)


def _below_peak(x: Any, axis: int) -> Any:
    """``x`` minus its largest element along ``axis``, exact where the elements are close.

    What is subtracted cancels in what is made of it, and so in the derivative.
    """
    peak = stop_gradient(np.max(x, axis=axis, keepdims=True))
    return x - np.where(np.isfinite(peak), peak, 0)


def log_softmax(x: Any, axis: int = -1) -> Any:
    """``x - log(sum(exp(x)))`` along ``axis``, shape of ``x``; the same whatever is added to x.

    >>> import numpy as np
    >>> from pullback import nn
    >>> nn.log_softmax(np.array([1000.0, 1000.0]))
    array([-0.69314718, -0.69314718])
    """
    x = _below_peak(operand(x), axis)
    return x - np.log(np.sum(np.exp(x), axis=axis, keepdims=True))


# SciPy's ufuncs, known by name: SciPy need not be imported.
ufuncs["logit"] = lambda x: _logit(as_float(x))
ufuncs["ndtr"] = lambda x: 0.5 * erfc(-x / math.sqrt(2.0))


def _logit(x: Any) -> Any:
    """``log(x / (1 - x))``; near 1/2 from the distance to it, which loses no digits."""
    is_near = np.abs(x - 0.5) < 0.2
    middle = 2 * np.arctanh(2 * np.where(is_near, x, 0.5) - 1)
    outer = np.where(is_near, 0.25, x)
    return np.where(is_near, middle, np.log(outer) - np.log1p(-outer))


# -- tests ----------------------------------------------------------------------------------------
@implements(np.isclose)
def isclose(a: Any, b: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Any:
    near = np.less_equal(np.abs(np.subtract(a, b)), atol + rtol * np.abs(b))
    close = np.where(np.isfinite(b), near, np.equal(a, b))
    return np.logical_or(close, np.isnan(a) & np.isnan(b)) if equal_nan else close


@implements(np.isneginf)
def isneginf(x: Any, out: Any = None) -> Any:
    return finish(np.equal(x, -np.inf), None, out)


@implements(np.isposinf)
def isposinf(x: Any, out: Any = None) -> Any:
    return finish(np.equal(x, np.inf), None, out)


@implements(np.isreal)
def isreal(x: Any) -> Any:
    return np.equal(np.imag(operand(x)), 0)


@implements(np.iscomplex)
def iscomplex(x: Any) -> Any:
    return np.not_equal(np.imag(operand(x)), 0)


@implements(np.nan_to_num)
def nan_to_num(
    x: Any, copy: bool = True, nan: float = 0.0, posinf: Any = None, neginf: Any = None
) -> Any:
    if not is_differentiable(x.dtype):
        return np.copy(x) if copy else x
    if x.dtype.kind == "c":
        finite = (nan_to_num(part, True, nan, posinf, neginf) for part in (np.real(x), np.imag(x)))
        result = parts.join(*finite)
        return result if copy else into(x, result)
    limits = np.finfo(x.dtype)
    result = np.where(np.isnan(x), nan, x)
    result = np.where(isposinf(x), limits.max if posinf is None else posinf, result)
    result = np.where(isneginf(x), limits.min if neginf is None else neginf, result)
    return finish(result, None, None if copy else x)


# -- the options of a ufunc call ------------------------------------------------------------------
@implements(ufunc_method="__call__")
def call_with_options(
    function: Any,
    *operands: Any,
    out: Any = None,
    where: Any = True,
    dtype: Any = None,
    casting: str = "same_kind",
    order: str = "K",
    subok: bool = True,
    signature: Any = None,
    **axes: Any,
) -> Any:
    """``np.ufunc(x, out=, where=, dtype=)``, and the axes of a generalised one."""
    if where is not True and out is None:
        raise unsupported(
            "a ufunc with where= and without out=, which leaves values undefined,",
            "use np.where(mask, function(x), default)",
        )
    loops = getattr(getattr(function, "numpy", None), "types", ["->d"])
    is_test = all(loop.endswith(("->?", "->O")) for loop in loops)
    if dtype is not None and is_test and np.dtype(dtype).char not in "?O":
        raise TypeError(f"no loop of the ufunc gives results of dtype {np.dtype(dtype)}")
    if dtype is not None or signature is not None:
        types = [dtype] * len(operands) if signature is None else _types(signature, len(operands))
        operands = tuple(
            operand(a).astype(t) if hasattr(a, "dtype") and t is not None else a
            for a, t in zip(operands, types, strict=True)
        )
    result = _along(function, operands, **axes) if axes else function(*operands)
    if where is not True:
        several = isinstance(result, tuple)
        kept = [t.frozen() if type(t) is Array else t for t in out]
        parts = result if several else (result,)
        mixed = [
            p if t is None else np.where(where, p, t) for p, t in zip(parts, kept, strict=True)
        ]
        result = tuple(mixed) if several else mixed[0]
    return finish(result, None, out, is_broadcast=True)


def _types(signature: Any, n: int) -> list[Any]:
    """The dtypes that a ufunc's ``signature=`` asks of its operands: ``"dd->d"`` or a tuple."""
    asked = signature.split("->")[0] if isinstance(signature, str) else signature[:n]
    if len(asked) != n:
        raise unsupported(f"a ufunc with signature={signature!r}", "use dtype=")
    return [None if t is None else np.dtype(t) for t in asked]


def _along(
    function: Any, operands: Any, axes: Any = None, axis: Any = None, keepdims: bool = False
) -> Any:
    """A generalised ufunc along other axes than the last ones."""
    given_axes = axes if axes is not None else [-1 if axis is None else axis] * len(operands)
    chosen = [(a,) if isinstance(a, int) else tuple(a) for a in given_axes]
    moved = [
        np.moveaxis(operand(x), a, tuple(range(-len(a), 0)))
        for x, a in zip(operands, chosen, strict=False)
    ]
    result = function(*moved)
    if len(chosen) > len(operands) and chosen[-1]:
        return np.moveaxis(result, tuple(range(-len(chosen[-1]), 0)), chosen[-1])
    return np.expand_dims(result, chosen[0]) if keepdims else result

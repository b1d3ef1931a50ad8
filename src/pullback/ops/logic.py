"""Comparisons, tests, and operations on truth values and bits: all without derivative."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pullback.core.primitive import NO_DERIVATIVE, Primitive, Trait
from pullback.ops.families import elementwise

__all__: list[str] = []


def _comparison(ufunc: np.ufunc, relation: str) -> Primitive:
    """A relation; NumPy orders complex numbers by their real parts, then by the imaginary ones."""
    return elementwise(
        ufunc.__name__,
        ufunc,
        doc=f"y = x1 {relation} x2",
        partials=(NO_DERIVATIVE, NO_DERIVATIVE),
        out_dtype=bool,
        kinds="fciub",
        scalar=lambda b, x1, x2: b.compare(relation, x1, x2),
        traits=("exact", "compares"),
    )


def _test(
    ufunc: np.ufunc, doc: str, scalar: Any, kinds: str = "fciu", traits: Sequence[Trait] = ()
) -> Primitive:
    return elementwise(
        ufunc.__name__,
        ufunc,
        doc=doc,
        partials=(NO_DERIVATIVE,),
        out_dtype=bool,
        kinds=kinds,
        scalar=scalar,
        kink_samples=((np.nan,), (np.inf,), (-np.inf,), (-0.0,)),
        traits=traits,
    )


def _connective(ufunc: np.ufunc, doc: str, operation: str) -> Primitive:
    return elementwise(
        ufunc.__name__,
        ufunc,
        doc=doc,
        partials=(NO_DERIVATIVE, NO_DERIVATIVE),
        out_dtype=bool,
        kinds="fciub",
        scalar=lambda b, x1, x2: b.bits(operation, b.truth(x1), b.truth(x2)),
        traits=("exact",),
    )


def _bitwise(ufunc: np.ufunc, doc: str, operation: str, kinds: str = "iub") -> Primitive:
    return elementwise(
        ufunc.__name__,
        ufunc,
        doc=doc,
        partials=(NO_DERIVATIVE, NO_DERIVATIVE),
        domain=((-2.0, 2.0), (0.0, 2.0)),
        kinds=kinds,
        scalar=lambda b, x1, x2: b.bits(operation, x1, x2),
    )


less = _comparison(np.less, "<")
less_equal = _comparison(np.less_equal, "<=")
greater = _comparison(np.greater, ">")
greater_equal = _comparison(np.greater_equal, ">=")
equal = _comparison(np.equal, "==")
not_equal = _comparison(np.not_equal, "!=")

isnan = _test(np.isnan, "y = whether x is NaN", lambda b, x: b.compare("!=", x, x))
isinf = _test(
    np.isinf,
    "y = whether x is infinite",
    lambda b, x: (
        b.compare("==", b.call("fabs", x), b.const(np.inf, x))
        if b.is_float(x)
        else b.compare("!=", x, x)
    ),
)
isfinite = _test(
    np.isfinite,
    "y = whether x is neither infinite nor NaN",
    lambda b, x: (
        b.compare("<", b.call("fabs", x), b.const(np.inf, x))
        if b.is_float(x)
        else b.compare("==", x, x)
    ),
)
signbit = _test(
    np.signbit,
    "y = whether the sign bit of x is set (also that of -0)",
    lambda b, x: b.compare("<", b.call("copysign", b.const(1, x), x), b.const(0, x)),
    kinds="fiu",
    traits=("jumps",),
)

logical_and = _connective(np.logical_and, "y = x1 and x2", "and")
logical_or = _connective(np.logical_or, "y = x1 or x2", "or")
logical_xor = _connective(np.logical_xor, "y = either x1 or x2", "xor")
logical_not = elementwise(
    "logical_not",
    np.logical_not,
    doc="y = not x",
    traits=("exact",),
    partials=(NO_DERIVATIVE,),
    out_dtype=bool,
    kinds="fciub",
    scalar=lambda b, x: b.compare("==", x, b.const(0, x)),
)

bitwise_and = _bitwise(np.bitwise_and, "y = bits in x1 and in x2", "and")
bitwise_or = _bitwise(np.bitwise_or, "y = bits in x1 or in x2", "or")
bitwise_xor = _bitwise(np.bitwise_xor, "y = bits in either x1 or x2", "xor")
left_shift = _bitwise(np.left_shift, "y = x1 2^x2", "shl", kinds="iu")
right_shift = _bitwise(np.right_shift, "y = floor(x1 / 2^x2)", "shr", kinds="iu")
invert = elementwise(
    "invert",
    np.invert,
    doc="y = bits not in x",
    partials=(NO_DERIVATIVE,),
    kinds="iub",
    scalar=lambda b, x: b.bits("xor", x, b.const(-1, x)),
)

"""Complex numbers and their real and imaginary parts.

A complex array is a pair of real ones, and that is how it is differentiated: tangents and
cotangents are complex, dual under the real inner product ``Re <u, v> = sum(Re(conj(u) v))``. Of a
holomorphic function the tangent is multiplied by f'(z) and the cotangent by its conjugate; the
functions here, and the absolute value, are those that are not holomorphic.

Kreutz-Delgado (2009), *The complex gradient operator and the CR-calculus*, arXiv:0906.4835.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pullback.ops.families import elementwise

__all__: list[str] = []


conjugate = elementwise(
    "conjugate",
    np.conjugate,
    doc="y = the complex conjugate of x",
    kinds="c",
    partials=(lambda ct: np.conjugate(ct),),  # its own adjoint, and linear in real numbers only
    scalar=None,
)

real = elementwise(
    "real",
    np.real,
    doc="y = the real part of x",
    kinds="c",
    is_real=True,
    partials=(1,),
    scalar=None,
)

imag = elementwise(
    "imag",
    np.imag,
    doc="y = the imaginary part of x",
    kinds="c",
    is_real=True,
    partials=(lambda: -1j,),
    scalar=None,
)


def _join(x1: Any, x2: Any) -> Any:
    y = np.empty(np.broadcast_shapes(np.shape(x1), np.shape(x2)), np.result_type(x1, x2, 1j))
    y.real, y.imag = x1, x2
    return y


join = elementwise(
    "complex",
    _join,
    doc="y = x1 + i x2, exactly, infinities and the signs of zeros included",
    partials=(1, lambda: 1j),
    scalar=None,
)

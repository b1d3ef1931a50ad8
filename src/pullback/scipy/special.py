"""``scipy.special`` for traced arrays.

SciPy's ufuncs are SciPy's own, which traced arrays answer to; the functions that SciPy writes in
Python, and that refuse traced arrays, are written here in NumPy. All other names are SciPy's.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy import special

from pullback.core.source import here
from pullback.errors import ArgumentError
from pullback.ops.identity import stop_gradient
from pullback.scipy import bessel, incomplete, ufuncs  # noqa: F401 - enter SciPy's ufuncs
from pullback.scipy.names import names_of

__all__ = ["log_softmax", "logsumexp", "multigammaln", "polygamma", "sinc", "softmax", "zeta"]


__getattr__, __dir__ = names_of(special)


def logsumexp(
    a: Any,
    axis: int | tuple[int, ...] | None = None,
    b: Any = None,
    keepdims: bool = False,
    return_sign: bool = False,
) -> Any:
    """``ln sum(b exp(a))`` without overflow; SciPy's arguments.

    Args:
        a: array of floats.
        axis: axes to sum over; all if ``None``.
        b: factors, broadcast against ``a``; may be negative with ``return_sign``.
        keepdims: whether summed axes stay, with length 1.
        return_sign: whether ``(ln |sum|, sign of the sum)`` is returned.

    The gradient is the softmax. Where all of ``a`` is ``-inf`` the result is ``-inf``.

    >>> import numpy as np
    >>> import pullback as pb
    >>> pb.grad(pb.scipy.special.logsumexp)(np.array([1000.0, 1000.0]))
    array([0.5, 0.5])
    """
    a = a if hasattr(a, "dtype") else np.asarray(a)
    if b is not None:
        a = np.where(b == 0, -np.inf, a + 0 * b)
    top = np.max(a, axis=axis, keepdims=True)
    top = stop_gradient(np.where(np.isfinite(top), top, 0))
    scaled = np.exp(a - top)
    total = np.sum(scaled if b is None else b * scaled, axis=axis, keepdims=keepdims)
    shift = top if keepdims else np.squeeze(top, axis=axis)
    if return_sign:
        sign = np.sign(total)
        return log_of(np.abs(total)) + shift, sign
    return log_of(total) + shift


def log_of(x: Any) -> Any:
    """``ln x``, and ``-inf`` without a warning at 0."""
    with np.errstate(divide="ignore"):
        return np.log(x)


def softmax(x: Any, axis: int | tuple[int, ...] | None = None) -> Any:
    """``exp(x) / sum(exp(x))`` along ``axis`` (over all elements if ``None``), without overflow.

    >>> import numpy as np
    >>> import pullback as pb
    >>> pb.scipy.special.softmax(np.array([0.0, 0.0]))
    array([0.5, 0.5])
    """
    scaled = np.exp(x - stop_gradient(np.max(x, axis=axis, keepdims=True)))
    return scaled / np.sum(scaled, axis=axis, keepdims=True)


def log_softmax(x: Any, axis: int | tuple[int, ...] | None = None) -> Any:
    """``ln softmax(x)`` along ``axis``, with all its digits.

    >>> import numpy as np
    >>> import pullback as pb
    >>> pb.scipy.special.log_softmax(np.array([0.0, 1000.0]))
    array([-1000.,     0.])
    """
    shifted = x - stop_gradient(np.max(x, axis=axis, keepdims=True))
    return shifted - np.log(np.sum(np.exp(shifted), axis=axis, keepdims=True))


def zeta(x: Any, q: Any = 1.0) -> Any:
    """Hurwitz's zeta function ``sum_k (k + q)^-x``, differentiable in ``q``; Riemann's at 1.

    >>> import pullback as pb
    >>> float(pb.grad(pb.scipy.special.zeta, 1)(2.0, 1.0).round(6))
    -2.404114
    """
    return ufuncs.zeta(x, q)


def polygamma(n: Any, x: Any) -> Any:
    """Derivative ``n + 1`` of ``ln Gamma`` at ``x > 0``: DLMF 5.15.1.

    Raises:
        ArgumentError: if ``n`` is not a whole number, at least 0.

    >>> import pullback as pb
    >>> float(pb.grad(lambda x: pb.scipy.special.polygamma(1, x))(1.0).round(6))
    -2.404114
    """
    if not isinstance(n, (int, np.integer)) or n < 0:
        raise ArgumentError(
            f"polygamma: the order is {n!r}",
            where=str(here()),
            fix="pass a whole number, 0 or more",
        )
    if n == 0:
        return ufuncs.psi(x)
    return (-1.0) ** (n + 1) * math.factorial(n) * ufuncs.zeta(n + 1.0, x)


def multigammaln(a: Any, d: int) -> Any:
    """``ln`` of the multivariate gamma function of dimension ``d``, for ``a > (d - 1) / 2``.

    >>> import pullback as pb
    >>> round(float(pb.scipy.special.multigammaln(3.0, 2)), 6)
    1.550195
    """
    terms = [ufuncs.gammaln(a + (1 - j) / 2) for j in range(1, d + 1)]
    total = d * (d - 1) / 4 * math.log(math.pi)
    for term in terms:
        total = total + term
    return total


sinc = np.sinc

"""The OpenBLAS that NumPy's wheel brings: routines that NumPy itself does not offer.

Blackford et al. (2002), *An updated set of basic linear algebra subprograms (BLAS)*: ``trsm``.
"""

from __future__ import annotations

import ctypes
import os
from functools import lru_cache
from typing import Any

import numpy as np

__all__ = ["library", "solve_triangle"]

ROW_MAJOR, LEFT, NOT_UNIT = 101, 141, 131
UPPER, LOWER = 121, 122
PLAIN, ADJOINT = 111, 113
ENUM, SIZE, ADDRESS = ctypes.c_int, ctypes.c_int64, ctypes.c_void_p


@lru_cache(maxsize=1)
def library() -> Any:
    """The library, or ``None`` where NumPy uses another one."""
    folder = os.path.join(os.path.dirname(os.path.dirname(np.__file__)), "numpy.libs")
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    for name in names:
        if name.startswith("libscipy_openblas64_"):
            return ctypes.CDLL(os.path.join(folder, name))
    return None


@lru_cache(maxsize=2)
def _trsm(letter: str) -> Any:
    function = getattr(library(), f"scipy_cblas_{letter}trsm64_", None)
    if function is not None:
        factor = ctypes.c_double if letter == "d" else ADDRESS
        function.argtypes = [ENUM] * 5 + [SIZE] * 2 + [factor, ADDRESS, SIZE, ADDRESS, SIZE]
        function.restype = None
    return function


def solve_triangle(a: Any, b: Any, lower: bool, turned: bool) -> Any:
    """``y`` with ``a y = b`` (``a^H y = b`` if ``turned``) of which one triangle of a is read.

    ``a`` is a matrix and ``b`` has the right-hand sides in its columns; computed in double
    precision, as NumPy does for all systems. It costs n^2 operations a column, where a general
    system takes n^3.

    Raises:
        LinAlgError: if a diagonal element is zero.
    """
    is_complex = "c" in (a.dtype.kind, b.dtype.kind)
    dtype = np.complex128 if is_complex else np.float64
    if not np.all(np.diagonal(a)):
        raise np.linalg.LinAlgError("Singular matrix")
    a = np.ascontiguousarray(a, dtype)
    trsm = _trsm("z" if is_complex else "d")
    if trsm is None:
        whole = np.tril(a) if lower else np.triu(a)
        return np.linalg.solve(whole.conj().T if turned else whole, b)
    y = np.array(b, dtype, order="C")
    m, n = y.shape
    if y.size:
        one = np.ones((), dtype)
        trsm(
            *(ROW_MAJOR, LEFT, LOWER if lower else UPPER, ADJOINT if turned else PLAIN, NOT_UNIT),
            *(m, n, one.ctypes.data if is_complex else 1.0),
            *(a.ctypes.data, m, y.ctypes.data, n),
        )
    return y

"""Sparse matrices with traced values, and SciPy's sparse matrices times traced arrays.

A matrix is a pattern, known when it is made, and a vector of values, traced or not. ``A @ x`` and
``x @ A`` work for SciPy's matrices as they stand; :func:`coo_array` and :func:`csr_array` make
matrices whose values have derivatives. All other names are SciPy's.
"""

from __future__ import annotations

import scipy.sparse

from pullback.scipy.names import names_of
from pullback.scipy.sparse import linalg
from pullback.scipy.sparse.matrix import SparseArray, coo_array, csr_array, from_scipy

__all__ = ["SparseArray", "coo_array", "csr_array", "from_scipy", "linalg"]


__getattr__, __dir__ = names_of(scipy.sparse)

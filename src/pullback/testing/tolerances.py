"""Every tolerance of the checks, in one place."""

from __future__ import annotations

import numpy as np

__all__ = ["DIFFERENCE", "DUALITY", "LOOP", "NATIVE", "NOT_THE_DERIVATIVE", "eps"]

# Relative error allowed against 5-point central differences, by order of the derivative: the
# differences of a first derivative are good to about eps^(4/5), those of a computed gradient less.
DIFFERENCE = {1: 1e-9, 2: 1e-7}

# <v, J u> and <J^T v, u> are the same sum in another order: multiples of eps of the term sum.
DUALITY = 200.0

# A batch against a loop: the same arithmetic, but BLAS may block it differently; multiples of eps.
LOOP = 64.0

# Native code against NumPy: fused multiply-adds, reassociated sums, other elementary functions.
NATIVE = 64.0

# Primitives whose rule is not their derivative, on purpose.
NOT_THE_DERIVATIVE = {
    "stop_gradient": "its derivative is declared to be zero",
    "known": "its derivative is declared to be that of a graph",
}


def eps(dtype: np.dtype[np.floating]) -> float:
    """Distance from 1 to the next number of ``dtype``."""
    return float(np.finfo(dtype).eps)

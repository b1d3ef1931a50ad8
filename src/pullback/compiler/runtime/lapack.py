"""The routines of LAPACK that NumPy's wheel brings, in its OpenBLAS."""

from __future__ import annotations

import ctypes
import os
from functools import lru_cache

import numpy as np

__all__ = ["PREFIX", "routines"]

PREFIX = "lapack_"  # of their names in native code
ROUTINES = ("dgesv", "dgetrf", "dpotrf")


@lru_cache(maxsize=1)
def routines() -> dict[str, int]:
    """Their addresses by their names; empty where NumPy uses another library."""
    folder = os.path.join(os.path.dirname(os.path.dirname(np.__file__)), "numpy.libs")
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    for name in names:
        if name.startswith("libscipy_openblas64_"):
            library = ctypes.CDLL(os.path.join(folder, name))
            return {r: _address(getattr(library, f"scipy_{r}_64_")) for r in ROUTINES}
    return {}


def _address(function: object) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value or 0  # type: ignore[arg-type]

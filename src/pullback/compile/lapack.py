"""The routines of LAPACK that NumPy's wheel brings, in its OpenBLAS."""

from __future__ import annotations

import ctypes
import glob
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
    for path in sorted(glob.glob(os.path.join(folder, "libscipy_openblas64_*"))):
        library = ctypes.CDLL(path)
        return {name: _address(getattr(library, f"scipy_{name}_64_")) for name in ROUTINES}
    return {}


def _address(function: object) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value or 0  # type: ignore[arg-type]

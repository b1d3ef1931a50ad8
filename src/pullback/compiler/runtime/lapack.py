"""The routines of LAPACK that NumPy's wheel brings, in its OpenBLAS."""

from __future__ import annotations

import ctypes
from functools import lru_cache

from pullback.ops.openblas import library

__all__ = ["PREFIX", "routines"]

PREFIX = "lapack_"  # of their names in native code
ROUTINES = ("dgesv", "dgetrf", "dpotrf", "dtrtrs")


@lru_cache(maxsize=1)
def routines() -> dict[str, int]:
    """Their addresses by their names; empty where NumPy uses another library."""
    found = library()
    return {r: _address(getattr(found, f"scipy_{r}_64_")) for r in ROUTINES} if found else {}


def _address(function: object) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value or 0  # type: ignore[arg-type]

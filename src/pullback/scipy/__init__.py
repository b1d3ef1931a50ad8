"""SciPy's names for functions that take traced arrays.

SciPy's ufuncs (``scipy.special.gammaln``, ...) work on traced arrays as they stand. For functions
that SciPy writes in Python or C behind a conversion to plain arrays, the same name is here. A
module is imported when it is first used, with SciPy's module of that name.
"""

from __future__ import annotations

import importlib
from typing import Any

__all__ = [
    "integrate",
    "interpolate",
    "linalg",
    "ndimage",
    "signal",
    "sparse",
    "spatial",
    "special",
    "stats",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'pullback.scipy' has no attribute {name!r}")
    return importlib.import_module(f"pullback.scipy.{name}")


def __dir__() -> list[str]:
    return __all__

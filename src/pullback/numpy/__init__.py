"""NumPy's names on traced arrays. ``import pullback.numpy as np`` also records buffers.

Every name that NumPy has and this module does not define is NumPy's own.
"""

from __future__ import annotations

from typing import Any

import numpy as _numpy

from pullback.numpy import functions as _functions
from pullback.numpy import indexing as _indexing
from pullback.numpy.creation import *  # noqa: F403
from pullback.numpy.functions import logsumexp

__all__ = ["logsumexp"]


def __getattr__(name: str) -> Any:
    return getattr(_numpy, name)


_ = (_functions, _indexing)

"""The identity whose derivative is zero."""

from __future__ import annotations

import numpy as np

from pullback.core.primitive import ZERO
from pullback.ops.families import elementwise

__all__: list[str] = []

stop_gradient = elementwise(
    "stop_gradient",
    lambda x: np.array(x),
    doc="y = x, as a constant",
    partials=(ZERO,),
    scalar=lambda b, x: x,
    flops=0,
    kinds="fciub",
)

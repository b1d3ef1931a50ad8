"""``numpy.fft`` under the name that ``import pullback.numpy as np`` gives it.

Every name is NumPy's own, which dispatches on traced arrays.

>>> import pullback as pb
>>> import pullback.numpy as np
>>> pb.grad(lambda x: np.sum(np.abs(np.fft.fft(x)) ** 2))(np.array([1.0, 2.0]))
array([4., 8.])
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__: list[str] = []


def __getattr__(name: str) -> Any:
    return getattr(np.fft, name)


def __dir__() -> list[str]:
    return dir(np.fft)

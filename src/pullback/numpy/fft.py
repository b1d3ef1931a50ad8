"""``numpy.fft``, which dispatches on traced arrays.

>>> import pullback as pb
>>> import pullback.numpy as np
>>> pb.grad(lambda x: np.sum(np.abs(np.fft.fft(x)) ** 2))(np.array([1.0, 2.0]))
array([4., 8.])
"""

from __future__ import annotations

from pullback.numpy.twins import mirror

__all__: list[str] = []

__getattr__, __dir__ = mirror("numpy.fft", globals())

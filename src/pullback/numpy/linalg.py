"""``numpy.linalg``, which dispatches on traced arrays.

>>> import pullback as pb
>>> import pullback.numpy as np
>>> pb.grad(lambda a: np.linalg.slogdet(a).logabsdet)(np.array([[2.0, 0.0], [0.0, 4.0]]))
array([[0.5 , 0.  ],
       [0.  , 0.25]])
"""

from __future__ import annotations

from pullback.numpy.twins import mirror

__all__: list[str] = []

__getattr__, __dir__ = mirror("numpy.linalg", globals())

"""Bounding the length of a gradient.

Reference:
    R. Pascanu, T. Mikolov, Y. Bengio (2013), "On the difficulty of training recurrent neural
    networks", ICML, algorithm 1.
"""

from __future__ import annotations

import math
from functools import reduce
from typing import Any

import numpy as np

from pullback import tree
from pullback.optim.base import number

__all__ = ["clip_by_global_norm", "global_norm"]


def global_norm(container: Any) -> Any:
    """Euclidean norm of all entries of all leaves, as one vector; 0 for no leaves.

    Scaled by the largest entry, so that squares neither overflow nor vanish.

    >>> import numpy as np
    >>> from pullback import optim
    >>> norm = optim.global_norm({"w": np.array([3e200]), "b": np.array([4e200])})
    >>> f"{norm:.3e}"
    '5.000e+200'
    """
    leaves = tree.leaves(container)
    largest = reduce(np.maximum, [np.max(np.abs(leaf), initial=0) for leaf in leaves], 0.0)
    scale = np.where(largest > 0, largest, 1)
    squares = [np.sum((leaf / scale.astype(leaf.dtype)) ** 2) for leaf in leaves]
    return scale * np.sqrt(sum(squares))


def clip_by_global_norm(grads: Any, max_norm: float) -> Any:
    """Shorten ``grads`` to the length ``max_norm`` if they are longer; the direction is kept.

    Args:
        grads: a container of float arrays.
        max_norm: not negative.

    Raises:
        ArgumentError: if ``max_norm`` is negative or NaN.

    >>> import numpy as np
    >>> from pullback import optim
    >>> optim.clip_by_global_norm({"w": np.array([3.0, 4.0])}, 1.0)
    {'w': array([0.6, 0.8])}
    """
    max_norm = number("max_norm", max_norm, 0, math.inf)
    norm = global_norm(grads)
    factor = np.where(norm > max_norm, max_norm / np.where(norm > 0, norm, 1), 1)
    return tree.map(lambda grad: grad * factor.astype(grad.dtype), grads)

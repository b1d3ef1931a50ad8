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

__all__ = ["adaptive_clip", "clip_by_global_norm", "clip_by_value", "global_norm"]


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


def clip_by_value(grads: Any, max_value: float) -> Any:
    """Entries between ``-max_value`` and ``max_value``; the direction is not kept.

    Args:
        grads: a container of float arrays.
        max_value: not negative.

    Raises:
        ArgumentError: if ``max_value`` is negative or NaN.

    >>> import numpy as np
    >>> from pullback import optim
    >>> optim.clip_by_value({"w": np.array([3.0, -0.4])}, 1.0)
    {'w': array([ 1. , -0.4])}
    """
    max_value = number("max_value", max_value, 0, math.inf)
    return tree.map(lambda grad: np.clip(grad, -max_value, max_value), grads)


def adaptive_clip(grads: Any, params: Any, ratio: float = 0.01, eps: float = 1e-3) -> Any:
    """Shorten the gradient of each unit to ``ratio`` times the length of the unit's weights.

    A unit is what feeds one output: a column of a matrix ``(in, out)``, a filter ``(out, in,
    *kernel)`` of a convolution, a whole vector.

    Args:
        grads, params: containers of the same structure.
        ratio: positive.
        eps: the least length of weights, so that those at 0 can move.

    Raises:
        ArgumentError: if a number is negative or NaN.

    Source: Brock et al. (2021), "High-Performance Large-Scale Image Recognition Without
    Normalization", eq. 3.

    >>> import numpy as np
    >>> from pullback import optim
    >>> optim.adaptive_clip(np.array([30.0, 40.0]), np.array([6.0, 8.0]), 0.1)
    array([0.6, 0.8])
    """
    ratio, eps = number("ratio", ratio, 0, math.inf), number("eps", eps, 0, math.inf)

    def shortened(grad: Any, x: Any) -> Any:
        n = np.ndim(x)
        axes = tuple(range(n)) if n < 2 else (0,) if n == 2 else tuple(range(1, n))
        most = ratio * np.maximum(np.sqrt(np.sum(x * x, axis=axes, keepdims=True)), eps)
        length = np.sqrt(np.sum(grad * grad, axis=axes, keepdims=True))
        return grad * np.where(length > most, most / np.where(length > 0, length, 1), 1)

    return tree.map(shortened, grads, params)

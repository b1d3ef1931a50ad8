"""Activations, elementwise unless an ``axis`` is named: shape and dtype in are shape and dtype out.

Every function is NumPy code: it works on arrays and on traced values, and NaN stays NaN.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pullback.numpy.elements import log_softmax, relu, softmax
from pullback.ops.special import erf, expit, log_expit

__all__ = [
    "crelu",
    "elu",
    "gelu",
    "leaky_relu",
    "log_softmax",
    "relu",
    "selu",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "tanh",
]

# Klambauer et al. (2017), "Self-Normalizing Neural Networks", eq. 14.
SELU_SCALE = 1.0507009873554805
SELU_ALPHA = 1.6732632423543772


def leaky_relu(x: Any, slope: float = 0.01) -> Any:
    """``x`` where positive, ``slope * x`` elsewhere. The derivative at 0 is ``slope``.

    Source: Maas, Hannun & Ng (2013), "Rectifier Nonlinearities Improve Neural Network Acoustic
    Models"; He et al. (2015), "Delving Deep into Rectifiers", eq. 1.

    >>> import numpy as np
    >>> from pullback import nn
    >>> nn.leaky_relu(np.array([-2.0, 3.0]))
    array([-0.02,  3.  ])
    """
    return np.where(x <= 0, slope * x, x)


def crelu(x: Any) -> Any:
    """``relu(x)`` and ``relu(-x)`` side by side: twice as many features.

    Source: Shang et al. (2016), "Understanding and Improving Convolutional Neural Networks via
    Concatenated Rectified Linear Units", definition 2.1.

    >>> import numpy as np
    >>> from pullback import nn
    >>> nn.crelu(np.array([-2.0, 3.0]))
    array([0., 3., 2., 0.])
    """
    return np.concatenate([relu(x), relu(-x)], axis=-1)


def elu(x: Any, alpha: float = 1.0) -> Any:
    """``x`` where positive, ``alpha * (exp(x) - 1)`` elsewhere. The derivative at 0 is ``alpha``.

    Source: Clevert, Unterthiner & Hochreiter (2016), "Fast and Accurate Deep Network Learning by
    Exponential Linear Units", eq. 1.

    >>> import numpy as np
    >>> from pullback import nn
    >>> nn.elu(np.array([-1.0, 3.0]))
    array([-0.63212056,  3.        ])
    """
    # The branch that is not taken must not overflow: its derivative would be infinite times zero.
    return np.where(x <= 0, alpha * np.expm1(np.where(x <= 0, x, 0)), x)


def selu(x: Any) -> Any:
    """ELU scaled so that mean 0 and variance 1 are a fixed point of a wide network.

    Source: Klambauer et al. (2017), "Self-Normalizing Neural Networks", eq. 2 and 14.

    >>> import numpy as np
    >>> from pullback import nn
    >>> nn.selu(np.array([-1.0, 1.0]))
    array([-1.11133074,  1.05070099])
    """
    return SELU_SCALE * elu(x, SELU_ALPHA)


def gelu(x: Any) -> Any:
    """``x * Phi(x)`` with the normal distribution function ``Phi``; exact, not the tanh form.

    Source: Hendrycks & Gimpel (2016), "Gaussian Error Linear Units", eq. in section 2.

    >>> import numpy as np
    >>> from pullback import nn
    >>> nn.gelu(np.array([-1.0, 0.0, 1.0]))
    array([-0.15865525,  0.        ,  0.84134475])
    """
    return 0.5 * x * (1 + erf(x / math.sqrt(2)))


def sigmoid(x: Any) -> Any:
    """``1 / (1 + exp(-x))`` without overflow.

    >>> import numpy as np
    >>> from pullback import nn
    >>> nn.sigmoid(np.array([-1000.0, 0.0, 1000.0]))
    array([0. , 0.5, 1. ])
    """
    return expit(x)


def silu(x: Any) -> Any:
    """``x * sigmoid(x)``, also called swish.

    Source: Elfwing, Uchibe & Doya (2018), "Sigmoid-Weighted Linear Units for Neural Network
    Function Approximation in Reinforcement Learning".

    >>> import numpy as np
    >>> from pullback import nn
    >>> nn.silu(np.array([-1.0, 0.0, 1.0]))
    array([-0.26894142,  0.        ,  0.73105858])
    """
    return x * expit(x)


def softplus(x: Any) -> Any:
    """``log(1 + exp(x))`` without overflow.

    >>> import numpy as np
    >>> from pullback import nn
    >>> nn.softplus(np.array([-1000.0, 0.0, 2.0]))
    array([0.        , 0.69314718, 2.12692801])
    """
    # A difference, not a sign: the value at minus infinity is 0, not -0.
    return 0.0 - log_expit(-x)


def tanh(x: Any) -> Any:
    """Hyperbolic tangent.

    >>> import numpy as np
    >>> from pullback import nn
    >>> nn.tanh(np.array([0.0, 1.0]))
    array([0.        , 0.76159416])
    """
    return np.tanh(x)

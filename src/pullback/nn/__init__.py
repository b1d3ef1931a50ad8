"""Layers as containers of parameters, activations, losses and initializers."""

from pullback.nn import init
from pullback.nn.functional import (
    elu,
    gelu,
    leaky_relu,
    log_softmax,
    relu,
    selu,
    sigmoid,
    silu,
    softmax,
    softplus,
    tanh,
)
from pullback.nn.layers import Activation, Linear, Sequential, mlp
from pullback.nn.losses import (
    binary_cross_entropy_with_logits,
    mean_squared_error,
    softmax_cross_entropy,
)

__all__ = [
    "Activation",
    "Linear",
    "Sequential",
    "binary_cross_entropy_with_logits",
    "elu",
    "gelu",
    "init",
    "leaky_relu",
    "log_softmax",
    "mean_squared_error",
    "mlp",
    "relu",
    "selu",
    "sigmoid",
    "silu",
    "softmax",
    "softmax_cross_entropy",
    "softplus",
    "tanh",
]

"""Layers as containers of parameters, convolution, attention, losses and initializers."""

from pullback.nn import init, meanfield
from pullback.nn.convolution import Conv1d, Conv2d, conv, max_pool, mean_pool
from pullback.nn.functional import (
    crelu,
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
from pullback.nn.normalization import BatchNorm, batch_norm, batch_statistics, layer_norm
from pullback.nn.transformer import MultiheadAttention, attention

__all__ = [
    "Activation",
    "BatchNorm",
    "Conv1d",
    "Conv2d",
    "Linear",
    "MultiheadAttention",
    "Sequential",
    "attention",
    "batch_norm",
    "batch_statistics",
    "binary_cross_entropy_with_logits",
    "conv",
    "crelu",
    "elu",
    "gelu",
    "init",
    "layer_norm",
    "leaky_relu",
    "log_softmax",
    "max_pool",
    "mean_pool",
    "mean_squared_error",
    "meanfield",
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

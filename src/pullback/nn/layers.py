"""Layers: dataclasses of parameters that are called on a batch.

A layer is a container (see :mod:`pullback.tree`), so a network is itself the argument that ``grad``
differentiates, and the gradient is a network of the same shape.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from pullback import numpy as traced_numpy
from pullback import tree
from pullback.core.source import here
from pullback.errors import ArgumentError, DTypeError, ShapeError
from pullback.nn.functional import relu
from pullback.nn.init import he

__all__ = ["Activation", "Embedding", "Flatten", "Linear", "Sequential", "mlp", "trained"]

Layer = Callable[[Any], Any]
Initializer = Callable[..., Any]


@dataclasses.dataclass
class Linear:
    """``x @ weight + bias``.

    Args:
        weight: ``(fan_in, fan_out)``.
        bias: ``(fan_out,)``.

    Called on ``(..., fan_in)``, returns ``(..., fan_out)``.

    Raises:
        ShapeError: if the last axis of the input is not ``fan_in``.

    >>> import numpy as np
    >>> import pullback as pb
    >>> layer = pb.nn.Linear(np.array([[1.0], [2.0]]), np.array([3.0]))
    >>> layer(np.array([[10.0, 20.0]]))
    array([[53.]])
    >>> pb.grad(lambda layer, x: np.sum(layer(x)))(layer, np.array([[10.0, 20.0]]))
    Linear(weight=array([[10.],
           [20.]]), bias=array([1.]))
    """

    weight: Any
    bias: Any

    @classmethod
    def init(
        cls,
        rng: Any,
        fan_in: int,
        fan_out: int,
        *,
        initializer: Initializer = he,
        dtype: DTypeLike = np.float64,
    ) -> Linear:
        """Random weight from ``initializer(rng, shape, dtype=dtype)`` and a bias of zeros.

        >>> import numpy as np
        >>> from pullback import nn
        >>> nn.Linear.init(np.random.default_rng(0), 3, 2).weight.shape
        (3, 2)
        """
        return cls(initializer(rng, (fan_in, fan_out), dtype=dtype), np.zeros(fan_out, dtype))

    def __call__(self, x: Any) -> Any:
        fan_in = self.weight.shape[0]
        if np.ndim(x) == 0 or np.shape(x)[-1] != fan_in:
            raise ShapeError(
                f"Linear: the input has shape {np.shape(x)}, its last axis should be {fan_in}",
                details=[f"weight: {self.weight.dtype} {self.weight.shape}"],
                fix="put examples in rows and features in columns, as x @ weight needs",
            )
        return x @ self.weight + self.bias


@dataclasses.dataclass
class Embedding:
    """Row ``ids`` of ``weight``: a learned vector for each of ``n`` things.

    Args:
        weight: ``(n, features)``.

    Called on integers ``(...)`` from 0 to ``n - 1``, returns ``(..., features)``.

    Raises:
        DTypeError: if the numbers are no integers.
        ArgumentError: if one is out of range, where values are known; inside a compiled function
            such a number raises ``IndexError``.

    >>> import numpy as np
    >>> import pullback as pb
    >>> layer = pb.nn.Embedding(np.array([[0.0, 1.0], [2.0, 3.0]]))
    >>> layer(np.array([1, 1, 0]))
    array([[2., 3.],
           [2., 3.],
           [0., 1.]])
    >>> pb.grad(lambda layer: np.sum(layer(np.array([1, 1, 0]))))(layer).weight
    array([[1., 1.],
           [2., 2.]])
    """

    weight: Any

    @classmethod
    def init(
        cls, rng: Any, n: int, features: int, *, std: float = 1.0, dtype: DTypeLike = np.float64
    ) -> Embedding:
        """Independent normal draws with mean 0 and the standard deviation ``std``."""
        return cls((std * rng.standard_normal((n, features))).astype(dtype))

    def __call__(self, ids: Any) -> Any:
        ids = ids if hasattr(ids, "dtype") else np.asarray(ids)
        n = np.shape(self.weight)[0]
        if ids.dtype.kind not in "iu":
            raise DTypeError(
                f"Embedding: the input is {ids.dtype}",
                where=str(here()),
                fix=f"give whole numbers from 0 to {n - 1}, as an integer array",
            )
        if isinstance(ids, np.ndarray) and ids.size and not 0 <= ids.min() <= ids.max() < n:
            place = tuple(int(i) for i in np.argwhere((ids < 0) | (ids >= n))[0])
            raise ArgumentError(
                f"Embedding: there is no row {ids[place]} in {n}",
                where=str(here()),
                details=[f"at {list(place)} of the input"],
                fix=f"number the things from 0 to {n - 1}",
            )
        weight = self.weight
        if isinstance(weight, np.ndarray) and not isinstance(ids, np.ndarray):
            weight = traced_numpy.array(weight)  # a plain array takes no traced index
        return weight[ids]


@dataclasses.dataclass
class Flatten:
    """``(batch, ...)`` to ``(batch, values)``: between convolutions and linear layers.

    >>> import numpy as np
    >>> from pullback import nn
    >>> nn.Flatten()(np.ones((2, 3, 4))).shape
    (2, 12)
    """

    def __call__(self, x: Any) -> Any:
        return np.reshape(x, (np.shape(x)[0], math.prod(np.shape(x)[1:])))


@dataclasses.dataclass
class Activation:
    """A function without parameters as a layer; :class:`Sequential` makes it for you."""

    function: Layer

    def __call__(self, x: Any) -> Any:
        return self.function(x)


@dataclasses.dataclass(init=False)
class Sequential:
    """Layers and functions, one after the other.

    >>> import numpy as np
    >>> from pullback import nn, tree
    >>> rng = np.random.default_rng(0)
    >>> net = nn.Sequential(nn.Linear.init(rng, 4, 3), np.tanh, nn.Linear.init(rng, 3, 2))
    >>> net(np.ones((5, 4))).shape
    (5, 2)
    >>> tree.paths(net, "net")
    ['net.layers[0].weight', 'net.layers[0].bias', 'net.layers[2].weight', 'net.layers[2].bias']

    Called, a network with :class:`~pullback.nn.BatchNorm` normalizes with the running statistics,
    as after training, and does not change them; in training call :meth:`train`.
    """

    layers: tuple[Layer, ...]

    def __init__(self, *layers: Layer) -> None:
        self.layers = tuple(_as_container(layer) for layer in layers)

    def __call__(self, x: Any) -> Any:
        for layer in self.layers:
            x = layer(x)
        return x

    def train(self, x: Any, rng: Any = None) -> tuple[Any, Sequential]:
        """What the network makes of a batch in training, and the network with new statistics.

        Layers that have a method ``train``, such as :class:`~pullback.nn.BatchNorm` and networks
        inside of this one, are trained; the others are called, and stay. Return the new network
        beside the loss (``grad(loss, has_aux=True)``) and take the step from that one: its
        learned parameters are those of this network. Layers with noise, such as
        :class:`~pullback.nn.Dropout`, draw from ``rng``, a generator of :mod:`pullback.random`.

        >>> import numpy as np
        >>> from pullback import nn
        >>> net = nn.Sequential(nn.BatchNorm.init(1, momentum=0.5), np.tanh)
        >>> y, net = net.train(np.array([[2.0], [6.0]]))
        >>> net.layers[0].mean
        array([2.])
        """
        layers = []
        for layer in self.layers:
            x, layer = trained(layer, x, rng)
            layers.append(layer)
        return x, Sequential(*layers)


def trained(layer: Layer, x: Any, rng: Any = None) -> tuple[Any, Any]:
    """What a layer makes of a batch in training, and the layer with what it learned from seeing it.

    That is ``layer.train(x, rng)``, or ``layer(x)`` and the layer itself if it has no such method.

    >>> import numpy as np
    >>> from pullback import nn
    >>> nn.trained(np.tanh, np.zeros(2))
    (array([0., 0.]), <ufunc 'tanh'>)
    """
    if hasattr(layer, "train"):
        y, layer = layer.train(x, rng)
        return y, layer
    return layer(x), layer


def _as_container(layer: Layer) -> Layer:
    if not tree.flatten(layer)[1].is_leaf():
        return layer
    name = type(layer).__name__
    if dataclasses.is_dataclass(layer) or not callable(layer):
        raise ArgumentError(
            f"Sequential: {name} is neither a container of parameters nor a function",
            fix=f"register the dataclass: pullback.tree.dataclass({name})",
        )
    return Activation(layer)


for _layer, _static in (
    (Linear, ()),
    (Embedding, ()),
    (Flatten, ()),
    (Activation, ("function",)),
    (Sequential, ()),
):
    tree.dataclass(_layer, _static)


def mlp(
    rng: Any,
    widths: Sequence[int],
    *,
    activation: Layer = relu,
    initializer: Initializer = he,
    dtype: DTypeLike = np.float64,
) -> Sequential:
    """Linear layers of the given widths with ``activation`` between them, none after the last.

    Args:
        rng: generator of the initial weights.
        widths: inputs, hidden layers, outputs: at least two numbers.
        activation: elementwise function.
        initializer: of the weights, see :mod:`pullback.nn.init`; biases start at 0.
        dtype: of all parameters.

    Raises:
        ArgumentError: if fewer than two widths are given.

    >>> import numpy as np
    >>> from pullback import nn
    >>> net = nn.mlp(np.random.default_rng(0), (8, 32, 1), activation=nn.tanh)
    >>> net(np.ones((5, 8))).shape
    (5, 1)
    """
    if len(widths) < 2:
        raise ArgumentError(
            f"mlp: {len(widths)} widths", fix="give the number of inputs and of outputs at least"
        )
    layers: list[Layer] = []
    for fan_in, fan_out in pairwise(widths):
        if layers:
            layers.append(activation)
        layers.append(Linear.init(rng, fan_in, fan_out, initializer=initializer, dtype=dtype))
    return Sequential(*layers)

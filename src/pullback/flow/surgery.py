"""Rewriting a model of ``nn`` layers: other activations, shortcuts, normalization."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from pullback import tree
from pullback.nn.layers import Activation, Linear, Sequential
from pullback.nn.normalization import layer_norm

__all__ = ["Normalized", "Shortcut", "with_activation", "with_normalization", "with_shortcuts"]


@dataclasses.dataclass
class Shortcut:
    """``x + inner(x)``: the sum hands the cotangent on, beside what ``inner`` makes of it.

    >>> import numpy as np
    >>> from pullback.flow.surgery import Shortcut
    >>> Shortcut(np.square)(np.array([3.0]))
    array([12.])
    """

    inner: Any

    def __call__(self, x: Any) -> Any:
        return x + self.inner(x)


@dataclasses.dataclass
class Normalized:
    """A layer followed by layer normalization with a learned scale and shift."""

    inner: Any
    scale: Any
    shift: Any

    def __call__(self, x: Any) -> Any:
        return layer_norm(self.inner(x), self.scale, self.shift)


tree.dataclass(Shortcut)
tree.dataclass(Normalized)


def rebuilt(model: Any, change: Callable[[Sequential], Sequential]) -> Any:
    """``model`` with every :class:`Sequential` changed, innermost first; ``None`` without."""
    found = False

    def walk(value: Any) -> Any:
        nonlocal found
        if isinstance(value, Sequential):
            found = True
            return change(Sequential(*map(walk, value.layers)))
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            fields = {f.name: walk(getattr(value, f.name)) for f in dataclasses.fields(value)}
            new = object.__new__(type(value))
            for name, part in fields.items():
                object.__setattr__(new, name, part)
            return new
        if isinstance(value, dict):
            return {key: walk(part) for key, part in value.items()}
        if isinstance(value, (list, tuple)) and type(value) in (list, tuple):
            return type(value)(map(walk, value))
        return value

    new = walk(model)
    return new if found else None


def with_activation(model: Any, function: Callable[[Any], Any]) -> Any:
    """The model with ``function`` in place of every activation, and between bare linear layers."""
    count = 0

    def change(net: Sequential) -> Sequential:
        nonlocal count
        layers: list[Any] = []
        for layer in net.layers:
            if isinstance(layer, Activation):
                count += 1
                layers.append(Activation(function))
                continue
            if isinstance(layer, Linear) and layers and isinstance(layers[-1], Linear):
                count += 1
                layers.append(Activation(function))
            layers.append(layer)
        return Sequential(*layers)

    new = rebuilt(model, change)
    return new if count else None


def with_shortcuts(model: Any) -> Any:
    """The model with ``x + layers(x)`` around each square linear layer and its activation."""
    count = 0

    def change(net: Sequential) -> Sequential:
        nonlocal count
        layers: list[Any] = []
        waiting = list(net.layers)
        while waiting:
            layer = waiting.pop(0)
            is_square = isinstance(layer, Linear) and layer.weight.shape[0] == layer.weight.shape[1]
            if is_square and waiting and isinstance(waiting[0], Activation):
                count += 1
                layers.append(Shortcut(Sequential(layer, waiting.pop(0))))
            else:
                layers.append(layer)
        return Sequential(*layers)

    new = rebuilt(model, change)
    return new if count else None


def with_normalization(model: Any) -> Any:
    """The model with layer normalization after every linear layer that an activation follows."""
    count = 0

    def change(net: Sequential) -> Sequential:
        nonlocal count
        layers: list[Any] = list(net.layers)
        for i, layer in enumerate(layers[:-1]):
            if isinstance(layer, Linear) and isinstance(layers[i + 1], Activation):
                count += 1
                width, dtype = layer.weight.shape[1], np.asarray(layer.weight).dtype
                layers[i] = Normalized(layer, np.ones(width, dtype), np.zeros(width, dtype))
        return Sequential(*layers)

    new = rebuilt(model, change)
    return new if count else None

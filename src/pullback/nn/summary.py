"""What a network is made of: shapes, parameters, flops and activations of each layer."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from pullback import tree
from pullback.analysis.cost import graph_flops
from pullback.core.types import type_of
from pullback.nn.layers import Activation
from pullback.transforms.stage import stage

__all__ = ["LayerSummary", "Summary", "summary"]


@dataclasses.dataclass(frozen=True)
class LayerSummary:
    """One layer of a network, as it is called in the network.

    Args:
        path: where it is in the network, such as ``layers[0]``.
        kind: its class, or the name of its function.
        input, output: dtype and shape, such as ``float32[32,10]``.
        parameters: numbers in it, running statistics included.
        flops: floating-point operations of the call.
        activation_bytes: bytes of its output.
    """

    path: str
    kind: str
    input: str
    output: str
    parameters: int
    flops: int
    activation_bytes: int


@dataclasses.dataclass(frozen=True)
class Summary:
    """The layers of a network that hold no other layer, in the order of their calls.

    Args:
        layers: each call; a layer that is called twice is there twice.
        parameters: numbers in the whole network, shared ones once.
        flops: of one call of the network, with what it does between its layers.
        activation_bytes: of all outputs of layers together.
    """

    layers: tuple[LayerSummary, ...]
    parameters: int
    flops: int
    activation_bytes: int

    def __str__(self) -> str:
        heading = ("layer", "kind", "input", "output", "parameters", "flops", "activation bytes")
        rows = [heading, *(_cells(dataclasses.astuple(layer)) for layer in self.layers)]
        rows.append(("total", "", "", "", *_cells(dataclasses.astuple(self)[1:])))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join(
            "  ".join(
                cell.rjust(width) if j > 3 else cell.ljust(width)
                for j, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in rows
        )


def _cells(values: Any) -> tuple[str, ...]:
    return tuple(f"{value:,}" if isinstance(value, int) else str(value) for value in values)


def summary(model: Any, *inputs: Any) -> Summary:
    """Call a network for shapes only, and note what each of its layers gets and gives.

    Args:
        model: a network, as of this package or of registered dataclasses of your own.
        inputs: what it is called with: arrays, of which shapes and dtypes are used.

    Returns:
        A table that prints itself.

    >>> import numpy as np
    >>> from pullback import nn
    >>> net = nn.mlp(np.random.default_rng(0), (8, 32, 1), activation=nn.tanh)
    >>> print(nn.summary(net, np.ones((5, 8))))
    layer      kind    input          output         parameters  flops  activation bytes
    layers[0]  Linear  float64[5,8]   float64[5,32]         288  2,720             1,280
    layers[1]  tanh    float64[5,32]  float64[5,32]           0  1,600             1,280
    layers[2]  Linear  float64[5,32]  float64[5,1]           33    325                40
    total                                                   321  4,645             2,600
    """
    layers: list[LayerSummary] = []
    leaves, structure = tree.flatten(inputs)
    types = [type_of(leaf) for leaf in leaves]
    watched = _watched(model, "", layers)

    def run(*values: Any) -> list[Any]:
        return tree.leaves(watched(*tree.unflatten(structure, values)))

    flops = graph_flops(stage(run, types).graph)
    unique = {id(leaf): np.size(leaf) for leaf in tree.leaves(model)}
    return Summary(
        tuple(layers),
        sum(unique.values()),
        flops,
        sum(layer.activation_bytes for layer in layers),
    )


class _Watched:
    """A layer that notes its calls, and is the layer in all else."""

    def __init__(self, layer: Any, path: str, layers: list[LayerSummary]) -> None:
        self.layer, self.path, self.layers = layer, path, layers

    def __getattr__(self, name: str) -> Any:
        return getattr(self.layer, name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        result = self.layer(*args, **kwargs)
        layer = self.layer
        kind = layer.function if isinstance(layer, Activation) else type(layer)
        outputs = [type_of(leaf) for leaf in tree.leaves(result)]
        leaves, structure = tree.flatten(args)

        def run(*values: Any) -> list[Any]:
            return tree.leaves(layer(*tree.unflatten(structure, values), **kwargs))

        staged = stage(run, [type_of(leaf) for leaf in leaves])
        self.layers.append(
            LayerSummary(
                self.path,
                getattr(kind, "__name__", repr(kind)),
                ", ".join(str(type_of(leaf)) for leaf in leaves),
                ", ".join(map(str, outputs)),
                sum(np.size(leaf) for leaf in tree.leaves(layer)),
                graph_flops(staged.graph),
                sum(t.nbytes for t in outputs),
            )
        )
        return result


def _watched(value: Any, path: str, layers: list[LayerSummary]) -> Any:
    """``value`` with the innermost layers in it watched."""
    if isinstance(value, list | tuple):
        parts = [_watched(part, f"{path}[{i}]", layers) for i, part in enumerate(value)]
        return type(value)(parts) if type(value) in (list, tuple) else value
    if isinstance(value, dict):
        return {k: _watched(part, f"{path}[{k!r}]", layers) for k, part in value.items()}
    if not _is_layer(value):
        return value
    fields = [field.name for field in dataclasses.fields(value)]
    contents = {name: getattr(value, name) for name in fields}
    if isinstance(value, Activation) or not any(map(_holds_layers, contents.values())):
        return _Watched(value, path, layers)
    copy = object.__new__(type(value))
    for name, part in contents.items():
        inner = f"{path}.{name}" if path else name
        object.__setattr__(copy, name, _watched(part, inner, layers))
    return copy


def _is_layer(value: Any) -> bool:
    return dataclasses.is_dataclass(value) and callable(value) and tree.is_registered(type(value))


def _holds_layers(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(map(_holds_layers, value))
    if isinstance(value, dict):
        return any(map(_holds_layers, value.values()))
    return _is_layer(value) and not isinstance(value, type)

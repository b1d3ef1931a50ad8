"""Parameters under PyTorch's names and in its shapes, and the parts of a network that no gradient
changes.

A network here is a container; PyTorch's is a flat dictionary. :func:`state_dict` turns one into the
other, and :func:`load_state_dict` back, so that a safetensors file that PyTorch wrote fills a
network of the same layers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from pullback import tree
from pullback.errors import SnapshotError
from pullback.nn.layers import Linear, Sequential
from pullback.nn.normalization import BatchNorm
from pullback.nn.recurrent import GRU, LSTM, RNN
from pullback.nn.transformer import MultiheadAttention

__all__ = ["load_state_dict", "state_dict", "with_statistics_of"]

Arrays = dict[str, np.ndarray[Any, Any]]

BATCH_NORM = {
    "scale": "weight",
    "shift": "bias",
    "mean": "running_mean",
    "variance": "running_var",
}
STATISTICS = ("mean", "variance")
COUNT = "num_batches_tracked"  # PyTorch's count of batches, which nothing here needs


def state_dict(model: Any) -> Arrays:
    """The arrays of a network under PyTorch's names and in its shapes.

    Linear weights are ``(out, in)`` there; attention keeps the weights of query, key and value in
    one array; entries of :class:`~pullback.nn.Sequential` have numbers as names. Layers of others
    keep the names of their fields.

    >>> import numpy as np
    >>> from pullback import nn
    >>> rng = np.random.default_rng(0)
    >>> net = nn.Sequential(nn.Linear.init(rng, 4, 3), nn.BatchNorm.init(3), np.tanh)
    >>> {name: array.shape for name, array in nn.state_dict(net).items()}["0.weight"]
    (3, 4)
    >>> list(nn.state_dict(net))[2:]
    ['1.weight', '1.bias', '1.running_mean', '1.running_var']
    """
    found: Arrays = {}

    def visit(name: str, array: Any) -> Any:
        found[name] = array
        return array

    _visited(model, "", visit)
    return found


def load_state_dict(model: Any, arrays: Mapping[str, Any]) -> Any:
    """A network like ``model`` with the arrays of a dictionary as :func:`state_dict` makes it.

    The dictionary may come from PyTorch: ``safetensors.numpy.load_file(path)``. Dtypes become those
    of ``model``.

    Raises:
        SnapshotError: if names or shapes are not those of ``model``; nothing is loaded then.

    >>> import numpy as np
    >>> from pullback import nn
    >>> net = nn.Sequential(nn.Linear(np.zeros((2, 1)), np.zeros(1)))
    >>> arrays = {"0.weight": np.array([[1.0, 2.0]]), "0.bias": np.array([3.0])}
    >>> nn.load_state_dict(net, arrays)(np.array([[10.0, 20.0]]))
    array([[53.]])
    """
    wanted = state_dict(model)
    came = {name: x for name, x in arrays.items() if name.rpartition(".")[2] != COUNT}
    problems = [f"missing: {name}" for name in wanted if name not in came]
    problems += [f"unknown: {name}" for name in came if name not in wanted]
    problems += [
        f"{name}: {np.shape(came[name])} came, the model has {array.shape}"
        for name, array in wanted.items()
        if name in came and np.shape(came[name]) != array.shape
    ]
    if problems:
        raise SnapshotError(
            "load_state_dict: these are the parameters of another model",
            details=problems[:10],
            fix="build the model with the layers and sizes that the parameters come from",
        )
    return _visited(model, "", lambda name, array: np.asarray(came[name]).astype(array.dtype))


Visit = Callable[[str, Any], Any]


def _visited(value: Any, prefix: str, visit: Visit) -> Any:
    """``value`` with what ``visit`` returns for each array, as PyTorch names it and has it lie."""
    if isinstance(value, Sequential):
        return Sequential(*_each(enumerate(value.layers), prefix, visit))
    if isinstance(value, Linear):
        weight = visit(f"{prefix}weight", np.asarray(value.weight).T)
        return Linear(np.ascontiguousarray(weight.T), visit(f"{prefix}bias", value.bias))
    if isinstance(value, BatchNorm):
        fields = {k: visit(prefix + name, getattr(value, k)) for k, name in BATCH_NORM.items()}
        return dataclasses.replace(value, **fields)
    if isinstance(value, MultiheadAttention):
        return _attention(value, prefix, visit)
    if isinstance(value, RNN | GRU | LSTM):
        return type(value)(
            tuple(
                tuple(
                    _cell(cell, f"_l{i}{suffix}", prefix, visit)
                    for cell, suffix in zip(directions, ("", "_reverse"), strict=False)
                )
                for i, directions in enumerate(value.cells)
            )
        )
    if dataclasses.is_dataclass(value) and tree.is_registered(type(value)):
        names = [field.name for field in dataclasses.fields(value)]
        parts = _each([(name, getattr(value, name)) for name in names], prefix, visit)
        return dataclasses.replace(value, **dict(zip(names, parts, strict=True)))  # type: ignore[type-var]
    if isinstance(value, dict):
        return dict(zip(value, _each(value.items(), prefix, visit), strict=True))
    if isinstance(value, list | tuple):
        return type(value)(_each(enumerate(value), prefix, visit))
    if isinstance(value, np.ndarray | np.generic):
        return visit(prefix.removesuffix("."), np.asarray(value))
    return value


def _each(parts: Iterable[tuple[Any, Any]], prefix: str, visit: Visit) -> list[Any]:
    return [_visited(part, f"{prefix}{name}.", visit) for name, part in parts]


def _cell(cell: Any, suffix: str, prefix: str, visit: Visit) -> Any:
    names = [field.name for field in dataclasses.fields(cell)]
    return type(cell)(*(visit(f"{prefix}{name}{suffix}", getattr(cell, name)) for name in names))


def _attention(layer: MultiheadAttention, prefix: str, visit: Visit) -> MultiheadAttention:
    """Weights of query, key and value lie one above the other, each turned."""
    parts = [layer.query, layer.key, layer.value]
    weight = visit(
        f"{prefix}in_proj_weight", np.concatenate([np.asarray(p.weight).T for p in parts])
    )
    bias = visit(f"{prefix}in_proj_bias", np.concatenate([p.bias for p in parts]))
    query, key, value = (
        Linear(np.ascontiguousarray(w.T), b)
        for w, b in zip(np.split(weight, 3), np.split(bias, 3), strict=True)
    )
    output = _visited(layer.output, f"{prefix}out_proj.", visit)
    return MultiheadAttention(query, key, value, output, layer.heads)


def with_statistics_of(model: Any, other: Any) -> Any:
    """``model`` with the running statistics of ``other``, a network of the same layers.

    For steps that change all leaves, such as weight decay: statistics are no parameters.

    >>> import numpy as np
    >>> from pullback import nn
    >>> ones, halves = np.ones(1), np.full(1, 0.5)
    >>> a, b = nn.BatchNorm(ones, ones, ones, ones), nn.BatchNorm(halves, halves, halves, halves)
    >>> merged = nn.with_statistics_of(a, b)
    >>> merged.scale, merged.mean
    (array([1.]), array([0.5]))
    """

    def merged(mine: Any, theirs: Any) -> Any:
        if not isinstance(mine, BatchNorm):
            return mine
        return dataclasses.replace(mine, **{name: getattr(theirs, name) for name in STATISTICS})

    return tree.map_until(merged, BatchNorm, model, other)

"""One forward and one backward pass, read in full: layers, units and parameters."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from pullback import tree
from pullback.core.graph import Variable
from pullback.flow.certified import Bounds, certified_dead, unit_bounds
from pullback.flow.measurements import LayerMeasure, ParameterMeasure, UnitMeasure
from pullback.flow.problem import Problem
from pullback.flow.recording import Operand, Recording
from pullback.flow.structure import Activation, Layer, Network

__all__ = ["measure_layers", "measure_parameters", "measure_units", "rms", "slopes", "unit_axis"]

FLAT = 0.05  # of the largest derivative: saturated below
DORMANT = 0.025  # Sokar et al. (2023)
SMALLEST_HALF = 2.0**-24
MANY_UNITS = 4096

Cotangents = dict[Operand, Any]


def rms(x: Any) -> float:
    """Root mean square, scaled so that squares neither overflow nor vanish; 0 for no entries."""
    x = np.abs(np.asarray(x, dtype=np.float64))
    scale = float(np.max(x, initial=0.0))
    if not np.isfinite(scale) or scale == 0 or not x.size:
        return scale
    return scale * math.sqrt(float(np.mean((x / scale) ** 2)))


def measure_layers(network: Network, cts: Cotangents) -> tuple[LayerMeasure, ...]:
    """Forward and backward statistics of every layer, first to last."""
    found: list[LayerMeasure] = []
    norms = [_norm(cts.get(layer.variable)) for layer in network.layers]
    for i, layer in enumerate(network.layers):
        value = np.asarray(network.run.values[layer.variable])
        ct = cts.get(layer.variable)
        after = norms[i + 1] if i + 1 < len(norms) else 0.0
        subnormal, half = _small(ct)
        with np.errstate(all="ignore"):
            found.append(
                LayerMeasure(
                    name=layer.name,
                    path=layer.path,
                    line=layer.line,
                    shape=value.shape,
                    mean=float(np.mean(value, dtype=float)),
                    rms=rms(value),
                    p98=float(np.quantile(np.abs(value.astype(float)), 0.98)),
                    ct_rms=0.0 if ct is None else rms(ct),
                    ct_norm=norms[i],
                    gain=(norms[i] / after) ** 2 if after else math.nan,
                    subnormal=subnormal,
                    half=half,
                )
            )
    return tuple(found)


def _norm(ct: Any) -> float:
    return 0.0 if ct is None else rms(ct) * math.sqrt(np.size(ct))


def _small(ct: Any) -> tuple[float, float]:
    """Shares of the non-zero entries that are subnormal, and that float16 would lose."""
    if ct is None:
        return 0.0, 0.0
    size = np.abs(np.asarray(ct))
    size = size[size > 0]
    if not size.size:
        return 0.0, 0.0
    tiny = np.finfo(size.dtype).tiny
    return float(np.mean(size < tiny)), float(np.mean(size < SMALLEST_HALF))


def slopes(run: Recording, activation: Activation) -> Any:
    """The activation's derivative at every entry of what enters it."""
    after = activation.after
    seed = {after: np.ones(after.type.shape, after.type.dtype)}
    found = run.cotangents(seed, start=run.maker(activation.before) + 1)
    value = found.get(activation.before)
    return np.zeros(after.type.shape) if value is None else value


def unit_axis(ndim: int) -> int:
    """The axis of units: channels of ``(batch, channels, *space)``, else the last."""
    return 1 if ndim > 3 else ndim - 1


def measure_units(network: Network) -> tuple[UnitMeasure, ...]:
    """Dead, dormant and saturated units of every activation before the output."""
    firsts = {w.output for w in network.weighted if w.signal not in network.signals}
    bounds: dict[Operand, Bounds] | None = None  # asked for once a unit is dead
    found = []
    for activation in network.hidden:
        if activation.after.type.ndim > 1:
            unit = _units(network, activation, activation.before in firsts)
            if unit.dead:
                bounds = unit_bounds(network) if bounds is None else bounds
                sure = np.mean(certified_dead(network, activation, bounds))
                unit = dataclasses.replace(unit, certified=float(sure))
            found.append(unit)
    return tuple(found)


def _units(network: Network, activation: Activation, is_first: bool) -> UnitMeasure:
    run = network.run
    slope = np.abs(np.asarray(slopes(run, activation), dtype=float))
    value = np.asarray(run.values[activation.after], dtype=float)
    axis = unit_axis(slope.ndim)
    slope = np.moveaxis(slope, axis, -1).reshape(-1, slope.shape[axis])
    value = np.moveaxis(value, axis, -1).reshape(slope.shape)
    n_samples, n_units = slope.shape
    dead = ~np.any(slope > 0, axis=0)
    size = np.mean(np.abs(value), axis=0)
    largest = activation.slope if np.isfinite(activation.slope) else float(np.max(slope, initial=0))
    saturated = float(np.mean(slope < FLAT * largest)) if activation.is_bounded else 0.0
    named = _layer_of(network, activation.after)
    source = run.source(activation.after)
    return UnitMeasure(
        name=named.name if named else activation.kind,
        path=named.path if named else "",
        line=str(source) if source else "",
        kind=activation.kind,
        n_units=n_units,
        n_samples=n_samples,
        dead=float(np.mean(dead)),
        bound=min(1.0, 3 / n_samples),
        dormant=float(np.mean(size <= DORMANT * np.mean(size))),
        saturated=saturated,
        is_first=is_first,
        distinct=_distinct(value),
        dead_units=tuple(int(i) for i in np.flatnonzero(dead)[:64]),
    )


def _distinct(value: Any) -> int:
    columns = value[:, :MANY_UNITS].T
    return len(np.unique(np.round(columns, 12), axis=0)) if columns.size else 0


def _layer_of(network: Network, variable: Variable) -> Layer | None:
    """The layer that a value is, or the first one that follows it."""
    at = network.run.maker(variable)
    for layer in network.layers:
        if network.run.maker(layer.variable) >= at:
            return layer
    return None


def measure_parameters(
    problem: Problem, run: Recording, cts: Cotangents
) -> tuple[ParameterMeasure, ...]:
    """Gradient, scale and first update of every parameter array."""
    leaves = list(run.leaves)
    steps = _first_step(problem, [cts.get(v) for v in leaves])
    found = []
    for variable, step in zip(leaves, steps, strict=True):
        value, ct = np.asarray(run.values[variable]), cts.get(variable)
        size = rms(value)
        found.append(
            ParameterMeasure(
                path=run.leaves[variable],
                shape=value.shape,
                rms=size,
                ptp=float(np.ptp(value)) if value.size else 0.0,
                grad_rms=0.0 if ct is None else rms(ct),
                update_ratio=step / size if size and step is not None else math.nan,
                is_connected=ct is not None,
                subnormal=_small(ct)[0],
            )
        )
    return tuple(found)


def _first_step(problem: Problem, cts: Sequence[Any]) -> list[float | None]:
    """RMS of the change that the optimizer's first step would make to each parameter."""
    leaves, structure = tree.flatten(problem.params)
    if problem.learning_rate is None:
        return [None] * len(leaves)
    arrays = [np.array(leaf) for leaf in leaves]
    params = tree.unflatten(structure, arrays)
    grads = tree.unflatten(
        structure,
        [np.zeros_like(x) if ct is None else ct for x, ct in zip(arrays, cts, strict=True)],
    )
    optimizer = problem.optimizer(problem.learning_rate)
    with np.errstate(all="ignore"):
        moved, _ = optimizer.update(grads, optimizer.init(params), params)
        return [rms(new - old) for new, old in zip(tree.leaves(moved), arrays, strict=True)]

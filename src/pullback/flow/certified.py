"""Bounds on what enters each activation, for all inputs inside the range of the probed rows.

Interval arithmetic: the bounds are sound, so a unit whose bound lies on the flat side of its
activation is off for every input in that box, not only for the rows that were seen. Where a layer
is no chain of products with weights, biases and monotone activations, nothing is claimed.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pullback.flow.recording import Operand
from pullback.flow.structure import Activation, Network, Weighted

__all__ = ["Bounds", "certified_dead", "unit_bounds"]

Bounds = tuple[Any, Any]  # lowest and highest value of each unit, along the last axis
N_POINTS = 4097


def unit_bounds(network: Network) -> dict[Operand, Bounds]:
    """Lowest and highest values of the results of weighted steps, one number a unit."""
    found: dict[Operand, Bounds] = {}
    activations: dict[Operand, Activation] = {a.after: a for a in network.hidden}
    for w in network.weighted:
        signal = _signal(network, w, found, activations)
        weight = np.asarray(network.run.read(w.used), dtype=float)
        if signal is None or w.is_conv or weight.ndim != 2:
            continue
        if np.shape(signal[0]) != weight.shape[:1] or w.output.type.shape[1:] != weight.shape[1:]:
            continue
        bias = _bias(network, w)
        if bias is None:
            continue
        up, down = np.maximum(weight, 0), np.minimum(weight, 0)
        low, high = signal
        found[w.output] = (low @ up + high @ down + bias, high @ up + low @ down + bias)
    return found


def _signal(
    network: Network,
    w: Weighted,
    found: dict[Operand, Bounds],
    activations: dict[Operand, Activation],
) -> Bounds | None:
    """Bounds of what a weighted step reads: the box of the data, or an activation of bounds."""
    if w.signal not in network.signals:
        x = np.asarray(network.run.read(w.signal))
        if x.ndim != 2 or x.dtype.kind != "f":
            return None
        return np.min(x, axis=0).astype(float), np.max(x, axis=0).astype(float)
    if w.signal in found:
        return found[w.signal]
    activation = activations.get(w.signal)
    if activation is None or activation.before not in found:
        return None
    return _through(network, activation, found[activation.before])


def _through(network: Network, activation: Activation, bounds: Bounds) -> Bounds | None:
    """Bounds through an activation that rises everywhere between them."""
    if not np.isfinite(activation.slope):
        return None
    form = network.scalar_form(activation.before, activation.after)
    low, high = bounds
    grid = np.linspace(float(np.min(low)), float(np.max(high)), N_POINTS)
    if not np.all(np.isfinite(grid)) or np.any(np.diff(np.asarray(form(grid), float)) < 0):
        return None
    return np.asarray(form(low), dtype=float), np.asarray(form(high), dtype=float)


def _bias(network: Network, w: Weighted) -> Any:
    """What is added to the product: the result with a product of 0, if it is equal on all rows."""
    product = network.run.steps[w.at].equation.outputs[0]
    if w.output is product:
        return 0.0
    zero = np.zeros(product.type.shape, product.type.dtype)
    rest = np.asarray(network.run.replay({product: zero}, w.output), dtype=float)
    if rest.ndim != 2 or np.any(rest != rest[:1]):
        return None
    return rest[0]


def certified_dead(network: Network, activation: Activation, bounds: dict[Operand, Bounds]) -> Any:
    """Which units have derivative 0 for all inputs in the box; all ``False`` if unknown.

    An activation that never falls and has equal values at both ends is constant between them.
    """
    nothing = np.zeros(activation.after.type.shape[-1], bool)
    found = bounds.get(activation.before)
    if found is None or not activation.rests or activation.after.type.ndim != 2:
        return nothing
    margin = 1e-9 * (1 + np.abs(found[0]) + np.abs(found[1]))  # more than rounding adds
    through = _through(network, activation, (found[0] - margin, found[1] + margin))
    return nothing if through is None else through[0] == through[1]

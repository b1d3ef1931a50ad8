"""Matplotlib figures of probes, treatments, residual paths and monitors. Needs matplotlib."""

from __future__ import annotations

from typing import Any

import numpy as np

from pullback.drawing import new_figure
from pullback.errors import ArgumentError
from pullback.flow.highways import PathReport
from pullback.flow.monitor import Monitor
from pullback.flow.probe import Probe
from pullback.flow.remedies import Treatment

__all__ = ["plot"]


def plot(found: Probe | Treatment | PathReport | Monitor) -> Any:
    """A ``matplotlib.figure.Figure`` of what was found; save it with ``savefig``.

    A probe: RMS of values and of dL/da across depth, on log scales, and dead and saturated shares.
    A treatment: loss / control of each remedy with its interval. Residual paths: path mass against
    the binomial law. A monitor: dL/da of each layer over the steps.

    Raises:
        ArgumentError: if there is nothing to draw.
        ModuleNotFoundError: without matplotlib.

    >>> import numpy as np
    >>> import pullback as pb
    >>> def loss(w, x):
    ...     h = np.tanh(x @ w)
    ...     return np.mean(h**2)
    >>> figure = pb.flow.plot(pb.flow.probe(loss, np.ones((3, 2)), np.ones((4, 3))))
    >>> [axes.get_title() for axes in figure.axes]
    ['forward and backward', 'units']
    """
    figure = new_figure()
    if isinstance(found, Probe):
        _probe(figure, found)
    elif isinstance(found, Treatment):
        _treatment(figure, found)
    elif isinstance(found, PathReport):
        _paths(figure, found)
    elif isinstance(found, Monitor):
        _monitor(figure, found)
    else:
        raise ArgumentError(
            f"flow.plot: a {type(found).__name__}",
            fix="pass a probe, a treatment, a path report or a monitor",
        )
    return figure


def _probe(figure: Any, found: Probe) -> None:
    left, right = figure.subplots(1, 2)
    at = np.arange(len(found.layers))
    names = [layer.name for layer in found.layers]
    for label, values, marker in (
        ("value", [v.rms for v in found.layers], "o"),
        ("dL/da", [v.ct_rms for v in found.layers], "s"),
    ):
        left.plot(at, [v if v > 0 else np.nan for v in values], marker=marker, label=label)
    left.set(title="forward and backward", ylabel="RMS", yscale="log", xlabel="layer")
    left.set_xticks(at, names, rotation=90 if len(names) > 4 else 0)
    left.legend()
    at = np.arange(len(found.units))
    right.bar(at - 0.2, [u.dead for u in found.units], 0.4, label="dead", hatch="//")
    right.bar(at + 0.2, [u.saturated for u in found.units], 0.4, label="saturated")
    right.set(title="units", ylabel="share", ylim=(0, 1))
    right.set_xticks(at, [u.name for u in found.units], rotation=90 if len(at) > 4 else 0)
    right.legend()


def _treatment(figure: Any, found: Treatment) -> None:
    if not found.outcomes:
        raise ArgumentError("flow.plot: no remedy was tried", fix="name remedies that apply")
    axes = figure.subplots()
    outcomes = found.outcomes[::-1]
    at = np.arange(len(outcomes))
    ratios = np.array([o.ratio for o in outcomes])
    low = np.clip(ratios - [o.low for o in outcomes], 0, None)
    high = np.clip([min(o.high, 100 * o.ratio) for o in outcomes] - ratios, 0, None)
    axes.errorbar(ratios, at, xerr=(low, high), fmt="o")
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_yticks(at, [f"{o.remedy} ({o.start})" for o in outcomes])
    axes.set(title="remedies", xlabel="loss / control, mean and 95% interval", xscale="log")


def _paths(figure: Any, found: PathReport) -> None:
    axes = figure.subplots()
    at = np.arange(len(found.mass))
    axes.bar(at, found.mass, label="path mass")
    axes.plot(at, found.law, "k.-", label=f"binomial, q = {found.q:.3g}")
    axes.set(title="residual paths", xlabel="branches passed", ylabel="share")
    axes.legend()


def _monitor(figure: Any, found: Monitor) -> None:
    if not found.samples:
        raise ArgumentError(
            "flow.plot: the monitor has no samples", fix="call it in the loop first"
        )
    axes = figure.subplots()
    steps = [s.step for s in found.samples]
    for name in dict.fromkeys(n for s in found.samples for n, _ in s.layers):
        values = [dict(s.layers).get(name, np.nan) or np.nan for s in found.samples]
        axes.plot(steps, values, label=name)
    axes.set(title="gradients over training", xlabel="step", ylabel="RMS of dL/da", yscale="log")
    axes.legend(fontsize="small")

"""``probe``: measure how signals and gradients flow through a function."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pullback.errors import ArgumentError
from pullback.flow.extras import (
    LANCZOS_STEPS,
    MAX_ITERATIONS,
    N_CHUNKS,
    N_DRAWS,
    curvature,
    jacobians,
    noise,
    shattering,
)
from pullback.flow.measure import measure_layers, measure_parameters, measure_units
from pullback.flow.measurements import (
    Curvature,
    JacobianMeasure,
    LayerMeasure,
    NoiseMeasure,
    ParameterMeasure,
    Shattering,
    UnitMeasure,
    to_json,
)
from pullback.flow.problem import Problem, as_problem
from pullback.flow.recording import Recording, record
from pullback.flow.structure import Network
from pullback.flow.text import columns, number

__all__ = ["EXTRAS", "Probe", "probe"]

MAX_ROWS = 512
EXTRAS = ("jacobians", "shattering", "noise", "curvature")


@dataclass(frozen=True)
class Probe:
    """What one probe found. ``print`` it, or read its parts.

    Attributes:
        problem: what was probed; ``n_rows`` how many rows of it.
        loss: its value.
        layers: from the first to the last.
        units: of every activation before the output.
        parameters: in the order of ``tree.leaves``.
        cost_s: seconds of the pass.
        jacobians, shattering, noise, curvature: filled on demand.
        network: the recording behind it, for further questions.
    """

    problem: Problem
    n_rows: int
    loss: float
    layers: tuple[LayerMeasure, ...]
    units: tuple[UnitMeasure, ...]
    parameters: tuple[ParameterMeasure, ...]
    cost_s: float
    network: Network = field(repr=False, compare=False)
    jacobians: tuple[JacobianMeasure, ...] = ()
    shattering: Shattering | None = None
    noise: NoiseMeasure | None = None
    curvature: Curvature | None = None

    @property
    def run(self) -> Recording:
        return self.network.run

    @property
    def hidden(self) -> tuple[LayerMeasure, ...]:
        """Layers that the loss reaches, without the output itself."""
        output = self.network.output
        names = {
            layer.name
            for layer in self.network.layers
            if layer.variable in self.network.upstream and layer.variable is not output
        }
        return tuple(layer for layer in self.layers if layer.name in names)

    @property
    def ratio(self) -> float:
        """Norm of dL/da at the first hidden layer over that at the last; NaN without two."""
        hidden = [layer for layer in self.hidden if layer.ct_norm > 0]
        return hidden[0].ct_norm / hidden[-1].ct_norm if len(hidden) > 1 else math.nan

    @property
    def gain(self) -> float:
        """Mean-square gain per weighted layer: exp(-2 * slope of log norm of dL/da against depth).

        Depth counts the matrix products and convolutions up to a layer.
        """
        variables = {layer.name: layer.variable for layer in self.network.layers}
        ends = [w.at for w in self.network.weighted]
        hidden = [layer for layer in self.hidden if layer.ct_norm > 0]
        depths = [int(np.searchsorted(ends, self.run.maker(variables[v.name]))) for v in hidden]
        if len(set(depths)) < 2:
            return math.nan
        slope = np.polyfit(depths, np.log([v.ct_norm for v in hidden]), 1)[0]
        return float(np.exp(-2 * slope))

    @property
    def depth(self) -> int:
        """Weighted layers that lead to the loss."""
        return sum(w.output in self.network.upstream for w in self.network.weighted)

    def to_json(self) -> dict[str, Any]:
        """All measurements as what ``json.dumps`` takes."""
        names = ("n_rows", "loss", "ratio", "gain", "layers", "units", "parameters", *EXTRAS)
        return {
            "problem": self.problem.title,
            **{name: to_json(getattr(self, name)) for name in names},
        }

    def dumps(self) -> str:
        return json.dumps(self.to_json(), indent=1)

    def __str__(self) -> str:
        return "\n\n".join(part for part in self._tables() if part)

    def _tables(self) -> list[str]:
        head = (
            f"{self.problem.title}: loss {self.loss:.6g} on {self.n_rows} rows, "
            f"{self.problem.n_parameters():,} parameters; one pass took {self.cost_s:.3g} s"
        )
        return [
            head,
            columns(
                ("layer", "rms", "98%", "rms dL/da", "gain", "line"),
                [
                    (v.name, number(v.rms), number(v.p98), number(v.ct_rms), number(v.gain), v.line)
                    for v in self.layers
                ],
            ),
            columns(
                ("activation", "kind", "units", "dead", "dormant", "saturated", "distinct"),
                [
                    (
                        u.name,
                        u.kind,
                        f"{u.n_units}",
                        f"{u.dead:.0%}" + (f" (< {u.bound:.2g} active)" if u.dead else ""),
                        f"{u.dormant:.0%}",
                        f"{u.saturated:.0%}",
                        f"{u.distinct}",
                    )
                    for u in self.units
                ],
            ),
            columns(
                ("parameter", "shape", "rms", "rms gradient", "update/weight"),
                [
                    (
                        p.path,
                        " x ".join(map(str, p.shape)) or "number",
                        number(p.rms),
                        number(p.grad_rms) if p.is_connected else "not connected",
                        number(p.update_ratio),
                    )
                    for p in self.parameters
                ],
            ),
            *self._extra_tables(),
        ]

    def _extra_tables(self) -> list[str]:
        lines = [
            columns(
                ("Jacobian", "largest", "smallest", "mean square"),
                [
                    (
                        f"{j.start} to {j.stop}",
                        number(j.largest),
                        number(j.smallest),
                        f"{number(j.mean_square)} +- {j.spread:.0%}",
                    )
                    for j in self.jacobians
                ],
            )
        ]
        if self.shattering:
            s = self.shattering
            lines.append(
                f"gradient at {s.layer} along a segment of {s.n_points} points: autocorrelation "
                f"{s.at(1):.3f} at lag 1,\n{s.at(5):.3f} at lag 5; Ljung-Box {s.q:.4g} "
                f"(white noise: below {s.q_limit:.4g})"
            )
        if self.noise:
            lines.append(f"gradient noise scale: {number(self.noise.scale)} examples")
        if self.curvature:
            c = self.curvature
            lines.append(
                f"largest Hessian eigenvalue: {number(c.largest)} (residual {c.residual:.1e}); "
                f"learning rate times it: {number(c.sharpness)}"
            )
        return lines


def probe(
    loss: Callable[..., Any] | Problem,
    params: Any = None,
    *batch: Any,
    extras: str | Sequence[str] = (),
    max_rows: int = MAX_ROWS,
    announce: Callable[[str], Any] | None = None,
    **options: Any,
) -> Probe:
    """Measure how signals flow forward and gradients backward through ``loss``.

    One forward and one backward pass give, for every layer, mean, RMS and 98th percentile, dL/da
    and its gain; for every activation dead, dormant, saturated and equal units; for every
    parameter gradient, scale and first update. ``extras`` cost more passes.

    A *layer* is a value that :func:`pullback.flow.tag` marked; without tags, the output of each
    layer of an ``nn`` model (or of any callable registered dataclass); in plain functions, each
    value that the user's code names.

    Args:
        loss: ``loss(params, *batch)``, a scalar; or a :class:`Problem` instead of all.
        params: a model, or a container of float arrays.
        batch: arrays with one row per example.
        extras: of ``"jacobians"`` (singular values of each layer's and of the end-to-end
            Jacobian), ``"shattering"`` (autocorrelation of gradients), ``"noise"`` (noise scale),
            ``"curvature"`` (largest Hessian eigenvalue); ``"all"`` for all.
        max_rows: a random part of the rows is probed if there are more.
        announce: is told the expected cost before extras run; by default it goes to stderr.
        options: fields of :class:`Problem`, such as ``learning_rate``.

    Raises:
        ArgumentError: if an option is unknown or there is no data.
        ShapeError: if the loss is no scalar.

    >>> import numpy as np
    >>> import pullback as pb
    >>> def loss(p, x):
    ...     h = np.tanh(x @ p["w"])
    ...     return np.mean((h @ p["v"]) ** 2)
    >>> params = {"w": np.ones((3, 2)), "v": np.ones(2)}
    >>> found = pb.flow.probe(loss, params, np.ones((4, 3)))
    >>> found.layers[0].name, round(found.layers[0].rms, 4), round(found.units[0].saturated, 2)
    ('h', 0.9951, 1.0)
    """
    problem = as_problem(loss, params, batch, options)
    wanted = EXTRAS if extras == "all" else (extras,) if isinstance(extras, str) else tuple(extras)
    for name in wanted:
        if name not in EXTRAS:
            raise ArgumentError(
                f"flow.probe: unknown extra {name!r}", fix=f"use one of {', '.join(EXTRAS)}, all"
            )
    rows = problem.sample(max_rows)
    start = time.perf_counter()
    with np.errstate(all="ignore"):
        network = Network(record(problem.loss, problem.params, rows, root=problem.root))
        cts = network.run.gradient()
        cost_s = time.perf_counter() - start
        layers = measure_layers(network, cts)
        units = measure_units(network)
        parameters = measure_parameters(problem, network.run, cts)
    found: dict[str, Any] = {}
    if wanted:
        (announce or _to_stderr)(_cost(wanted, cost_s, len(layers)))
        small = Problem(
            problem.loss, problem.params, rows, problem.learning_rate, problem.optimizer
        )
        with np.errstate(all="ignore"):
            for name in wanted:
                found[name] = _extra(name, small, network)
    n_rows = np.shape(rows[0])[0] if rows and np.ndim(rows[0]) else 1
    return Probe(
        problem,
        n_rows,
        float(network.run.value),
        layers,
        units,
        parameters,
        cost_s,
        network,
        **found,
    )


def _extra(name: str, problem: Problem, network: Network) -> Any:
    if name == "jacobians":
        return jacobians(network)
    if name == "shattering":
        return shattering(problem)
    return noise(problem) if name == "noise" else curvature(problem)


def _cost(wanted: Sequence[str], cost_s: float, n_layers: int) -> str:
    """The expected cost of the extras, in passes and seconds."""
    passes = {
        "jacobians": 2 * (2 * MAX_ITERATIONS + N_DRAWS),  # all layers together are one network
        "shattering": 1,
        "noise": 1 + N_CHUNKS // 8,
        "curvature": 3 * LANCZOS_STEPS,
    }
    parts = [f"{name} <= {passes[name]}" for name in wanted]
    total = sum(passes[name] for name in wanted)
    return (
        f"flow.probe: {n_layers} layers; extra passes: {', '.join(parts)}; about "
        f"{total * cost_s:.2g} s at {cost_s:.2g} s a pass"
    )


def _to_stderr(text: str) -> None:
    sys.stderr.write(text + "\n")

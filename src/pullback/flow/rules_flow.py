"""Verdicts on gradient flow: vanishing, exploding, dead, saturated, shattered, bad starts."""

from __future__ import annotations

import math

import numpy as np

from pullback.flow.evidence import Evidence, certainty
from pullback.flow.findings import Finding
from pullback.flow.thresholds import limit

__all__ = ["RULES"]

# Widest sensible range of weight scale, std * sqrt(fan_in), by the activation that follows. Lower
# end: keeps small signals (slope at 0) or Xavier; upper end: keeps the second moment or critical.
REFERENCE = {
    "relu": (1.414, 1.414),
    "leaky_relu": (1.414, 1.414),
    "elu": (1.0, 1.414),
    "selu": (1.0, 1.0),
    "gelu": (1.414, 2.0),
    "silu": (1.414, 2.0),
    "softplus": (1.0, 1.414),
    "tanh": (1.0, 1.6),
    "hard tanh": (1.0, 1.6),
    "softsign": (1.0, 2.3),
    "sigmoid": (1.0, 4.0),
    "sine": (1.0, 2.0),
}


def vanishing(evidence: Evidence) -> list[Finding]:
    """The ratio rule on dL/da across depth; weight gradients alone do not show it."""
    probe = evidence.probe
    ratio, gain = probe.ratio, probe.gain
    if not ratio < limit("vanishing").value:
        return []
    is_severe = ratio < limit("vanishing, severe").value
    hidden = [layer for layer in probe.hidden if layer.ct_norm > 0]
    kinds = {u.kind for u in probe.units}
    squeezing = sorted(kinds & {"sigmoid", "tanh", "softsign", "hard tanh"})
    squeezed = [f"slopes below 1 of {', '.join(squeezing)}"] if squeezing else []
    return [
        Finding(
            "vanishing gradient",
            "severe" if is_severe else "warning",
            certainty(limit("vanishing").value / ratio, 50),
            (
                f"dL/da is {ratio:.2g} times as long at {hidden[0].name} as at {hidden[-1].name}",
                f"mean-square gain per layer {gain:.3g}: a depth scale of "
                f"{depth_scale(gain):.2g} layers, over {probe.depth} layers",
            ),
            place=hidden[0].path,
            line=hidden[0].line,
            value=ratio,
            threshold=limit("vanishing, severe" if is_severe else "vanishing"),
            alternatives=(*squeezed, "weights too small for the activation"),
            remedies=("initializer", "activation", "skip", "normalization", "lsuv"),
            advice="use relu-like activations, He or critical weights, shortcuts or normalization",
        )
    ]


def depth_scale(gain: float) -> float:
    """``-1 / ln chi_1`` in layers (Schoenholz et al. 2017)."""
    log = abs(math.log(gain)) if gain > 0 else math.inf
    return 1 / log if log else math.inf


def exploding(evidence: Evidence) -> list[Finding]:
    """Jacobians whose product grows, told apart from the step size and from single examples."""
    probe = evidence.probe
    ratio = probe.ratio
    if not ratio > limit("exploding").value:
        return []
    is_severe = ratio > limit("exploding, severe").value
    hidden = [layer for layer in probe.hidden if layer.ct_norm > 0]
    return [
        Finding(
            "exploding gradient",
            "severe" if is_severe else "warning",
            certainty(ratio / limit("exploding").value, 50),
            (
                f"dL/da is {ratio:.2g} times as long at {hidden[0].name} as at {hidden[-1].name}",
                f"mean-square gain per layer {probe.gain:.3g} over {probe.depth} layers: the "
                "Jacobians grow, whatever the step size",
            ),
            place=hidden[0].path,
            line=hidden[0].line,
            value=ratio,
            threshold=limit("exploding, severe" if is_severe else "exploding"),
            alternatives=(
                "weights too large for the activation",
                "normalization without shortcuts",
            ),
            remedies=("initializer", "lsuv", "clip", "normalization", "lower learning rate"),
            advice="use He or critical weights, or clip the gradient's norm",
        )
    ]


def dead(evidence: Evidence) -> list[Finding]:
    """Units without derivative on every row."""
    found = []
    for unit in evidence.probe.units:
        if not unit.dead > limit("dead").value:
            continue
        is_severe = unit.dead >= limit("dead, severe").value
        stays = (
            "they read the data directly: under plain gradient descent they stay dead on these rows"
            if unit.is_first
            else "they can revive when earlier layers move; momentum and weight decay move them too"
        )
        found.append(
            Finding(
                "dead units",
                "severe" if is_severe else "warning",
                certainty(unit.dead / limit("dead").value, 4),
                (
                    f"{unit.dead:.0%} of {unit.n_units} {unit.kind} units have derivative 0 on all "
                    f"{unit.n_samples} samples; each is active with probability below "
                    f"{unit.bound:.2g} (95%)",
                    *(
                        [f"{unit.certified:.0%} are off for every input in the range of these rows"]
                        if unit.certified
                        else []
                    ),
                    stays,
                ),
                place=unit.path,
                line=unit.line,
                value=unit.dead,
                threshold=limit("dead, severe" if is_severe else "dead"),
                alternatives=("biases far below 0", "a learning rate that was too large before"),
                remedies=("leaky activation", "initializer", "lower learning rate"),
                advice="use leaky_relu, elu or gelu, biases of 0, or a smaller learning rate",
            )
        )
    return found[:1] if not found else [max(found, key=lambda f: f.value)]


def saturated(evidence: Evidence) -> list[Finding]:
    """Bounded activations on their flat parts."""
    units = [u for u in evidence.probe.units if u.saturated > limit("saturated").value]
    if not units:
        return []
    unit = max(units, key=lambda u: u.saturated)
    is_severe = unit.saturated >= limit("saturated, severe").value
    return [
        Finding(
            "saturated units",
            "severe" if is_severe else "warning",
            certainty(unit.saturated / limit("saturated").value, 2),
            (
                f"{unit.saturated:.0%} of the outputs of {unit.kind} have a derivative below 5% of "
                "its largest",
            ),
            place=unit.path,
            line=unit.line,
            value=unit.saturated,
            threshold=limit("saturated, severe" if is_severe else "saturated"),
            alternatives=("weights too large", "inputs that are not scaled"),
            remedies=("initializer", "activation", "normalization", "lsuv"),
            advice="use smaller weights, scale the inputs, or an activation that is not bounded",
        )
    ]


def shattered(evidence: Evidence) -> list[Finding]:
    """Gradients of nearby inputs that have nothing to do with each other."""
    s = evidence.probe.shattering
    if s is None or s.at(5) >= limit("degraded").value:
        return []
    is_white = s.at(5) < limit("shattered").value or s.q < s.q_limit
    return [
        Finding(
            "shattered gradients",
            "severe" if is_white else "warning",
            certainty(limit("degraded").value / max(s.at(5), 1e-3), 8),
            (
                f"autocorrelation of the gradient at {s.layer} along {s.n_points} points between "
                f"two rows: {s.at(1):.3f} at lag 1, {s.at(5):.3f} at lag 5",
                f"Ljung-Box {s.q:.4g}; white noise stays below {s.q_limit:.4g}",
            ),
            place=s.layer,
            value=s.at(5),
            threshold=limit("shattered" if is_white else "degraded"),
            alternatives=("rows that are far apart", "normalization in a deep network"),
            remedies=("skip", "looks-linear"),
            advice="add shortcuts with a small branch scale, or start looks-linear",
        )
    ]


def initialization(evidence: Evidence) -> list[Finding]:
    """Weight scales against what the activations need, where the flow suffers from it."""
    scales = evidence.weight_scales()
    if not scales or evidence.normalizes:
        return []
    offs = []
    for path, scale, kind in scales:
        low, high = REFERENCE.get(kind, (1.0, 1.6))
        if scale > 0:
            offs.append(
                (
                    math.log(scale / high) if scale > high else min(0, math.log(scale / low)),
                    path,
                    scale,
                    kind,
                )
            )
    if not offs:
        return []
    typical = float(np.median([o[0] for o in offs]))
    worst = max(offs, key=lambda o: abs(o[0]))
    suffers = evidence.suffers(typical)
    factor = math.exp(abs(typical))
    alone = factor > limit("initial scale, alone").value
    if not alone and not (suffers and factor > limit("initial scale").value):
        return []
    _, path, scale, kind = worst
    return [
        Finding(
            "bad initialization",
            "severe" if suffers == 2 or (alone and suffers) else "warning",
            certainty(factor, 4),
            (
                f"weights have std * sqrt(fan-in) = {scale:.3g} at {path}; {kind} needs about "
                f"{REFERENCE.get(kind, (1.0, 1.6))[0]:.3g}",
                f"the scale is {factor:.3g} times too {'large' if typical > 0 else 'small'} in the "
                "typical layer",
            ),
            place=path,
            value=factor,
            threshold=limit("initial scale, alone" if alone else "initial scale"),
            alternatives=("weights that training has moved", "inputs that are not scaled"),
            remedies=("initializer", "lsuv", "normalization", "orthogonal"),
            advice=f"draw the weights with variance gain**2 / fan_in for {kind}",
        )
    ]


def disconnected(evidence: Evidence) -> list[Finding]:
    """Parameters whose gradient is cut."""
    kept = tuple(
        f"{path}.{name}" for path, _ in evidence.norms() for name in ("mean", "variance")
    )  # running statistics, which no loss trains
    cut = [p for p in evidence.probe.parameters if not p.is_connected and p.path not in kept]
    if not cut:
        return []
    names = ", ".join(p.path for p in cut[:4]) + (", ..." if len(cut) > 4 else "")
    reason = evidence.why_cut()
    return [
        Finding(
            "disconnected parameter",
            "severe" if len(cut) * 2 > len(evidence.probe.parameters) else "warning",
            0.99,
            (f"no derivative reaches {names}", *([reason] if reason else [])),
            place=cut[0].path,
            value=float(len(cut)),
            alternatives=("parameters that another loss trains", "running statistics"),
            advice="use the parameter, or remove it; pullback.why_zero names the place of the cut",
        )
    ]


RULES = (vanishing, exploding, dead, saturated, shattered, initialization, disconnected)

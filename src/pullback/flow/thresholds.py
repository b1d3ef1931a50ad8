"""Every limit that a verdict compares a measurement with, and where it comes from.

A limit without a theorem or a published value behind it says ``heuristic``.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["LIMITS", "Threshold", "limit"]

HEURISTIC = "heuristic"


@dataclass(frozen=True)
class Threshold:
    """A limit: its ``value``, what it bounds, and its ``source``."""

    name: str
    value: float
    meaning: str
    source: str

    @property
    def is_heuristic(self) -> bool:
        return self.source.startswith(HEURISTIC)


DEPTH_SCALE = (
    "a network trains to a depth of about 6 depth scales (Schoenholz et al. 2017, figures 5 and "
    "6): squared gradients within exp(+-6), norms within exp(+-3) = 20"
)

LIMITS = {
    t.name: t
    for t in (
        Threshold("vanishing", 0.05, "norm of dL/da, first layer / last", DEPTH_SCALE),
        Threshold("vanishing, severe", 2.5e-3, "norm of dL/da, first / last", DEPTH_SCALE),
        Threshold("exploding", 20.0, "norm of dL/da, first layer / last", DEPTH_SCALE),
        Threshold("exploding, severe", 400.0, "norm of dL/da, first / last", DEPTH_SCALE),
        Threshold("dead", 0.1, "share of dead units in a layer", HEURISTIC),
        Threshold("dead, severe", 0.4, "share of dead units", "heuristic (CS231n lecture notes)"),
        Threshold("saturated", 0.5, "share of saturated (unit, sample) pairs", HEURISTIC),
        Threshold("saturated, severe", 0.9, "share of saturated pairs", HEURISTIC),
        Threshold(
            "shattered",
            0.1,
            "autocorrelation at lag 5 of 256",
            "heuristic: separates the networks of Balduzzi et al. (2017), figures 1 and 2",
        ),
        Threshold("degraded", 0.4, "autocorrelation at lag 5 of 256", "heuristic, as above"),
        Threshold(
            "sharpness",
            2.0,
            "learning rate times largest Hessian eigenvalue",
            "stability of gradient descent on a quadratic (Cohen et al. 2021)",
        ),
        Threshold("update, small", 1e-5, "RMS of update / RMS of weight", "heuristic (CS231n)"),
        Threshold("update, large", 1e-1, "RMS of update / RMS of weight", "heuristic (CS231n)"),
        Threshold(
            "initial scale", 1.35, "weight scale off its reference, with symptoms", HEURISTIC
        ),
        Threshold("initial scale, alone", 6.0, "weight scale off its reference", HEURISTIC),
        Threshold("loss scale", 1e-3, "norm of dL/d output of an example at output 0", HEURISTIC),
        Threshold("input scale", 10.0, "RMS of what the first layer reads", HEURISTIC),
        Threshold("input scale, small", 0.02, "RMS of what the first layer reads", HEURISTIC),
        Threshold("input spread", 100.0, "largest / median scale of a feature", HEURISTIC),
        Threshold("target scale", 10.0, "RMS of the outputs that the targets ask for", HEURISTIC),
        Threshold("target scale, small", 0.01, "RMS of the outputs asked for", HEURISTIC),
        Threshold("unreachable", 0.1, "loss of the best outputs / of the best constant", HEURISTIC),
        Threshold("unrelated", 0.05, "p-value of a permutation test", "significance level"),
        Threshold("order", 5.0, "variance between batches / expected by chance", HEURISTIC),
        Threshold("statistics", 1.0, "distance of running from batch statistics", HEURISTIC),
        Threshold("missed decrease", 0.5, "share of the reachable decrease of the loss", HEURISTIC),
        Threshold("initial loss", 3.0, "initial loss / ln(classes)", HEURISTIC),
        Threshold("initial loss, severe", 30.0, "initial loss / ln(classes)", HEURISTIC),
        Threshold("outlier", 0.5, "share of one part in the squared gradients", HEURISTIC),
        Threshold(
            "clip", 10.0, "gradient norm / running median", "Pascanu et al. (2013), section 3.2"
        ),
        Threshold("spike", 6.0, "loss above median, in median absolute deviations", HEURISTIC),
    )
}


def limit(name: str) -> Threshold:
    """The threshold of that name."""
    return LIMITS[name]

"""Optimizers as pairs of pure functions, and gradient clipping."""

from pullback.optim.adam import AdamState, adam
from pullback.optim.base import Optimizer
from pullback.optim.clip import clip_by_global_norm, global_norm
from pullback.optim.sgd import SGDState, sgd

__all__ = [
    "AdamState",
    "Optimizer",
    "SGDState",
    "adam",
    "clip_by_global_norm",
    "global_norm",
    "sgd",
]

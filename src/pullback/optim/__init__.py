"""Optimizers as pairs of pure functions, learning rates over time, and gradient clipping."""

from pullback.optim.adafactor import AdafactorState, adafactor
from pullback.optim.adagrad import AdagradState, RMSpropState, adagrad, rmsprop
from pullback.optim.adam import AdamState, adam, adamw
from pullback.optim.base import Optimizer
from pullback.optim.clip import adaptive_clip, clip_by_global_norm, clip_by_value, global_norm
from pullback.optim.lion import LionState, lion
from pullback.optim.muon import MuonState, muon
from pullback.optim.schedules import (
    Plateau,
    cosine,
    exponential,
    one_cycle,
    step_decay,
    warm_up,
)
from pullback.optim.sgd import SGDState, sgd
from pullback.optim.wrappers import AccumulatedState, Stateful, accumulated, moved_average

__all__ = [
    "AccumulatedState",
    "AdafactorState",
    "AdagradState",
    "AdamState",
    "LionState",
    "MuonState",
    "Optimizer",
    "Plateau",
    "RMSpropState",
    "SGDState",
    "Stateful",
    "accumulated",
    "adafactor",
    "adagrad",
    "adam",
    "adamw",
    "adaptive_clip",
    "clip_by_global_norm",
    "clip_by_value",
    "cosine",
    "exponential",
    "global_norm",
    "lion",
    "moved_average",
    "muon",
    "one_cycle",
    "rmsprop",
    "sgd",
    "step_decay",
    "warm_up",
]

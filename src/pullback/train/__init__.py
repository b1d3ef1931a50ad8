"""From data to a trained network: the loop, its data, its snapshots, what it shows."""

from pullback.train.batches import Batches, batches_of
from pullback.train.reports import curves
from pullback.train.run import Result, fit

__all__ = ["Batches", "Result", "batches_of", "curves", "fit"]

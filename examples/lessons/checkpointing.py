"""Checkpointing: what is kept, dropped and computed again, as bytes over time."""

import sys

import numpy as np

import pullback as pb

rng = np.random.default_rng(0)
weights = [rng.normal(size=(64, 64)) / 8 for _ in range(16)]
x = rng.normal(size=(2000, 64))


def segment(weights, x):
    for W in weights:
        x = np.tanh(x @ W)
    return x


def plain(weights, x):
    return np.mean(segment(weights, x) ** 2)


def frugal(weights, x):
    for start in range(0, 16, 4):
        x = pb.checkpoint(segment)(weights[start : start + 4], x)
    return np.mean(x**2)


for name, loss in (("plain", plain), ("in four segments", frugal)):
    report = pb.memory(pb.grad(loss), weights, x)
    print(f"{name}: kept {report.kept_bytes / 1e6:.1f} MB, peak {report.eager.total / 1e6:.1f} MB")
report.save(sys.argv[1] if len(sys.argv) > 1 else "checkpointing.html")

"""A cliff, and what clipping does there.

A recurrent unit of 50 steps (Pascanu et al. 2013, figure 6): the gradient on the cliff is a
thousand times the typical one, and one plain step throws the parameters far away.
"""

import sys

import matplotlib.pyplot as plt
import numpy as np

import pullback as pb


def error(p):
    x = 0.5
    for _ in range(50):
        x = p[0] / (1 + np.exp(-x)) + p[1]
    return (1 / (1 + np.exp(-x)) - 0.7) ** 2


def descend(start, clip, steps=60, rate=0.1):
    track = [start]
    for _ in range(steps):
        slope = pb.grad(error)(track[-1])
        size = np.linalg.norm(slope)
        track.append(track[-1] - rate * slope * min(1, clip / size))
    return np.array(track)


start = np.array([4.9, -2.55])
tracks = {"plain": descend(start, np.inf), "clipped at 1": descend(start, 1.0)}
for name, track in tracks.items():
    print(f"{name}: longest step {np.abs(np.diff(track, axis=0)).max():.2f}")

w, b = np.meshgrid(np.linspace(3, 8, 120), np.linspace(-5, -0.5, 120))
heights = pb.vmap(error)(np.stack([w.ravel(), b.ravel()], axis=1)).reshape(w.shape)
figure, axes = plt.subplots(figsize=(7, 4.5))
axes.pcolormesh(w, b, heights, cmap="Greys", shading="auto")
for name, track in tracks.items():
    axes.plot(*track.T, ".-", label=name)
axes.set(xlabel="w", ylabel="b", xlim=(3, 8), ylim=(-5, -0.5))
axes.legend()
figure.savefig(sys.argv[1] if len(sys.argv) > 1 else "cliff.png", dpi=120)

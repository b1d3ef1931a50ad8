"""Chaos in a derivative.

The logistic map's Lyapunov exponent is the mean log of |dx'/dx| along the orbit: `vmap` of a
derivative over 1,500 parameters.
"""

import sys

import matplotlib.pyplot as plt
import numpy as np

import pullback as pb

rates = np.linspace(2.5, 4, 1500)


def step(x, r):
    return r * x * (1 - x)


slope = pb.vmap(pb.grad(step))
x, total = np.full_like(rates, 0.3), np.zeros_like(rates)
orbits = []
for i in range(500):
    if i >= 100:
        total += np.log(np.abs(slope(x, rates)) + 1e-12)
    if i >= 420:
        orbits.append(x)
    x = step(x, rates)
exponent = total / 400
print(f"at r = 4: {exponent[-1]:.3f} (log 2 = {np.log(2):.3f})")

figure, axes = plt.subplots(2, 1, figsize=(7, 5), sharex=True)
axes[0].plot(np.tile(rates, len(orbits)), np.ravel(orbits), ",k", alpha=0.3)
axes[0].set(ylabel="x")
axes[1].plot(rates, exponent, linewidth=0.7)
axes[1].axhline(0, color="gray", linewidth=0.5)
axes[1].set(xlabel="r", ylabel="Lyapunov exponent", ylim=(-2, 1))
figure.savefig(sys.argv[1] if len(sys.argv) > 1 else "logistic_map.png", dpi=120)

"""Designing a lens by following rays.

Forty rays go through a glass whose front and back are polynomials. The Jacobian of where
they land, through the refraction of every ray, shapes both surfaces.
"""

import sys

import matplotlib.pyplot as plt
import numpy as np

import pullback as pb

heights, index, focus = np.linspace(-1, 1, 40), 1.5, 6.0


def refract(angle, slope, ratio):
    normal = np.arctan(slope)
    return np.arcsin(ratio * np.sin(angle + normal)) - normal


def trace(p):
    y2 = heights**2
    front = p[0] * y2 + p[1] * y2**2
    angle = refract(np.zeros_like(heights), 2 * p[0] * heights + 4 * p[1] * heights**3, 1 / index)
    y = heights + np.tan(angle) * (0.8 - front)
    back = 0.8 + p[2] * y**2 + p[3] * y**4
    angle = refract(angle, 2 * p[2] * y + 4 * p[3] * y**3, index)
    return front, y, back, angle, y + np.tan(angle) * (focus - back)


def landing(p):  # where each ray meets the screen
    return trace(p)[-1]


start = np.array([0.05, 0.0, -0.05, 0.0])
found = pb.optimize.least_squares(landing, start)
print(f"spot, root mean square: {np.std(landing(start)):.4f} -> {np.std(landing(found.x)):.1e}")

figure, axes = plt.subplots(2, 1, figsize=(7, 4.5), sharex=True)
for p, plot in ((start, axes[0]), (found.x, axes[1])):
    front, y, back, angle, at = trace(p)
    for i in range(0, 40, 3):
        plot.plot(
            [-1, front[i], back[i], focus], [heights[i], heights[i], y[i], at[i]], "C1", lw=0.7
        )
    plot.plot(front, heights, "C0")
    plot.plot(back, y, "C0")
    plot.set(ylabel="height")
figure.savefig(sys.argv[1] if len(sys.argv) > 1 else "lens.png", dpi=120)

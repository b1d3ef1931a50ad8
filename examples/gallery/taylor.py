"""Taylor polynomials of a program.

Ten derivatives along a line in one forward pass; the polynomials hug the function until its radius
of convergence ends.
"""

import math
import sys

import matplotlib.pyplot as plt
import numpy as np

import pullback as pb


def f(x):
    y = x
    for _ in range(3):
        y = np.sin(y) + 0.5 * y / (1 + y * y)
    return y


centre, order = 0.8, 10
value, derivatives = pb.jet(f, (centre,), ((1.0, *[0.0] * (order - 1)),))
coefficients = [value] + [d / math.factorial(k) for k, d in enumerate(derivatives, 1)]
print("coefficients", np.round(coefficients[:5], 4))

t = np.linspace(-1.2, 3, 400)
figure, axes = plt.subplots(figsize=(7, 4))
axes.plot(t, f(t), "k", label="the program")
for degree in (1, 2, 4, 10):
    axes.plot(t, np.polyval(coefficients[degree::-1], t - centre), label=f"degree {degree}")
axes.plot(centre, value, "ko")
axes.set(ylim=(-0.5, 2))
axes.legend()
figure.savefig(sys.argv[1] if len(sys.argv) > 1 else "taylor.png", dpi=120)

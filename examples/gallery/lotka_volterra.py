"""Hares and lynxes: an ODE fitted to the furs of the Hudson's Bay Company.

Counts of 1900 to 1920 in thousands (Odum 1953; Carpenter 2018). Runge-Kutta steps in `scan`, least
squares in logarithms; the Jacobian goes through the integrator.
"""

import sys

import matplotlib.pyplot as plt
import numpy as np

import pullback as pb

hares = [30, 47.2, 70.2, 77.4, 36.3, 20.6, 18.1, 21.4, 22, 25.4, 27.1]
hares += [40.3, 57, 76.6, 52.3, 19.5, 11.2, 7.6, 14.6, 16.2, 24.7]
lynxes = [4, 6.1, 9.8, 35.2, 59.4, 41.7, 19, 13, 8.3, 9.1, 7.4]
lynxes += [8, 12.3, 19.5, 45.7, 51.1, 29.7, 15.8, 9.7, 10.1, 8.6]
data = np.stack([hares, lynxes], axis=1)
step, per_year = 0.05, 20


def rate(u, k):
    return np.stack([u[0] * (k[0] - k[1] * u[1]), u[1] * (k[2] * u[0] - k[3])])


def simulate(p):
    k = np.exp(p["rates"])

    def advance(u, _):
        a = rate(u, k)
        b = rate(u + step / 2 * a, k)
        c = rate(u + step / 2 * b, k)
        d = rate(u + step * c, k)
        return u + step / 6 * (a + 2 * b + 2 * c + d), u

    return pb.scan(advance, np.exp(p["start"]), np.arange(21 * per_year))[1]


def residuals(p):
    return (np.log(simulate(p)[::per_year]) - np.log(data)).ravel()


guess = {"rates": np.log([0.6, 0.03, 0.03, 0.8]), "start": np.log(data[0])}
found = pb.optimize.least_squares(residuals, guess, compile=True)
print("rates", np.exp(found.x["rates"]).round(3), f"cost {found.cost:.2f} in {found.nfev} runs")

years = 1900 + step * np.arange(21 * per_year)
figure, axes = plt.subplots(figsize=(7, 4))
for k, name in enumerate(("hares", "lynxes")):
    axes.plot(1900 + np.arange(21), data[:, k], f"C{k}o", label=name)
    axes.plot(years, simulate(found.x)[:, k], f"C{k}")
axes.set(ylabel="thousands of furs")
axes.legend()
figure.savefig(sys.argv[1] if len(sys.argv) > 1 else "lotka_volterra.png", dpi=120)

"""Cost of value and gradient over the value alone, for 1 to 100,000 parameters.

One dense layer with a mean square loss: ``mean((tanh(x W) - y)^2)``, whose batch shrinks as the
matrix grows so that the number of activations stays the same. Reverse mode: flat (Baur & Strassen
1983). Forward differences need n + 1 evaluations; they are measured while that takes less than a
second and marked ``~`` where they are n + 1 times the measured value.
"""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np

import pullback as pb
from benchmarks.command_line import from_command_line
from benchmarks.timing import interleaved, show

N_ACTIVATIONS = 200_000
LONGEST_DIFFERENCES_S = 1.0
LIMIT = 4.0


def loss(w: Any, x: Any, y: Any) -> Any:
    return np.mean((np.tanh(x @ w) - y) ** 2)


def differences(w: Any, x: Any, y: Any, step: float = 1e-7) -> Any:
    """The gradient by one-sided differences."""
    start, gradient = loss(w, x, y), np.empty_like(w)
    for i in np.ndindex(w.shape):
        kept = w[i]
        w[i] = kept + step
        gradient[i] = (loss(w, x, y) - start) / step
        w[i] = kept
    return gradient


def measure(n_side: int, rounds: int) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    batch = N_ACTIVATIONS // n_side
    w = rng.normal(size=(n_side, n_side)) / n_side**0.5
    x, y = rng.normal(size=(batch, n_side)), rng.normal(size=(batch, n_side))
    gradient = pb.value_and_grad(loss)
    times = interleaved(
        {"value": lambda: loss(w, x, y), "gradient": lambda: gradient(w, x, y)}, rounds
    )
    n = w.size
    result = {"n": n, **times, "ratio": times["gradient"] / times["value"], "measured": False}
    result["differences"] = (n + 1) * times["value"]
    if result["differences"] < LONGEST_DIFFERENCES_S:
        start = time.perf_counter()
        differences(w, x, y)
        result |= {"differences": time.perf_counter() - start, "measured": True}
    return result


def main(quick: bool = False) -> list[dict[str, Any]]:
    results = [measure(n_side, 3 if quick else 15) for n_side in (1, 3, 10, 32, 100, 316)]
    print(f"OPENBLAS_NUM_THREADS={os.environ.get('OPENBLAS_NUM_THREADS', 'default')}")
    show(
        ["parameters", "value ms", "value and gradient ms", "ratio", "differences ms", "ratio"],
        [
            [
                f"{r['n']:,}",
                f"{1e3 * r['value']:.2f}",
                f"{1e3 * r['gradient']:.2f}",
                f"{r['ratio']:.2f}",
                f"{'' if r['measured'] else '~'}{1e3 * r['differences']:,.0f}",
                f"{'' if r['measured'] else '~'}{r['differences'] / r['value']:,.0f}",
            ]
            for r in results
        ],
    )
    worst = max(r["ratio"] for r in results)
    print(f"largest ratio of value and gradient to value: {worst:.2f} (goal: at most {LIMIT:g})")
    return results


if __name__ == "__main__":
    from_command_line(main, __doc__)

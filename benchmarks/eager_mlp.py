"""Eager loss and gradient of a small network against a backward pass written by hand.

Layers 10-32-32-1 with tanh, batch 32, float64, mean square loss; HIPS autograd beside it. At this
size a step is all overhead: the point is what tracing costs, not what BLAS does.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from typing import Any

import autograd
import autograd.numpy as anp
import numpy as np

import pullback as pb
from benchmarks.command_line import from_command_line
from benchmarks.timing import interleaved, show

WIDTHS = (10, 32, 32, 1)
BATCH = 32
LIMIT_BY_HAND = 3.0
LEAST_OVER_AUTOGRAD = 3.0


def loss_with(numpy: Any) -> Any:
    def loss(params: Any, x: Any, y: Any) -> Any:
        for w, b in params[:-1]:
            x = numpy.tanh(x @ w + b)
        w, b = params[-1]
        return numpy.mean((x @ w + b - y) ** 2)

    return loss


def by_hand(params: Any, x: Any, y: Any) -> Any:
    """Value and gradient as one would write them without a library."""
    (w1, b1), (w2, b2), (w3, b3) = params
    a1 = np.tanh(x @ w1 + b1)
    a2 = np.tanh(a1 @ w2 + b2)
    error = a2 @ w3 + b3 - y
    delta3 = error * (2 / error.size)
    delta2 = (delta3 @ w3.T) * (1 - a2 * a2)
    delta1 = (delta2 @ w2.T) * (1 - a1 * a1)
    return np.mean(error**2), [
        (x.T @ delta1, delta1.sum(axis=0)),
        (a1.T @ delta2, delta2.sum(axis=0)),
        (a2.T @ delta3, delta3.sum(axis=0)),
    ]


def problem() -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(0)
    params = [
        (rng.normal(size=(n, m)) / n**0.5, rng.normal(size=m))
        for n, m in itertools.pairwise(WIDTHS)
    ]
    return params, rng.normal(size=(BATCH, WIDTHS[0])), rng.normal(size=(BATCH, WIDTHS[-1]))


def main(quick: bool = False) -> dict[str, Any]:
    args = problem()
    functions = {
        "by hand": by_hand,
        "pullback": pb.value_and_grad(loss_with(np)),
        "autograd": autograd.value_and_grad(loss_with(anp)),
    }
    answers = [pb.tree.leaves(function(*args)) for function in functions.values()]
    for answer in answers[1:]:
        for got, want in zip(answer, answers[0], strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-14)
    calls = {name: lambda f=f: f(*args) for name, f in functions.items()}
    times = interleaved(calls, 5 if quick else 60, repeats=5 if quick else 50)
    threads = os.environ.get("OPENBLAS_NUM_THREADS", "default")
    base = times["by hand"]
    show(
        [f"BLAS threads: {threads}", "us", "over by hand"],
        [[name, f"{1e6 * t:.0f}", f"{t / base:.2f}"] for name, t in times.items()],
    )
    over, faster = times["pullback"] / base, times["autograd"] / times["pullback"]
    print(
        f"over by hand: {over:.2f} (goal: at most {LIMIT_BY_HAND:g}); "
        f"faster than autograd: {faster:.2f} times (goal: at least {LEAST_OVER_AUTOGRAD:g})"
    )
    return {**times, "over": over, "faster": faster}


if __name__ == "__main__":
    from_command_line(main, __doc__)
    if "OPENBLAS_NUM_THREADS" not in os.environ:  # BLAS reads it once, when it is loaded
        print(flush=True)
        alone = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "benchmarks.eager_mlp", *sys.argv[1:]]
        subprocess.run(command, env=alone, check=True)

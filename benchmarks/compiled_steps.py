"""Whole compiled steps against JAX jit (if it is installed), HIPS autograd and eager Pullback.

Forward pass, backward pass and Adam; gradients or Hessian-vector products where the name says so.
The state of one step is the input of the next, and the batch alternates between two.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from typing import Any

# OpenBLAS's threads spin for 30 ms after a product, on processors that the next candidate needs:
# here for 2^18 cycles, about 0.1 ms. It is read when NumPy is imported.
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "18")

import numpy as np

import pullback as pb
from benchmarks.steps import Step, candidates
from benchmarks.timing import show
from benchmarks.workloads import all_workloads

SLOW = 20  # times slower than the fastest: such a candidate is timed once


def measure(steps: dict[str, Step], seconds: float) -> dict[str, list[float]]:
    """First call, and the median of the others, interleaved, in seconds."""
    first: dict[str, float] = {}
    answers = {}
    for name, step in steps.items():
        start = time.perf_counter()
        answers[name] = step()
        first[name] = time.perf_counter() - start
    agree(answers)
    times: dict[str, list[float]] = {name: [seconds_of(step)] for name, step in steps.items()}
    fastest = min(ts[0] for ts in times.values())
    steps = {name: step for name, step in steps.items() if times[name][0] <= SLOW * fastest}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times["compiled"]) < 6:
        for name, step in steps.items():
            repeats = max(1, int(2e-3 / max(times[name][-1], 1e-6)))
            times[name].append(seconds_of(step, repeats))
    return {name: [first[name], statistics.median(ts[1:] or ts)] for name, ts in times.items()}


def seconds_of(step: Step, repeats: int = 1) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        step()
    return (time.perf_counter() - start) / repeats


def agree(answers: dict[str, Any]) -> None:
    leaves = {name: [np.asarray(a) for a in pb.tree.leaves(x)] for name, x in answers.items()}
    for name, got in leaves.items():
        for a, b in zip(got, leaves["compiled"], strict=True):
            scale = max(float(np.max(np.abs(b))), 1e-6)
            if not np.max(np.abs(a - b)) <= 1e-3 * scale:
                raise AssertionError(f"{name} and compiled disagree")


def main(quick: bool = False, only: str = "") -> list[dict[str, Any]]:
    rows, results = [], []
    for work in all_workloads():
        if only not in work.name:
            continue
        times = measure(candidates(work), 0.2 if quick else 4.0)
        ours = times["compiled"][1]
        peers = {name: t[1] for name, t in times.items() if name in ("JAX jit", "autograd")}
        best = min(peers, key=lambda name: peers[name])
        ratio = peers[best] / ours
        rows.append(
            [work.name, f"{1e6 * ours:,.0f}"]
            + [f"{t[1] / ours:.2f}" for name, t in times.items() if name != "compiled"]
            + [f"{t[0]:.2f}" for name, t in times.items() if name in ("compiled", "JAX jit")]
            + [f"{ratio:.2f}", f"{work.goal:g}"]
        )
        print(f"{work.name}: {1e6 * ours:,.0f} us", flush=True)
        results.append({"name": work.name, "ratio": ratio, **times})
    others = [f"{name} / ours" for name in times if name != "compiled"]
    first = [f"{name} first s" for name in times if name in ("compiled", "JAX jit")]
    show(["step", "us", *others, *first, "best peer / ours", "goal"], rows)
    return results


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few repetitions")
    parser.add_argument("--only", default="", help="workloads whose name has this in it")
    asked = parser.parse_args()
    main(asked.quick, asked.only)

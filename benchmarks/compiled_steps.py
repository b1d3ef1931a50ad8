"""Whole compiled steps against JAX jit, PyTorch (if installed), HIPS autograd and eager Pullback.

Forward pass, backward pass and Adam; gradients or Hessian-vector products where the name says so.
The state of one step is the input of the next, and the batch alternates between two.
"""

from __future__ import annotations

import os
import statistics
import time
from typing import Any

# OpenBLAS's threads spin for 30 ms after a product, on processors that the next candidate needs:
# here for 2^18 cycles, about 0.1 ms. It is read when NumPy is imported.
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "18")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # PyTorch's threads do not spin

import numpy as np

import pullback as pb
from benchmarks.command_line import from_command_line
from benchmarks.limits import least_seconds, measured, needs
from benchmarks.memory import METERS, peak_bytes, program_of
from benchmarks.steps import Step, candidates
from benchmarks.timing import show
from benchmarks.workloads import Workload, all_workloads

Table = list[list[str]]
CAPTIONS = (
    "Microseconds of our compiled step, and how many times longer the others take.",
    "Time at the machine's limit over our time, what the step needs, and seconds of a first call.",
    "Megabytes at the peak: arguments, results, and what is held in between.",
)
PEERS = ("JAX jit", "torch.compile", "torch", "autograd")
SECONDS = 4.0  # of turns
SLOW = 20  # times slower than the fastest: such a candidate is timed once


def measure(work: Workload, quick: bool = False) -> dict[str, Any]:
    """Seconds of the first call and of later ones, memory, and what no program does without."""
    steps = candidates(work)
    seconds = 0.2 if quick else SECONDS
    first: dict[str, float] = {}
    answers = {}
    for name, step in steps.items():
        start = time.perf_counter()
        answers[name] = step()
        first[name] = time.perf_counter() - start
    agree(answers)
    memory = peak_bytes(steps)
    needed = needs(program_of(steps["compiled"]).schedule.graph, work.share)
    times = {name: [warm_up(step)] for name, step in steps.items()}
    fastest = min(ts[0] for ts in times.values())
    steps = {name: step for name, step in steps.items() if times[name][0] <= SLOW * fastest}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times["compiled"]) < 6:
        for name, step in steps.items():
            repeats = max(1, int(2e-3 / max(times[name][-1], 1e-6)))
            times[name].append(seconds_of(step, repeats))
    return {
        "name": work.name,
        "goal": work.goal,
        "first": first,
        "seconds": {name: statistics.median(ts[1:] or ts) for name, ts in times.items()},
        "memory": memory,
        "needs": needed,
    }


def warm_up(step: Step, seconds: float = 0.5) -> float:
    """The fastest of the next calls: PyTorch compiles again in the second, then starts threads."""
    end = time.perf_counter() + seconds
    step()
    times = [seconds_of(step)]
    while time.perf_counter() < end:
        times.append(seconds_of(step))
    return min(times)


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


def tables(results: list[dict[str, Any]], rates: dict[str, float]) -> list[Table]:
    """Times, distances to the machine's limits, and memory, of what is installed."""
    present = {name for result in results for name in result["seconds"]}
    others = [name for name in (*PEERS, "eager") if name in present]
    jits = [name for name in ("compiled", "JAX jit", "torch.compile") if name in present]
    meters = [name for name in METERS if name in present]
    times: Table = [["step", "ours, us", *others, "goal"]]
    limits: Table = [["step", "of limit", "MFLOP", "MB", *jits]]
    memory: Table = [["step", *meters]]
    for r in results:
        seconds, needed = r["seconds"], r["needs"]
        ours = seconds["compiled"]
        ratios = [f"{seconds[name] / ours:.2f}" if name in seconds else "-" for name in others]
        times.append([r["name"], f"{1e6 * ours:,.0f}", *ratios, f"{r['goal']:g}"])
        share = least_seconds(needed, rates) / ours
        counts = [f"{n / 1e6:,.2f}" for n in (needed["flops"], needed["bytes"])]
        first = [f"{r['first'][name]:.2f}" if name in r["first"] else "-" for name in jits]
        limits.append([r["name"], f"{share:.0%}", *counts, *first])
        held = [f"{r['memory'][m] / 1e6:,.2f}" if m in r["memory"] else "-" for m in meters]
        memory.append([r["name"], *held])
    return [times, limits, memory]


def best_ratio(result: dict[str, Any]) -> tuple[float, str]:
    """How many times longer than ours the best peer takes, and its name."""
    seconds = result["seconds"]
    return min((seconds[p] / seconds["compiled"], p) for p in PEERS if p in seconds)


def main(quick: bool = False, only: str = "") -> list[dict[str, Any]]:
    results = []
    for work in all_workloads():
        if only in work.name:
            results.append(measure(work, quick))
            ratio, peer = best_ratio(results[-1])
            print(f"{work.name}: {ratio:.2f} times faster than {peer}", flush=True)
    for caption, (headings, *rows) in zip(CAPTIONS, tables(results, measured(quick)), strict=True):
        print(f"\n{caption}\n")
        show(headings, rows)
    return results


if __name__ == "__main__":
    from_command_line(main, __doc__)

"""Two versions of Pullback by turns: compiled steps, first calls, and starts with code on the disk.

Run it as ``python -m benchmarks.versions BEFORE``, where ``BEFORE`` is the folder of another
checkout. Each version runs in processes of its own; short runs of the two alternate, so that what
else the machine does meets both alike. Printed are ratios of medians, before over after: above 1,
the version of this folder is faster.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.workloads import all_workloads

HERE = Path(__file__).parent.parent
TURNS, SECONDS = 15, 0.05  # of each version for each step
STARTS = 5
SERVER = f"""
import sys, time
from benchmarks.steps import pullback_step
from benchmarks.workloads import all_workloads
step = pullback_step(all_workloads()[int(sys.argv[1])], is_compiled=True)
start = time.perf_counter(); step(); print(time.perf_counter() - start, flush=True)
for _ in sys.stdin:
    n, start = 0, time.perf_counter()
    while n < 2 or time.perf_counter() - start < {SECONDS}:
        step(); n += 1
    print((time.perf_counter() - start) / n, flush=True)
"""


class Version:
    """A process of one checkout that runs one step; ``folder`` keeps compiled code."""

    def __init__(self, checkout: Path, number: int, folder: str) -> None:
        paths = {"PYTHONPATH": f"{checkout / 'src'}:{checkout}", "PULLBACK_CACHE_DIR": folder}
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(number)],
            cwd=checkout,
            env={**os.environ, **paths},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdin
        assert self.process.stdout
        self.asks, self.answers = self.process.stdin, self.process.stdout
        self.first = float(self.answers.readline())

    def turn(self) -> float:
        """Seconds of a call."""
        self.asks.write("\n")
        self.asks.flush()
        return float(self.answers.readline())

    def stop(self) -> None:
        self.asks.close()
        self.process.wait()
        self.answers.close()


def starts(checkouts: list[Path], number: int, is_cached: bool) -> list[float]:
    """Medians of first calls in new processes, for each version, with code on the disk or not."""
    found: list[list[float]] = [[] for _ in checkouts]
    with tempfile.TemporaryDirectory() as root:
        for turn in range(STARTS + is_cached):
            for i, checkout in enumerate(checkouts):
                version = Version(checkout, number, f"{root}/{i}" if is_cached else "")
                version.stop()
                if turn or not is_cached:
                    found[i].append(version.first)
    return [statistics.median(times) for times in found]


def measure(checkouts: list[Path], number: int) -> dict[str, Any]:
    """Seconds of a step, of a first call, and of one with code on the disk: before and after."""
    versions = [Version(checkout, number, "") for checkout in checkouts]
    times = [[version.turn() for version in versions] for _ in range(TURNS)]
    for version in versions:
        version.stop()
    return {
        "step": [statistics.median(column) for column in zip(*times, strict=True)],
        "first call": starts(checkouts, number, is_cached=False),
        "cached start": starts(checkouts, number, is_cached=True),
    }


def main(before: str, *numbers: str) -> None:
    checkouts, works = [Path(before).resolve(), HERE], all_workloads()
    ratios: dict[str, list[float]] = {}
    for number in map(int, numbers or map(str, range(len(works)))):
        found = measure(checkouts, number)
        for name, (old, new) in found.items():
            ratios.setdefault(name, []).append(old / new)
        line = "  ".join(f"{name} {old / new:.3f}" for name, (old, new) in found.items())
        print(f"{works[number].name:32} {line}  {json.dumps(found)}", flush=True)
    for name, values in ratios.items():
        mean, worst = statistics.geometric_mean(values), min(values)
        print(f"{name}: geometric mean {mean:.3f}, worst {worst:.3f}")


if __name__ == "__main__":
    main(*sys.argv[1:])

"""What a first call costs in a new process whose code is on the disk, beside the step itself.

Tracing, finding the code and loading it; the import of Pullback is not part of it. What follows is
the step, and that its memory is touched for the first time, as it would be by any library: the
system clears it, which takes longer than the rest for a step of 150 MB on some machines.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

from benchmarks import steps
from benchmarks.command_line import from_command_line
from benchmarks.timing import show
from benchmarks.workloads import all_workloads
from pullback.compiler import executable

LIMIT_S = 0.05
LATER = 5  # calls after the first


def entered() -> list[float]:
    """The times at which native code is entered from now on."""
    times: list[float] = []
    attempt = executable.Executable.attempt

    def timed(*args: Any) -> Any:
        times.append(time.perf_counter())
        return attempt(*args)

    executable.Executable.attempt = timed
    return times


def calls(number: int) -> list[float]:
    """Seconds to the first entry of native code in this process, and of all calls of a step."""
    step = steps.pullback_step(all_workloads()[number], is_compiled=True)
    entries, times = entered(), []
    for _ in range(1 + LATER):
        start = time.perf_counter()
        step()
        times.append((start, time.perf_counter()))
    return [entries[0] - times[0][0], *(stop - start for start, stop in times)]


def start(number: int, folder: str) -> tuple[float, float, float]:
    """Seconds in a new process until native code runs; of a call without the step; and with it."""
    call = f"json.dumps(cached_start.calls({number}))"
    code = f"import json; from benchmarks import cached_start; print({call})"
    environment = {**os.environ, "PULLBACK_CACHE_DIR": folder}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    command = [sys.executable, "-c", code]
    child = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    entry, first, *later = json.loads(child.stdout)
    return entry, first - min(later), first


def main(quick: bool = False, only: str = "") -> dict[str, Any]:
    found, rows = {}, []
    for number, workload in enumerate(all_workloads()):
        if only not in workload.name:
            continue
        with tempfile.TemporaryDirectory() as folder:
            cold, *_ = start(number, folder)
            warm = [start(number, folder) for _ in range(2 if quick else 7)]
        own, beside, whole = (statistics.median(times) for times in zip(*warm, strict=True))
        found[workload.name] = {"cold": cold, "cached": own}
        rows.append([workload.name, *(f"{1e3 * t:.0f}" for t in (cold, own, beside, whole))])
    header = ["ms until native code runs", "compiled", "cached", "first call - step", "first call"]
    show(header, rows)
    print(f"goal of a cached start: at most {1e3 * LIMIT_S:.0f} ms")
    return found


if __name__ == "__main__":
    from_command_line(main, __doc__)

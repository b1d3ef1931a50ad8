"""What the thread pool costs and gives: fork-join of an empty job, and a job of 64 x 20 us."""

from __future__ import annotations

import ctypes
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from benchmarks.command_line import from_command_line
from benchmarks.timing import interleaved, show
from pullback.compiler import executable
from pullback.compiler.llvm import assembler

CHUNKS, CHUNK_S = 64, 20e-6
REPEATS = 1000
CODE = """
define void @empty(ptr %table, i64 %i) {
  ret void
}
; as many steps as the table says
define void @main(ptr %table, i64 %i) {
  %steps = load i64, ptr %table
  br label %head
head:
  %k = phi i64 [0, %0], [%next, %head]
  %x = phi i64 [%i, %0], [%mixed, %head]
  %scaled = mul i64 %x, 6364136223846793005
  %mixed = add i64 %scaled, 1442695040888963407
  %next = add i64 %k, 1
  %go = icmp slt i64 %next, %steps
  br i1 %go, label %head, label %end
end:
  %after = add i64 %i, 1
  %place = getelementptr i64, ptr %table, i64 %after
  store i64 %mixed, ptr %place
  ret void
}
define void @repeat(ptr %pool, ptr %run, ptr %chunk, ptr %table, i64 %n, i64 %count) {
  br label %head
head:
  %k = phi i64 [0, %0], [%next, %head]
  call void %run(ptr %pool, ptr %chunk, ptr %table, i64 %n, ptr null)
  %next = add i64 %k, 1
  %go = icmp slt i64 %next, %count
  br i1 %go, label %head, label %end
end:
  ret void
}
"""
REPEAT = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 4, *[ctypes.c_int64] * 2)
HOG = "print(flush=True)\nwhile True: pass"


@lru_cache(maxsize=1)
def linked() -> Any:
    """The benchmark's own code, which lives as long as what was loaded."""
    return executable.load(assembler.compiled(CODE))


def job(threads: int, chunk: str, n: int, steps: int = 1, count: int = 1) -> Callable[[], Any]:
    """A call that runs a job ``count`` times."""
    pool, address_of = executable.pool(threads), linked().address
    repeat = REPEAT(address_of("repeat"))
    table = np.full(n + 1, steps)

    def call() -> None:
        repeat(pool.address, pool.run_address, address_of(chunk), table.ctypes.data, n, count)

    return call


def after_idle(call: Callable[[], Any], rounds: int) -> float:
    """Seconds of a call after a millisecond of sleep."""
    times = []
    for _ in range(rounds):
        time.sleep(1e-3)
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def idle_load(seconds: float) -> float:
    """The part of a processor that the threads of the pool use while nothing is to do."""
    start, used = time.perf_counter(), time.process_time()
    time.sleep(seconds)
    return (time.process_time() - used) / (time.perf_counter() - start)


def steps_of_a_chunk() -> int:
    """How many steps take ``CHUNK_S``."""
    steps = 10_000
    call = job(1, "main", 100, steps)
    seconds = interleaved({"chunks": call}, 10, summary=min)["chunks"] / 100
    return round(steps * CHUNK_S / seconds)


def main(quick: bool = False, hogged: bool = False) -> dict[str, float]:
    threads = os.cpu_count() or 1
    rounds = 20 if quick else 300
    steps = steps_of_a_chunk()
    names = {1: "the caller alone", threads: f"{threads} threads"}
    rows, times = [], {}
    hog = subprocess.Popen([sys.executable, "-c", HOG], stdout=subprocess.PIPE) if hogged else None
    try:
        if hog is not None and hog.stdout is not None:
            hog.stdout.readline()
        for chunk, n, count in (("empty", threads, REPEATS), ("main", CHUNKS, 1)):
            what = f"{n} empty chunks" if chunk == "empty" else f"{CHUNKS} chunks of 20 us"
            calls = {name: job(k, chunk, n, steps, count) for k, name in names.items()}
            direct = interleaved(calls, rounds)
            for k, name in names.items():
                idle = after_idle(job(k, chunk, n, steps), rounds)
                times[f"{what}, {name}"] = direct[name] / count
                rows.append([what, name, f"{1e6 * direct[name] / count:.2f}", f"{1e6 * idle:.1f}"])
    finally:
        if hog is not None:
            hog.kill()
            hog.wait()
    show(["job", "run by", "us back to back", "us after 1 ms idle"], rows)
    print(f"idle threads use {idle_load(0.1 if quick else 2):.3%} of a processor")
    return times


if __name__ == "__main__":
    from_command_line(main, __doc__)

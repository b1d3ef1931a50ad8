"""What the machine can do at most: multiplications and additions, and bytes moved, per second.

The first is measured with as many chains of fused multiply-adds as hide their latency, in native
code; the second with NumPy's addition of arrays that no cache holds. Both on all processors.
"""

from __future__ import annotations

import ctypes
import os
import statistics
import threading
import time
from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
import numpy as np

from pullback.compile import engine

CHAINS = 12  # 4 or 5 cycles of latency, two units
LANES = {np.dtype(np.float32): 8, np.dtype(np.float64): 4}
STEPS = 2_000_000
NUMBERS = 16_000_000  # of each array: 128 MB
RUNS = 9


def fused(dtype: np.dtype[Any]) -> str:
    """LLVM text of ``float f(n)``: ``n`` steps of ``CHAINS`` vectors."""
    real, lanes = {4: "float", 8: "double"}[dtype.itemsize], LANES[dtype]
    vector, add = f"<{lanes} x {real}>", f"@llvm.fma.v{lanes}f{8 * dtype.itemsize}"

    def lines(form: str) -> str:
        return "\n".join(form.replace("$", str(k)) for k in range(CHAINS))

    phis = lines(f"%a$ = phi {vector} [ zeroinitializer, %entry ], [ %b$, %loop ]")
    steps = lines(f"%b$ = call {vector} {add}({vector} %x, {vector} %x, {vector} %a$)")
    sums = "%s0 = fadd <> zeroinitializer, %b0\n" + "\n".join(
        f"%s{k} = fadd <> %s{k - 1}, %b{k}" for k in range(1, CHAINS)
    )
    sums = sums.replace("<>", vector)
    return f"""
    declare {vector} {add}({vector}, {vector}, {vector})
    define {real} @main(i64 %n, {real} %one) {{
    entry:
      %v = insertelement {vector} undef, {real} %one, i32 0
      %x = shufflevector {vector} %v, {vector} undef, <{lanes} x i32> zeroinitializer
      br label %loop
    loop:
      %i = phi i64 [ 0, %entry ], [ %j, %loop ]
      {phis}
      {steps}
      %j = add i64 %i, 1
      %more = icmp slt i64 %j, %n
      br i1 %more, label %loop, label %done
    done:
      {sums}
      %r = extractelement {vector} %s{CHAINS - 1}, i32 0
      ret {real} %r
    }}"""


def together(work: Callable[[int], Any]) -> float:
    """Median seconds in which every processor does ``work(number)`` once."""
    n = len(os.sched_getaffinity(0))
    times = []
    for _ in range(RUNS):
        threads = [threading.Thread(target=work, args=(k,)) for k in range(1, n)]
        start = time.perf_counter()
        for thread in threads:
            thread.start()
        work(0)
        for thread in threads:
            thread.join()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def operations_per_second(dtype: np.dtype[Any]) -> float:
    """Multiplications and additions of this precision, on all processors."""
    kept, address = engine.link(engine.compiled(fused(dtype)))
    real = np.ctypeslib.as_ctypes_type(dtype)
    run = ctypes.CFUNCTYPE(real, ctypes.c_int64, real)(address)
    seconds = together(lambda _: run(STEPS, 1.0))
    assert kept is not None
    return 2 * CHAINS * LANES[dtype] * STEPS * len(os.sched_getaffinity(0)) / seconds


def bytes_per_second() -> float:
    """Bytes that are read or written, on all processors."""
    n = len(os.sched_getaffinity(0))
    parts = [np.ones((3, NUMBERS // n)) for _ in range(n)]
    seconds = together(lambda k: np.add(parts[k][0], parts[k][1], out=parts[k][2]))
    return sum(part.nbytes for part in parts) / seconds


def main(quick: bool = False) -> dict[str, float]:
    found = {str(dtype): operations_per_second(dtype) for dtype in LANES}
    print(f"processor: {llvm.get_host_cpu_name()}, {len(os.sched_getaffinity(0))} of them")
    for name, rate in found.items():
        print(f"{name}: {rate / 1e9:.0f} billion operations a second")
    rate = bytes_per_second()
    print(f"memory: {rate / 1e9:.1f} GB a second")
    return {**found, "bytes": rate}


if __name__ == "__main__":
    main()

"""What the machine could do at best: fused multiply-adds and bytes from memory a second.

The limit of a step is the time of its operations at that peak, or of reading its inputs and writing
its outputs once at that bandwidth, whichever is longer.
"""

from __future__ import annotations

import ctypes
import os
import time
from typing import Any

import numpy as np

from benchmarks.command_line import from_command_line
from benchmarks.timing import show
from pullback.analysis.cost import cost
from pullback.compiler import executable
from pullback.compiler.llvm import assembler
from pullback.core.graph import Graph

CHAINS = 12  # independent sums of one vector each: two units, four cycles each, 16 registers
ROUNDS = 1 << 18  # about a millisecond: short enough to fall between other programs' turns
STREAM_BYTES = 256 << 20  # many times the caches
RUN = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 3, ctypes.c_int64, ctypes.c_void_p)


def multiply_adds(dtype: np.dtype[Any], lanes: int) -> str:
    """LLVM text: each chunk makes ``ROUNDS`` multiply-adds in each of its chains."""
    scalar = {4: "float", 8: "double"}[dtype.itemsize]
    vector = f"<{lanes} x {scalar}>"
    fma = f"@llvm.fma.v{lanes}f{8 * dtype.itemsize}"
    sums = [f"%s{k} = phi {vector} [%start, %0], [%n{k}, %head]" for k in range(CHAINS)]
    steps = [
        f"%n{k} = call {vector} {fma}({vector} %s{k}, {vector} %factor, {vector} %factor)"
        for k in range(CHAINS)
    ]
    totals = [
        f"%t{k} = fadd {vector} %{f't{k - 1}' if k > 1 else 'n0'}, %n{k}" for k in range(1, CHAINS)
    ]
    lines = "\n  ".join
    return f"""
declare {vector} {fma}({vector}, {vector}, {vector})
define void @main(ptr %table, i64 %i) {{
  %start = load {vector}, ptr %table, align 4
  %after = getelementptr {vector}, ptr %table, i64 1
  %factor = load {vector}, ptr %after, align 4
  br label %head
head:
  %k = phi i64 [0, %0], [%next, %head]
  {lines(sums)}
  {lines(steps)}
  %next = add i64 %k, 1
  %go = icmp slt i64 %next, {ROUNDS}
  br i1 %go, label %head, label %end
end:
  {lines(totals)}
  %row = add i64 %i, 2
  %place = getelementptr {vector}, ptr %table, i64 %row
  store {vector} %t{CHAINS - 1}, ptr %place, align 4
  ret void
}}
"""


def stream(n: int, *, writes: bool) -> str:
    """LLVM text: each chunk sums its ``n`` numbers, or writes them half as large elsewhere."""
    work = """%to = getelementptr float, ptr %target, i64 %at
  %half = fmul float %x, 0.5
  store float %half, ptr %to"""
    sums = "%s = phi float [0.0, %0], [%t, %head]"
    return f"""
define void @main(ptr %table, i64 %i) {{
  %source = load ptr, ptr %table
  %second = getelementptr ptr, ptr %table, i64 1
  %target = load ptr, ptr %second
  %first = mul i64 %i, {n}
  br label %head
head:
  %k = phi i64 [0, %0], [%next, %head]
  {"" if writes else sums}
  %at = add i64 %first, %k
  %from = getelementptr float, ptr %source, i64 %at
  %x = load float, ptr %from
  {work if writes else "%t = fadd fast float %s, %x"}
  %next = add i64 %k, 1
  %go = icmp slt i64 %next, {n}
  br i1 %go, label %head, label %end
end:
  {"" if writes else "%place = getelementptr float, ptr %target, i64 %i"}
  {"" if writes else "store float %t, ptr %place"}
  ret void
}}
"""


def best_seconds(text: str, table: Any, n_chunks: int, rounds: int) -> float:
    """The fastest of some runs of ``main`` of LLVM text by all processors."""
    pool = executable.pool(n_chunks)
    code = executable.load(assembler.compiled(text))
    run = RUN(pool.run_address)
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        run(pool.address, code.address("main"), table.ctypes.data, n_chunks, None)
        times.append(time.perf_counter() - start)
    return min(times)


def peak_flops(dtype: str, rounds: int) -> float:
    """Operations a second of multiply-adds that wait for nothing; each is two operations."""
    n = os.cpu_count() or 1
    lanes = assembler.processor().vector_bytes // np.dtype(dtype).itemsize
    table = np.full((n + 2, lanes), 0.5, dtype)
    text = multiply_adds(np.dtype(dtype), lanes)
    return 2 * n * CHAINS * ROUNDS * lanes / best_seconds(text, table, n, rounds)


def bandwidth(rounds: int) -> float:
    """Bytes a second read from memory, or read and written: whichever is more."""
    n = os.cpu_count() or 1
    source, target = np.ones(STREAM_BYTES // 4, np.float32), np.zeros(STREAM_BYTES // 4, np.float32)
    table = np.array([source.ctypes.data, target.ctypes.data])
    rates = []
    for writes in (False, True):
        seconds = best_seconds(stream(source.size // n, writes=writes), table, n, rounds)
        rates.append((1 + writes) * STREAM_BYTES / seconds)
    return max(rates)


def needs(graph: Graph, share: float = 1) -> dict[str, Any]:
    """What a step cannot do without: its operations and their dtype, and its arrays' bytes.

    It needs a ``share`` of the operations in its program.
    """
    types = (*graph.input_types, *graph.output_types)
    widest = max((t.dtype for t in types if t.dtype.kind == "f"), key=lambda d: d.itemsize)
    flops, n_bytes = share * cost(graph.equations).flops, sum(t.nbytes for t in types)
    return {"flops": flops, "dtype": widest.name, "bytes": n_bytes}


def least_seconds(needed: dict[str, Any], rates: dict[str, float]) -> float:
    """The time below which no program comes that has its data in memory."""
    return max(needed["flops"] / rates[needed["dtype"]], needed["bytes"] / rates["memory"])


def measured(quick: bool = False) -> dict[str, float]:
    """Operations a second by dtype, and bytes of ``memory`` a second."""
    rates = {dtype: peak_flops(dtype, 20 if quick else 1000) for dtype in ("float32", "float64")}
    return {**rates, "memory": bandwidth(2 if quick else 100)}


def main(quick: bool = False) -> dict[str, float]:
    rates = measured(quick)
    units = {"float32": "GFLOP/s", "float64": "GFLOP/s", "memory": "GB/s"}
    rows = [[name, f"{rate / 1e9:.1f}", units[name]] for name, rate in rates.items()]
    show(["limit", "measured", "unit"], rows)
    return rates


if __name__ == "__main__":
    from_command_line(main, __doc__)

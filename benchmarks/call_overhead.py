"""What a call of a compiled function costs: ten small arrays, next to nothing to compute."""

from __future__ import annotations

from functools import reduce
from typing import Any

import numpy as np

import pullback as pb
from benchmarks.command_line import from_command_line
from benchmarks.timing import interleaved, show

LIMIT_S = 5e-6
N = 10


def main(quick: bool = False) -> dict[str, Any]:
    arrays = [np.full(4, float(k)) for k in range(N)]
    named = {f"layer{k}": a for k, a in enumerate(arrays)}
    one = pb.compile(np.sin)
    ten = pb.compile(lambda *xs: reduce(np.add, xs))
    container = pb.compile(lambda d: reduce(np.add, d.values()))
    step = pb.compile(lambda d: {name: 0.9 * a for name, a in d.items()})
    candidates = {
        "NumPy: one ufunc": lambda: np.sin(arrays[0]),
        "NumPy: nine additions": lambda: reduce(np.add, arrays),
        "compiled: one array": lambda: one(arrays[0]),
        "compiled: ten arrays": lambda: ten(*arrays),
        "compiled: a dict of ten": lambda: container(named),
        "compiled: a dict of ten to one of ten": lambda: step(named),
    }
    times = interleaved(candidates, 3 if quick else 15, 200 if quick else 5000, summary=min)
    show(["call", "us"], [[name, f"{1e6 * t:.2f}"] for name, t in times.items()])
    spent = times["compiled: ten arrays"]
    print(f"a call with ten arrays: {1e6 * spent:.1f} us (goal: at most {1e6 * LIMIT_S:.0f})")
    return times


if __name__ == "__main__":
    from_command_line(main, __doc__)

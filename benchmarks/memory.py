"""Bytes that a step takes: arguments, results, and the most that it holds in between."""

from __future__ import annotations

import json
import tempfile
import tracemalloc
from pathlib import Path
from typing import Any

import pullback as pb
from benchmarks.limits import needs
from benchmarks.steps import Step
from pullback.compiler import executable


def program_of(step: Step) -> Any:
    """The native program of a compiled Pullback step."""
    compiled: Any = step.function
    graph = compiled.prepare(tuple(step.arguments), {})[1].staged.graph
    return executable.emit_program(graph, True, ())


def planned(step: Step) -> int:
    program = program_of(step)
    return int(program.arena_bytes + needs(program.schedule.graph)["bytes"])


def analysed(step: Step) -> int:
    """What XLA reports of a jitted function."""
    function: Any = step.function
    report = function.lower(*step.arguments).compile().memory_analysis()
    sizes = (report.argument_size_in_bytes, report.output_size_in_bytes, report.temp_size_in_bytes)
    return sum(map(int, sizes))


def traced(step: Step) -> int:
    """What NumPy and Python allocate in one call, at its peak, and the arguments."""
    tracemalloc.start()
    result = step.function(*step.arguments)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    del result
    return peak + sum(a.nbytes for a in pb.tree.leaves(step.arguments))


def profiled(step: Step) -> int:
    """What PyTorch's allocator gives out in one call, at its peak, and the arguments."""
    from torch.profiler import ProfilerActivity, profile

    step.function(*step.arguments)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as run:
        result = step.function(*step.arguments)
    del result
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        run.export_chrome_trace(str(path))
        events = json.loads(path.read_text())["traceEvents"]
    changes = sorted((e for e in events if e.get("name") == "[memory]"), key=lambda e: e["ts"])
    totals = [e["args"]["Total Allocated"] for e in changes]
    peak, before = max(totals), totals[0] - changes[0]["args"]["Bytes"]
    return int(peak - before + sum(a.nbytes for a in pb.tree.leaves(step.arguments)))


METERS = {
    "compiled": planned,
    "JAX jit": analysed,
    "torch.compile": profiled,
    "torch": profiled,
    "eager": traced,
    "autograd": traced,
}


def peak_bytes(steps: dict[str, Step]) -> dict[str, int]:
    """Bytes by candidate, for those that can be asked."""
    return {name: METERS[name](step) for name, step in steps.items() if name in METERS}

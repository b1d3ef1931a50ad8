"""Measure all compiled steps and write the tables of docs/benchmarks.md and README.md.

Each step is measured in a process of its own with empty caches of compiled code. What is measured
is kept in benchmarks/figures.json after every step, so that ``--only`` renews some rows.
"""

from __future__ import annotations

import importlib.metadata
import json
import multiprocessing
import os
import platform
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import compiled_steps
from benchmarks.command_line import from_command_line
from benchmarks.compiled_steps import CAPTIONS, PEERS, best_ratio, tables
from benchmarks.limits import least_seconds, measured
from benchmarks.workloads import all_workloads

ROOT = Path(__file__).parent.parent
KEPT, PAGE, README = (
    ROOT / p for p in ("benchmarks/figures.json", "docs/benchmarks.md", "README.md")
)
PACKAGES = ("numpy", "llvmlite", "jax", "torch", "autograd")
IN_README = ("MLP 8", "transformer", "LSTM", "ResNet", "Gaussian")
PROSE = """# Benchmarks

Whole steps: forward pass, backward pass and Adam in one call, but for the Hessian-vector product
(HVP) and for the gradients of the mixture and of the heat equation. All numbers are float32, unless
the name says float64. Before anything is timed, the results of all libraries are compared.

This page, and the table of the README, are written by

```sh
python -m benchmarks.figures              # all rows; --only LSTM renews one
```

Machine: {machine}.
{versions}.

The candidates take turns; times are medians of {seconds:g} seconds of turns or more, beside what
other programs do on this machine. Threads of OpenBLAS and OpenMP wait without spinning, so that the
turn of one candidate does not disturb the next. `JAX jit` and `torch.compile` compile the same
function; `torch` is PyTorch's tape, `eager` is Pullback without `compile`. `torch.compile` unrolls
loops and takes minutes for them and for the ResNet: none there. Below 1 the other is faster.

{tables}
The limit is the longer of two times: that of the operations of the step (`MFLOP`: products and sums
as they are, elementary functions by a fixed count of 4 to 20) at {float32:.0f} (float32) or
{float64:.0f} (float64) GFLOP/s, and that of reading all inputs and writing all outputs once (`MB`)
at {memory:.1f} GB/s. The rates are measured, on all processors (`python -m benchmarks.limits`).
Arrays that stay in the caches from one step to the next may be moved faster than that. First calls
trace and compile, with empty caches of compiled code.

Memory is what the compiler reports for `compiled` (its arena) and `JAX jit` (`memory_analysis`),
for `eager` and `autograd` what NumPy and Python allocate in one call (`tracemalloc`), for PyTorch
what its profiler sees its allocator give out. Results are new arrays everywhere.

Other measurements: `./scripts/bench` with the names `eager_mlp` (small networks without compiling),
`gradient_cost` (value and gradient over the value), `products` (generated ones beside BLAS),
`call_overhead`, `import_time` and `pool`.
"""


def machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next(line.split(": ")[1] for line in lines if line.startswith("model name"))
    level = max(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"))
    cache = (level / "size").read_text().strip()
    return f"{model}, {os.cpu_count()} processors, {cache} of cache shared, {platform.system()}"


def versions() -> str:
    found = [f"Python {platform.python_version()}"]
    for name in PACKAGES:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return ", ".join(found)


def measure(index: int, quick: bool) -> dict[str, Any]:
    """A row, measured by a fresh process."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"PULLBACK_CACHE_DIR": folder, "TORCHINDUCTOR_CACHE_DIR": folder}
        return compiled_steps.measure(all_workloads()[index], quick)


def in_markdown(table: list[list[str]]) -> str:
    headings, *rows = table
    marks = ["---", *["--:"] * (len(headings) - 1)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (headings, marks, *rows))


def page(kept: dict[str, Any]) -> str:
    rates = kept["rates"]
    parts = [
        f"{caption}\n\n{in_markdown(table)}"
        for caption, table in zip(CAPTIONS, tables(kept["rows"], rates), strict=True)
    ]
    giga = {name: rate / 1e9 for name, rate in rates.items()}
    return PROSE.format(
        **giga,
        seconds=compiled_steps.SECONDS,
        machine=kept["machine"],
        versions=kept["versions"],
        tables="\n".join(parts),
    )


def short_table(kept: dict[str, Any]) -> str:
    heads = ["step", "ours, ms", "fastest other", "times faster", "of limit"]
    table = [[*heads, "ours, MB", "least of others, MB"]]
    for row in kept["rows"]:
        if row["name"].startswith(IN_README):
            ratio, peer = best_ratio(row)
            ours = row["seconds"]["compiled"]
            share = least_seconds(row["needs"], kept["rates"]) / ours
            times = [f"{1e3 * ours:.3g}", peer, f"{ratio:.1f}", f"{share:.0%}"]
            held = row["memory"]
            least = min((held[peer] for peer in PEERS if peer in held), default=0)
            megabytes = [f"{n / 1e6:.3g}" if n else "-" for n in (held["compiled"], least)]
            table.append([row["name"], *times, *megabytes])
    return in_markdown(table)


def with_table(text: str, table: str) -> str:
    """``text`` with its table of the same first heading replaced."""
    start = text.index(table.split(" | ")[0] + " |")
    end = text.index("\n\n", start) + 1
    return text[:start] + table + text[end:]


def main(quick: bool = False, only: str = "") -> None:
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {"rows": []}
    known = kept.get("rates", {}) if kept.get("machine") == machine() else {}
    # Other programs only lower what is measured.
    rates = {key: max(rate, known.get(key, 0)) for key, rate in measured(quick).items()}
    rows = {row["name"]: row for row in kept["rows"]}
    names = [work.name for work in all_workloads()]
    context = multiprocessing.get_context("spawn")
    for index, name in enumerate(names):
        if only not in name:
            continue
        with context.Pool(1) as pool:
            rows[name] = pool.apply(measure, (index, quick))
        ordered = [rows[n] for n in names if n in rows]
        write({"machine": machine(), "versions": versions(), "rates": rates, "rows": ordered})
        ratio, peer = best_ratio(rows[name])
        print(f"{name}: {ratio:.2f} times faster than {peer}", flush=True)


def write(kept: dict[str, Any]) -> None:
    KEPT.write_text(json.dumps(kept, indent=1) + "\n")
    PAGE.write_text(page(kept))
    README.write_text(with_table(README.read_text(), short_table(kept)))


if __name__ == "__main__":
    from_command_line(main, __doc__)

"""Generated matrix products beside single-threaded OpenBLAS, both on one thread.

A call multiplies a stack of matrices, each of which NumPy gives to OpenBLAS, and enters native code
at once: what is compared is the products, not the calls, whose Python a large stack drives out of
the caches (`call_overhead`).
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys

import numpy as np

import pullback as pb
from benchmarks.command_line import from_command_line
from benchmarks.timing import interleaved, show

ALONE = {"OPENBLAS_NUM_THREADS": "1"}
NUMBERS = 1 << 18  # of the operands and results of a stack: they fit into the second cache
ROUND_FLOPS = 1e8
SQUARES = (16, 32, 48, 64, 80, 100, 128, 200, 256, 300, 512, 784, 1024)
OTHERS = (
    (33, 65, 47),
    (1, 1000, 1000),
    (4, 1000, 1000),
    (256, 256, 4),
    (128, 784, 256),
    (256, 1000, 784),
    (10, 1000, 1000),
    (1000, 10, 1000),
)
FORMS = {
    "A B": lambda a, b: a @ b,
    "A' B": lambda a, b: np.swapaxes(a, 1, 2) @ b,
    "A B'": lambda a, b: a @ np.swapaxes(b, 1, 2),
}


def speed(sizes: tuple[int, int, int], form: str, dtype: str, rounds: int) -> tuple[float, float]:
    """GFLOP/s of generated code, and how many times as fast as OpenBLAS it is."""
    (m, n, k), rng, f = sizes, np.random.default_rng(0), FORMS[form]
    count = max(1, NUMBERS // (m * k + k * n + m * n))
    of_a, of_b = (k, m) if form == "A' B" else (m, k), (n, k) if form == "A B'" else (k, n)
    a, b = (rng.normal(size=(count, *shape)).astype(dtype) for shape in (of_a, of_b))
    compiled, flops = pb.compile(f, threads=1), 2.0 * count * m * n * k
    np.testing.assert_allclose(compiled(a, b), f(a, b), rtol=1e-3, atol=1e-3)
    (signature,) = compiled.signatures.values()
    times = interleaved(
        {"native": lambda: signature.attempt((a, b)), "BLAS": lambda: f(a, b)},
        rounds,
        max(1, round(ROUND_FLOPS / flops)),
    )
    return flops / times["native"] / 1e9, times["BLAS"] / times["native"]


def main(quick: bool = False, only: str = "") -> list[float]:
    if any(os.environ.get(name) != value for name, value in ALONE.items()):
        # OpenBLAS reads the limit when NumPy is imported.
        command = [
            sys.executable,
            "-m",
            "benchmarks.products",
            *["--quick"] * quick,
            "--only",
            only,
        ]
        subprocess.run(command, check=True, env={**os.environ, **ALONE})
        return []
    cases = [((n, n, n), form) for n in SQUARES for form in FORMS]
    cases += [(sizes, "A B") for sizes in OTHERS]
    rows, ratios = [], []
    for sizes, form in cases:
        row = [" x ".join(map(str, sizes)), form]
        if only not in row[0]:
            continue
        for dtype in ("float32", "float64"):
            rate, faster = speed(sizes, form, dtype, 3 if quick else 21)
            ratios.append(faster)
            row += [f"{rate:.0f}", f"{faster:.2f}"]
        rows.append(row)
    show(["m x n x k", "", "float32 GFLOP/s", "x BLAS", "float64 GFLOP/s", "x BLAS"], rows)
    print(f"geometric mean {statistics.geometric_mean(ratios):.2f}, least {min(ratios):.2f}")
    return ratios


if __name__ == "__main__":
    from_command_line(main, __doc__)

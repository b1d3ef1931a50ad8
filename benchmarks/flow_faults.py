"""How many planted faults the doctor finds, names right, and how often it accuses the healthy.

    python -m benchmarks.flow_faults --n 400 --seed 0

Half of the problems belong to program families on which thresholds were chosen, half to others; the
figures of the second half are the honest ones. Every problem has a healthy twin.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict

import numpy as np

from benchmarks.flow_problems import FAULTS, REPORT_HALF, THRESHOLD_HALF, build, specs, twin
from pullback.flow import diagnose


def judged(problem):
    found = diagnose(problem)
    return [f.kind for f in found.findings if f.severity != "note"]


def run(families, n, seed, log=None):
    """Counts over ``n`` problems and their twins."""
    counts = defaultdict(float)
    wrong = []
    for family, faults, number in specs(families, n, seed):
        kinds = judged(build(family, faults, number))
        healthy = judged(twin(family, faults, number))
        right = {kind for fault in faults for kind in FAULTS[fault].right}
        counts["n"] += 1
        counts["found"] += bool(kinds)
        counts["first"] += bool(kinds) and kinds[0] in right
        counts["three"] += bool(right & set(kinds[:3]))
        counts["false"] += bool(healthy)
        if not kinds or kinds[0] not in right or healthy:
            wrong.append((family, faults, number, kinds[:3], healthy))
            if log:
                log(f"{family:10} {'+'.join(faults):32} {number:10} {kinds[:3]} healthy: {healthy}")
    return counts, wrong


SHARES = ("found", "first", "three", "false")


def shares(counts):
    return {name: counts[name] / counts["n"] for name in SHARES}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--n", type=int, default=400, help="problems, half of them in each half")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--half", choices=("threshold", "report", "both"), default="both")
    parser.add_argument("--verbose", action="store_true")
    parser.add_argument("--quick", action="store_true", help="two problems in each half")
    args = parser.parse_args()
    np.seterr(all="ignore")
    log = (lambda text: print("  ", text, flush=True)) if args.verbose else None
    halves = {"threshold": THRESHOLD_HALF, "report": REPORT_HALF}
    columns = ["half", "problems", "found", "right first", "among three", "false alarms", "s"]
    print("  ".join(f"{name:>12}" for name in columns))
    print("  ".join("-" * 12 for _ in columns))
    for name, families in halves.items():
        if args.half in (name, "both"):
            start = time.time()
            counts, _ = run(families, 2 if args.quick else args.n // 2, args.seed, log)
            cells = [name, f"{counts['n']:.0f}", *(f"{v:.1%}" for v in shares(counts).values())]
            print("  ".join(f"{c:>12}" for c in [*cells, f"{time.time() - start:.0f}"]), flush=True)


if __name__ == "__main__":
    main()

"""How many planted faults the doctor finds, names right, and how often it accuses the healthy.

    python -m benchmarks.flow_faults --n 400 --seed 0

Half of the problems belong to program families on which thresholds were chosen, half to others; the
figures of the second half are the honest ones. Every problem has a healthy twin.
"""

from __future__ import annotations

import argparse
import json
import sys
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


def line(name, counts):
    n = counts["n"]
    share = {k: counts[k] / n for k in ("found", "first", "three", "false")}
    return (
        f"{name}: {int(n)} problems; found {share['found']:.1%}, right first "
        f"{share['first']:.1%}, among three {share['three']:.1%}, false alarms "
        f"{share['false']:.1%}"
    ), share


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--n", type=int, default=400, help="problems, half of them in each half")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--half", choices=("threshold", "report", "both"), default="both")
    parser.add_argument("--verbose", action="store_true")
    args = parser.parse_args()
    np.seterr(all="ignore")
    log = (lambda text: print("  ", text, flush=True)) if args.verbose else None
    result = {}
    halves = {"threshold": THRESHOLD_HALF, "report": REPORT_HALF}
    for name, families in halves.items():
        if args.half in (name, "both"):
            start = time.time()
            text, share = line(name, run(families, args.n // 2, args.seed, log)[0])
            print(f"{text} ({time.time() - start:.0f} s)", flush=True)
            result[name] = share
    json.dump(result, sys.stdout)
    print()


if __name__ == "__main__":
    main()

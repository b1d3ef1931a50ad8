"""What the remedies do for planted faults: is the best one better on all seeds, and again?

    python -m benchmarks.flow_remedies --family model --seeds 10
    python -m benchmarks.flow_remedies --only "deep sigmoid" "large inputs"

Each fault is planted once and diagnosed; the remedies that the first finding names (the common ones
if it names none) are tried from ``--seeds`` seeds. Then all that is done again from as many other
seeds: *place again* is the place that the best remedy takes there, *order* the rank correlation of
all effects of both runs.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from benchmarks.flow_problems import FAMILIES, FAULTS, build
from pullback.flow import Diagnosis, Treatment, diagnose, remedies

# Faults whose cure is no change of how one trains: there is nothing that could be measured.
NO_CURE = {
    "constant labels": "labels that carry nothing",
    "shuffled labels": "labels that carry nothing",
    "unused parameter": "the loss does not suffer",
}


def effects(treatment: Treatment) -> dict[tuple[str, str], float]:
    """Logarithm of loss / control of each remedy, by title and start."""
    return {(o.remedy, o.start): float(np.log(o.ratio)) for o in treatment.outcomes}


def agreement(first: Treatment, again: Treatment) -> float:
    """Spearman's rank correlation of the effects of two treatments; NaN for fewer than three."""
    a, b = effects(first), effects(again)
    keys = [key for key in a if key in b]
    if len(keys) < 3:
        return float("nan")
    from scipy.stats import spearmanr

    return float(spearmanr([a[k] for k in keys], [b[k] for k in keys])[0])


def place(first: Treatment, again: Treatment) -> int:
    """The place from 1 that the best remedy of one treatment takes in another; 0 without a best.

    Remedies whose effect lies inside of its interval there count as equal to it.
    """
    best = first.best
    if best is None:
        return 0
    outcomes = {(o.remedy, o.start): o for o in again.outcomes}
    same = outcomes[best.remedy, best.start]
    return 1 + sum(o.ratio < same.low for o in again.outcomes)


def treated(diagnosis: Diagnosis, n_seeds: int, n_steps: int) -> tuple[Treatment, ...]:
    """The remedies from the seeds 0 to n - 1, and from the n after them."""
    names = next((f.remedies for f in diagnosis.findings), ()) or None
    return tuple(
        remedies(diagnosis.problem, names=names, seeds=seeds, n_steps=n_steps)
        for seeds in (range(n_seeds), range(n_seeds, 2 * n_seeds))
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--family", choices=FAMILIES, default="model")
    parser.add_argument("--seed", type=int, default=0, help="of the problems")
    parser.add_argument("--seeds", type=int, default=10, help="of each remedy")
    parser.add_argument("--steps", type=int, default=30, help="of each run")
    parser.add_argument("--only", nargs="*", help="names of faults")
    parser.add_argument("--quick", action="store_true", help="one fault, two seeds, five steps")
    args = parser.parse_args()
    if args.quick:
        args.only, args.seeds, args.steps = args.only or [next(iter(FAULTS))], 2, 5
    np.seterr(all="ignore")
    print(
        "| fault | finding | best remedy | loss / control (95%) | better | place again | order "
        "| s |\n|---|---|---|--:|--:|--:|--:|--:|",
        flush=True,
    )
    for name, fault in FAULTS.items():
        if (args.only and name not in args.only) or args.family not in fault.families:
            continue
        start = time.time()
        diagnosis = diagnose(build(args.family, (name,), args.seed))
        kind = diagnosis.findings[0].kind if diagnosis.findings else "none"
        first, again = treated(diagnosis, args.seeds, args.steps)
        best = first.best
        cells = [name, kind]
        if best is None:
            cells += ["none" + (f": {NO_CURE[name]}" if name in NO_CURE else ""), "", "", "", ""]
        else:
            cells += [
                best.remedy,
                f"{best.ratio:.2g} ({best.low:.2g} to {best.high:.2g})",
                f"{best.n_better}/{len(best.losses)}",
                f"{place(first, again)}",
                f"{agreement(first, again):.2f}",
            ]
        print("| " + " | ".join([*cells, f"{time.time() - start:.0f}"]) + " |", flush=True)


if __name__ == "__main__":
    main()

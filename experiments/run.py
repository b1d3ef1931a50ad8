"""Run the experiments and print their results as a Markdown table.

python -m experiments.run            # all, minutes on two cores
python -m experiments.run A5 A12     # some
python -m experiments.run --full     # the long training runs of A2 and A4 too
"""

from __future__ import annotations

import argparse
import sys
import time

from experiments import initial, trained


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", help="A1 to A12; by default all")
    parser.add_argument("--full", action="store_true")
    args = parser.parse_args()
    known = {
        "A1": initial.a1,
        "A2": lambda: trained.a2(args.full),
        "A3": initial.a3,
        "A4": lambda: trained.a4(args.full),
        "A5": initial.a5,
        "A6": initial.a6,
        "A7": initial.a7,
        "A8": initial.a8,
        "A9": initial.a9,
        "A10": initial.a10,
        "A11": trained.a11,
        "A12": trained.a12,
    }
    unknown = [name for name in args.names if name not in known]
    if unknown:
        parser.error(f"unknown experiment {unknown[0]}; there are {', '.join(known)}")
    print(
        "| id | what | expected | measured | holds | source |\n|---|---|---|---|---|---|",
        flush=True,
    )
    failed = False
    for name in args.names or known:
        start = time.time()
        for row in known[name]():
            print("| " + " | ".join(row.cells()) + " |", flush=True)
            failed |= not row.holds
        print(f"{name}: {time.time() - start:.0f} s", file=sys.stderr)
    sys.exit(failed)


if __name__ == "__main__":
    main()

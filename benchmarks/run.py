"""Run the benchmarks: ``python -m benchmarks.run [--quick] [name ...]``."""

from __future__ import annotations

import argparse
import pkgutil
import subprocess
import sys
from pathlib import Path

TOOLS = {
    "command_line",
    "figures",
    "memory",
    "run",
    "steps",
    "timing",
    "versions",
    "workloads",
    "flow_problems",
}


def benchmarks() -> list[str]:
    modules = pkgutil.iter_modules([str(Path(__file__).parent)])
    return [module.name for module in modules if module.name not in TOOLS]


def main() -> None:
    names = benchmarks()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(names)}")
    parser.add_argument("--quick", action="store_true", help="few repetitions")
    asked = parser.parse_args()
    unknown = [name for name in asked.names if name not in names]
    if unknown:
        parser.error(f"no benchmark {unknown[0]}; there are {', '.join(names)}")
    for name in asked.names or names:
        print(f"== {name}", flush=True)
        # A process each: threads, caches and imports of one must not touch the next.
        command = [sys.executable, "-m", f"benchmarks.{name}", *(["--quick"] * asked.quick)]
        subprocess.run(command, check=True)
        print(flush=True)


if __name__ == "__main__":
    main()

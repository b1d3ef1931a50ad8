"""What ``import pullback`` costs on top of ``import numpy``: the best of several processes."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from benchmarks.command_line import from_command_line
from benchmarks.timing import interleaved, show

LIMIT_S = 0.05
STATEMENTS = {
    "python": "pass",
    "numpy": "import numpy",
    "numpy and optree": "import numpy, optree",
    "pullback": "import pullback",
}


def start(statement: str) -> None:
    subprocess.run([sys.executable, "-c", statement], check=True)


def main(quick: bool = False) -> dict[str, Any]:
    candidates = {name: lambda code=code: start(code) for name, code in STATEMENTS.items()}
    times = interleaved(candidates, 3 if quick else 15, summary=min)
    extra = times["pullback"] - times["numpy"]
    show(["import", "ms"], [[name, f"{1e3 * t:.0f}"] for name, t in times.items()])
    print(f"pullback over numpy: {1e3 * extra:.0f} ms (goal: at most {1e3 * LIMIT_S:.0f})")
    return {**times, "extra": extra}


if __name__ == "__main__":
    from_command_line(main, __doc__)

"""Which of NumPy's functions work on traced arrays, read off the tables that dispatch uses.

``python -m pullback.numpy.coverage`` prints the table as Markdown.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from pullback.core.array import functions, ufuncs
from pullback.core.primitive import Primitive
from pullback.numpy import creation
from pullback.numpy.composed import COMPOSED
from pullback.numpy.order import ON_VALUES

__all__ = ["Entry", "coverage", "markdown"]

# Why a function has no traced form.
REFUSED = {
    "dates": "busday_count busday_offset datetime_as_string is_busday isnat",
    "calls a Python function per slice: use pullback.vmap": "apply_along_axis",
    "works on the bits of a number": "bitwise_count frexp nextafter packbits spacing unpackbits",
    "integers only": "gcd lcm ravel_multi_index unravel_index",
    "counts jump: the derivative is zero": "histogram histogram2d histogramdd",
    "the shape depends on values: use a mask": "intersect1d setdiff1d setxor1d trim_zeros union1d",
    "polynomials as objects: use polyval": "poly polyadd polyder polydiv polyfit polyint polymul "
    "polysub roots",
    "writes a file, or asks about memory": "save savetxt savez savez_compressed shares_memory "
    "may_share_memory",
    "use logspace": "geomspace",
    "use reshape": "ix_",
    "use isin": "in1d",
}
REASONS = {name: reason for reason, names in REFUSED.items() for name in names.split()}
MODULES = (np, np.linalg, np.fft)


@dataclass(frozen=True, slots=True)
class Entry:
    """One function of NumPy: its name, ``supported``, ``composed``, ... and a remark."""

    name: str
    status: str
    remark: str = ""


def public_functions(module: ModuleType) -> Iterator[tuple[str, Any]]:
    """The functions of a module of NumPy under the names that users write."""
    prefix = module.__name__.removeprefix("numpy").lstrip(".")
    for name in sorted(dir(module)):
        function = getattr(module, name)
        if callable(function) and not name.startswith("_") and not isinstance(function, type):
            yield f"{prefix}.{name}" if prefix else name, function


def entry(name: str, function: Any) -> Entry:
    """What becomes of one function.

    ``supported``: one primitive; ``composed``: several; ``NumPy's code``: NumPy's own Python code
    runs on traced arrays; ``values``: the answer has no derivative and needs values; ``recorded``:
    makes an array that records writes; ``refused``: raises ``UnsupportedError``; ``plain``: takes
    no traced arrays.
    """
    base = name.rpartition(".")[2]
    if base in creation.__all__ and "." not in name:
        return Entry(name, "recorded", "from pullback.numpy")
    if function in COMPOSED:
        return Entry(name, "NumPy's code")
    if function in ON_VALUES:
        return Entry(name, "values")
    traced = ufuncs.get(function) if isinstance(function, np.ufunc) else functions.get(function)
    if isinstance(traced, Primitive):
        return Entry(name, "supported", traced.doc)
    if traced is not None:
        return Entry(name, "composed")
    if isinstance(function, (np.ufunc, type(np.sum))) or base in REASONS:
        return Entry(name, "refused", REASONS.get(base, "no rule yet"))
    return Entry(name, "plain")


def coverage() -> list[Entry]:
    """One entry per public function of ``numpy``, ``numpy.linalg`` and ``numpy.fft``.

    >>> from pullback.numpy.coverage import coverage
    >>> [entry.status for entry in coverage() if entry.name in ("exp", "tensordot", "packbits")]
    ['supported', 'refused', 'composed']
    """
    return [entry(*named) for module in MODULES for named in public_functions(module)]


def markdown() -> str:
    """The table, with a count per status above it."""
    entries = [e for e in coverage() if e.status != "plain"]
    counts = Counter(e.status for e in entries)
    lines = [
        "# NumPy functions on traced arrays",
        "",
        ", ".join(f"{status}: {n}" for status, n in counts.most_common()) + ".",
        "",
        "| function | status | remark |",
        "|---|---|---|",
    ]
    rows = [
        f"| `{e.name}` | {e.status} | {e.remark.replace('|', chr(92) + '|')} |" for e in entries
    ]
    return "\n".join([*lines, *rows])


if __name__ == "__main__":
    sys.stdout.write(markdown() + "\n")

"""The rows of the coverage page: one for each function, from its judged calls.

``python -m tests.numpy.surface.table`` writes the page.
"""

from __future__ import annotations

import re
import textwrap
from collections import Counter
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
from tests.numpy.surface import arranging, computing, folding, spectra, ufuncs
from tests.numpy.surface.judge import STATES, A, Verdict, judge, keywords, used

import pullback.numpy as pnp

VERSION = ".".join(np.__version__.split(".")[:2])
PAGE = Path(__file__).parents[3] / "docs" / "coverage.md"
CALLS: dict[str, list[A]] = {
    **folding.CALLS,
    **arranging.CALLS,
    **computing.CALLS,
    **spectra.CALLS,
}
WORDS = {
    "differentiable": "differentiable",
    "zero": "zero gradient",
    "values": "values only",
    "refused": "refused",
}
# Arguments that hold no array and change no value.
SILENT = {"like", "device", "subok", "einsum_call", "args"}

# Functions that take no traced array, and what becomes of what they return.
MAKE = """
arange bartlett blackman diag_indices empty empty_like eye frombuffer fromfile fromfunction
fromiter fromregex fromstring genfromtxt hamming hanning identity indices kaiser load loadtxt
mask_indices ones tri tril_indices triu_indices zeros
""".split()  # noqa: SIM905
PLAIN = """
asmatrix base_repr binary_repr bmat broadcast_shapes busday_count busday_offset
datetime_as_string datetime_data format_float_positional format_float_scientific from_dlpack
frompyfunc get_include get_printoptions getbufsize geterr geterrcall info is_busday isdtype
isfortran isnat isscalar issubdtype iterable mintypecode nested_iters printoptions
promote_types require set_printoptions setbufsize seterr seterrcall show_config show_runtime
test typename
""".split()  # noqa: SIM905
# Questions about memory, and what waits for decompositions.
ELSEWHERE = ["may_share_memory", "polyfit", "roots", "shares_memory"]

HEADER = """# NumPy {version} on traced arrays

What becomes of the derivative of each function of NumPy and of each of its keywords. This page is
made by running them (`python -m tests.numpy.surface.table`), and the tests run them again: a row
that says more or less than what happens fails.

- **differentiable**: values are NumPy's; forward and reverse mode agree with differences, to second
  order.
- **zero gradient**: values are NumPy's; the function is made of steps: the derivative is zero.
- **values only**: the answer is integers, truth values or text, and is NumPy's.
- **refused**: raises an error that says what to write instead.

*Needs values* means that a call cannot be compiled: its shape or its answer depends on the numbers.
Other names of NumPy make plain arrays, or take none; they are NumPy's own. In `pullback.numpy` the
former make arrays that record what is written into them.

Plain arrays are made by
{make}.

None are taken by
{plain}.
"""


def functions() -> Iterator[tuple[str, Any]]:
    """Every function that has a row, under the name that users write."""
    for name in sorted(dir(np)):
        function = getattr(np, name)
        if name.startswith("_") or not callable(function) or isinstance(function, type):
            continue
        if name not in (*MAKE, *PLAIN, *ELSEWHERE):
            yield name, getattr(pnp, name)
    for name in sorted(CALLS):
        if "." in name:
            yield name, attrgetter(name)(pnp)


def calls(name: str, function: Any) -> list[tuple[str, Any, A]]:
    """What is run for a row: a label, the function or method, and the arguments."""
    if isinstance(function, np.ufunc):
        plain = [(str(call), function, call) for call in ufuncs.calls(function)]
        return plain + [(label, *call) for label, call in ufuncs.methods(function).items()]
    name = {"amax": "max", "amin": "min", "concat": "concatenate"}.get(name, name)
    return [(str(call), function, call) for call in CALLS[name]]


def judged(name: str, function: Any) -> list[tuple[str, Any, A, Verdict]]:
    """The calls of a function with their verdicts."""
    done = []
    for label, called, call in calls(name, function):
        try:
            done.append((label, called, call, judge(called, call)))
        except Exception as error:
            raise AssertionError(f"np.{name}({label}): {error}") from error
    return done


def row(name: str, function: Any) -> str:
    """Name, state, arguments by state, and refusals with what to write instead."""
    done = judged(name, function)
    state = min((v.state for *_, v in done), key=STATES.index)
    covered: dict[str, str] = {}
    for label, called, call, verdict in done:
        words = used(called, call) if called is function else [re.split(r"\(", label)[0]]
        for word in words:
            old = covered.get(word, verdict.state)
            covered[word] = min(old, verdict.state, key=STATES.index)
    names = [n for n in keywords(function) if n in covered] + sorted(
        n for n in covered if n not in keywords(function)
    )
    groups = [
        f"{WORDS[s]}: {', '.join(f'`{n}`' for n in names if covered[n] == s)}"
        for s in STATES
        if s != state and any(covered[n] == s for n in names)
    ]
    same = ", ".join(f"`{n}`" for n in names if covered[n] == state)
    remarks = [f"`{label}`: {v.remedy}" for label, _, _, v in done if v.state == "refused"]
    if any(not v.staged for *_, v in done):
        all_of_them = all(not v.staged for *_, v in done if v.state != "refused")
        remarks.append("needs values" if all_of_them else "some calls need values")
    arguments = "; ".join([same, *groups])
    cells = [f"`{name}`", WORDS[state], arguments, str(len(done)), "; ".join(remarks)]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def missing(name: str, function: Any) -> list[str]:
    """Arguments of a function that no call gives."""
    given: set[str] = set()
    for _, called, call in calls(name, function):
        given |= used(called, call)
    if isinstance(function, np.ufunc):  # few types, and axes, for few of them
        given |= {"dtype", "signature", "axes", "axis", "keepdims", "where"}
    return [n for n in keywords(function) if n not in given | SILENT]


def _listed(names: list[str]) -> str:
    return textwrap.fill(", ".join(f"`{n}`" for n in names), 120)


def page(rows: dict[str, str]) -> str:
    """The whole page, with a count above the table."""
    counts = Counter(line.split(" | ")[1] for line in rows.values())
    summary = ", ".join(f"{word} {counts[word]}" for word in WORDS.values())
    head = HEADER.format(version=VERSION, make=_listed(MAKE), plain=_listed(PLAIN))
    tried = sum(int(line.split(" | ")[3]) for line in rows.values())
    table = [
        "| function | state | arguments and methods | calls | remarks |",
        "|---|---|---|--:|---|",
    ]
    total = f"{len(rows)} functions, {tried} calls: {summary}."
    return "\n".join([head, total, "", *table, *rows.values(), ""])


def rows() -> dict[str, str]:
    """All rows; where calls are at fault, all of them are told at once."""
    found, faults = {}, []
    for name, function in functions():
        try:
            found[name] = row(name, function)
        except AssertionError as error:
            faults.append(str(error))
    if faults:
        raise AssertionError("\n".join(faults))
    return found


if __name__ == "__main__":
    PAGE.write_text(page(rows()))

"""The coverage table says what dispatch does."""

import subprocess
import sys

import numpy as np
import pytest

import pullback as pb
from pullback.errors import UnsupportedError
from pullback.numpy.coverage import REASONS, coverage, markdown

ENTRIES = {entry.name: entry for entry in coverage()}


def test_every_refusal_has_a_reason_of_its_own() -> None:
    refused = {name.rpartition(".")[2] for name, e in ENTRIES.items() if e.status == "refused"}
    assert refused <= set(REASONS)


@pytest.mark.parametrize(
    "name",
    ["packbits", "nextafter", "gcd"],
)
def test_what_is_refused_raises(name: str) -> None:
    function = getattr(np.linalg, name[7:]) if name.startswith("linalg.") else getattr(np, name)
    args = (np.sum, 0) if name == "apply_along_axis" else ()
    more = (1,) if name in ("nextafter", "gcd") else ()
    assert ENTRIES[name].status == "refused"
    with pytest.raises(UnsupportedError, match="has no traced form"):
        pb.grad(lambda x: np.sum(function(*args, x, *more)))(np.ones((3, 3)))


def test_most_of_numpy_works() -> None:
    """Functions that could get a traced array; the bound only ever rises."""
    asked = [e for e in ENTRIES.values() if e.status != "plain"]
    assert sum(e.status != "refused" for e in asked) >= 0.8 * len(asked)


def test_some_entries() -> None:
    assert ENTRIES["exp"].status == "supported"
    assert ENTRIES["exp"].remark == "y = e^x"
    assert ENTRIES["einsum"].status == "composed"
    assert ENTRIES["gradient"].status == "NumPy's code"
    assert ENTRIES["zeros"].status == "recorded"
    assert ENTRIES["nonzero"].status == "values"


def test_the_table_prints_as_markdown() -> None:
    printed = subprocess.run(
        [sys.executable, "-W", "error", "-m", "pullback.numpy.coverage"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert printed == markdown() + "\n"
    rows = [line for line in printed.splitlines() if line.startswith("| `")]
    assert all(line.replace(r"\|", "").count("|") == 4 for line in rows)
    assert "| `absolute` | supported | y = \\|x\\| |" in rows

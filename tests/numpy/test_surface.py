"""The coverage page says what happens: each row is run again, and compared both ways."""

import numpy as np
import pytest
from tests.numpy.surface.judge import A, judge
from tests.numpy.surface.table import (
    ELSEWHERE,
    MAKE,
    PAGE,
    PLAIN,
    VERSION,
    functions,
    missing,
    page,
    row,
)

from pullback.core.array import functions as traced_forms
from pullback.errors import UnsupportedError

pytestmark = pytest.mark.skipif(
    not PAGE.read_text().startswith(f"# NumPy {VERSION} "), reason="the page is of another NumPy"
)
FUNCTIONS = dict(functions())
ROWS = {
    "linalg.cond",
    "linalg.eig",
    "linalg.eigh",
    "linalg.eigvals",
    "linalg.eigvalsh",
    "linalg.lstsq",
    "linalg.matrix_rank",
    "linalg.pinv",
    "linalg.qr",
    "linalg.svd",
    "linalg.svdvals",
    "linalg.tensorinv",
    "linalg.tensorsolve",
}
ROWS = {
    line.split("`")[1]: line for line in PAGE.read_text().splitlines() if line.startswith("| `")
}
HOW = "look at the difference, then write the page: python -m tests.numpy.surface.table"


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_the_page_says_what_happens(name: str) -> None:
    assert row(name, FUNCTIONS[name]) == ROWS.get(name), HOW


def test_the_page_has_these_rows_and_no_others() -> None:
    assert list(ROWS) == list(FUNCTIONS), HOW
    assert PAGE.read_text() == page(ROWS), HOW


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_every_argument_is_tried(name: str) -> None:
    assert missing(name, FUNCTIONS[name]) == []


def test_every_function_of_numpy_is_somewhere() -> None:
    listed = {*FUNCTIONS, *MAKE, *PLAIN, *ELSEWHERE}
    public = {
        f"{module}.{name}"
        for module in ("fft", "linalg")
        for name in dir(getattr(np, module))
        if type(getattr(getattr(np, module), name)) is type(np.sum)
    }
    public |= {
        name
        for name in dir(np)
        if not name.startswith("_")
        and callable(getattr(np, name))
        and not isinstance(getattr(np, name), type)
    }
    assert public <= listed
    assert {n for n in PLAIN if getattr(np, n) in traced_forms} == set()


def test_nearly_all_functions_with_a_derivative_have_theirs() -> None:
    """At least 98 of 100; the bound only ever rises."""
    states = [line.split(" | ")[1] for line in ROWS.values()]
    derivative = sum(s in ("differentiable", "zero gradient") for s in states)
    assert derivative >= 0.98 * (derivative + states.count("refused"))


def test_a_lost_function_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise UnsupportedError("np.cumsum has no traced form", fix="use a loop")

    monkeypatch.setitem(traced_forms, np.cumsum, refuse)
    assert row("cumsum", np.cumsum) != ROWS["cumsum"]
    assert "refused" in row("cumsum", np.cumsum)


def test_a_found_function_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ROWS, "cumsum", "| `cumsum` | refused | `a` | 1 | use a loop |")
    assert row("cumsum", np.cumsum) != ROWS["cumsum"]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda a, *rest, **kw: np.add.accumulate(a) * (1 + 1e-9), "tolerance"),  # a wrong value
        (lambda a, *rest, **kw: np.zeros(3), "shape|tolerance|differ"),  # a cut gradient
    ],
)
def test_a_wrong_function_is_a_fault(
    monkeypatch: pytest.MonkeyPatch, wrong: object, words: str
) -> None:
    monkeypatch.setitem(traced_forms, np.cumsum, wrong)
    with pytest.raises(AssertionError, match=words):
        judge(np.cumsum, A(np.array([0.5, 1.5, 2.5])))

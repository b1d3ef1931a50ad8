"""The exceptions: builtin parents and text. The pages in docs/errors raise each of them."""

import builtins
import re

import pytest

from pullback import errors

CLASSES = [getattr(errors, name) for name in errors.__all__]


def test_text_reads_headline_place_details_remedy() -> None:
    error = errors.ShapeError(
        "matmul: inner sizes differ, 10 and 5",
        where="model.py:42 in forward: h = x @ W",
        details=["x: float64[32,10]", "W: float64[5,16]"],
        fix="give W 10 rows",
    )
    assert str(error) == (
        "matmul: inner sizes differ, 10 and 5\n"
        "  model.py:42 in forward: h = x @ W\n"
        "  x: float64[32,10]\n"
        "  W: float64[5,16]\n"
        "  Fix: give W 10 rows"
    )


def test_parts_that_are_unknown_leave_no_trace() -> None:
    assert str(errors.ArgumentError("no such axis")) == "no such axis"


def test_parts_can_be_read_by_programs() -> None:
    error = errors.DataError("empty cell", where="a.csv:3", details=["column: age"], fix="fill it")
    assert (error.headline, error.where, error.details, error.fix) == (
        "empty cell",
        "a.csv:3",
        ("column: age",),
        "fill it",
    )


@pytest.mark.parametrize("cls", CLASSES, ids=lambda c: c.__name__)
def test_drawn_builtin_is_the_real_one(cls: type[Exception]) -> None:
    if cls is errors.PullbackError:
        return
    drawn = re.search(rf"── {cls.__name__} \((\w+)\)", errors.__doc__ or "")
    assert drawn, "missing in the tree of the module docstring"
    assert issubclass(cls, getattr(builtins, drawn[1]))
    assert issubclass(cls, errors.PullbackError)

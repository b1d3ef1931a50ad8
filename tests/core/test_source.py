"""Source lines: the user's, not the library's."""

import sys
import types

import numpy as np

from pullback.core.source import here


def user_function() -> object:
    return here()  # this very line


def test_here_is_the_callers_line() -> None:
    source = user_function()
    assert (
        str(source)
        == f"test_source.py:{source.line} in user_function: return here()  # this very line"
    )
    assert source.short == f"test_source.py:{source.line}"
    assert source.file == __file__


def test_callers_that_are_known_to_be_inside_are_not_looked_at() -> None:
    def inner() -> object:
        return here(2)

    def outer() -> object:
        return inner()

    source = outer()
    assert source.code is test_callers_that_are_known_to_be_inside_are_not_looked_at.__code__


def test_numpy_frames_are_skipped() -> None:
    found = []

    def callback(row: object) -> float:
        found.append(here())
        return 0.0

    np.apply_along_axis(callback, 0, np.ones((1, 1)))
    assert {source.code.co_name for source in found} == {"callback"}


def test_code_without_a_file_has_a_line_but_no_text() -> None:
    names = {"here": here}
    exec(compile("def f():\n    return here()", "<typed>", "exec"), names)
    source = names["f"]()  # type: ignore[operator]
    assert str(source) == "<typed>:2 in f"


def test_a_line_of_a_notebook_goes_by_its_cell(monkeypatch):
    """IPython keeps the number of the cell under the name that it compiled it with."""
    text = "from pullback.core.source import here\ndef f():\n    return here()\nfound = f()\n"
    names = {}
    exec(compile(text, "/tmp/ipykernel_1/123.py", "exec"), names)
    assert names["found"].short == "123.py:3"
    compiler = types.SimpleNamespace(_filename_map={"/tmp/ipykernel_1/123.py": 7})
    shell = types.SimpleNamespace(compile=compiler)
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))
    assert names["found"].short == "cell 7, line 3"

"""FILE.py:FUNCTION."""

import pytest

from pullback.cli.target import find
from pullback.errors import ArgumentError


def test_finds_a_function_with_its_module_and_file(tmp_path):
    file = tmp_path / "model_to_find.py"
    file.write_text("def f():\n    return 7\n")
    function, module, path = find(f"{file}:f")
    assert (function(), module.f(), path) == (7, 7, file)


@pytest.mark.parametrize(
    ("target", "message"),
    [("model", "names no function"), ("nothing.py:f", "no file"), ("{}:g", "functions: f")],
)
def test_says_what_is_missing(tmp_path, target, message):
    file = tmp_path / "model_without.py"
    file.write_text("def f():\n    return 7\n")
    with pytest.raises(ArgumentError, match=message):
        find(target.format(file))

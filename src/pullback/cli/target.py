"""What a command works on: a function of a file, as ``FILE.py:FUNCTION``."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from pullback.errors import ArgumentError

__all__ = ["find"]


def find(target: str) -> tuple[Callable[..., Any], ModuleType, Path]:
    """The function that ``FILE.py:FUNCTION`` names, its module and its file.

    Raises:
        ArgumentError: if the text names no function, or the file or the function does not exist.
    """
    path, name = _split(target)
    module = _load(path)
    return _function(module, path, name), module, path


def _split(target: str) -> tuple[Path, str]:
    file, colon, function = target.rpartition(":")
    if not colon or not file.endswith(".py") or not function.isidentifier():
        raise ArgumentError(
            f"{target!r} names no function", fix="write FILE.py:FUNCTION, e.g. model.py:loss"
        )
    path = Path(file)
    if not path.is_file():
        raise ArgumentError(f"there is no file {file}", fix="check the path")
    return path, function


def _load(path: Path) -> ModuleType:
    """Run the file as ``python FILE.py`` would, but not as the main program."""
    sys.path.insert(0, str(path.parent.resolve()))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(path.stem, module)
    spec.loader.exec_module(module)
    return module


def _function(module: ModuleType, path: Path, name: str) -> Callable[..., Any]:
    function = getattr(module, name, None)
    if callable(function):
        return function  # type: ignore[no-any-return]
    own = [
        key
        for key, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__
    ]
    raise ArgumentError(
        f"{path} has no function {name}",
        details=[f"functions: {', '.join(own) or 'none'}"],
        fix="name one of these" if own else "define it with def",
    )

"""What a command works on: a function of a file, as ``FILE.py:FUNCTION``."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from pullback.errors import ArgumentError

__all__ = ["arguments", "find"]


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


def arguments(
    module: ModuleType, path: Path, names: Sequence[str], shapes: str, seed: int
) -> Sequence[Any]:
    """Arguments to call a function with: those of its file, or random ones of given shapes.

    Raises:
        ArgumentError: if the file gives none, or the shapes are not those of the arguments.
    """
    return _drawn(names, shapes, seed) if shapes else _example(module, path)


def _example(module: ModuleType, path: Path) -> Sequence[Any]:
    args = getattr(module, "example_args", None)
    if args is None and callable(getattr(module, "example", None)):
        args = module.example()
    if args is None:
        raise ArgumentError(
            f"{path} gives no arguments to call the function with",
            fix="add example_args = (...) or a function example() to the file, or pass --shapes "
            "'x:3,4 w:4'",
        )
    if not isinstance(args, tuple):
        raise ArgumentError(
            f"{path}: the example arguments are a {type(args).__name__}, not a tuple",
            fix="write (x,) for one argument",
        )
    return args


def _drawn(names: Sequence[str], shapes: str, seed: int) -> list[Any]:
    rng = np.random.default_rng(seed)
    sizes: dict[str, tuple[int, ...]] = {}
    for part in shapes.split():
        name, _, numbers = part.partition(":")
        try:
            sizes[name] = tuple(int(n) for n in numbers.split(",") if n)
        except ValueError:
            raise ArgumentError(
                f"--shapes: {part!r} is no shape", fix="write name:rows,columns, e.g. x:3,4"
            ) from None
    missing = [name for name in names[: len(sizes)] if name not in sizes]
    if missing:
        raise ArgumentError(
            f"--shapes does not give {', '.join(missing)}",
            details=[f"arguments: {', '.join(names)}", f"given: {', '.join(sizes)}"],
            fix="give a shape for every argument, in the function's own names",
        )
    return [rng.normal(size=sizes[name]) for name in names[: len(sizes)]]

"""``pullback explain``."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from json import dumps
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import numpy as np
import typer

from pullback.cli.target import find
from pullback.errors import ArgumentError
from pullback.explanation.table import explain as explain_function

__all__ = ["explain"]


def explain(
    target: Annotated[str, typer.Argument(metavar="FILE.py:FUNCTION", help="What to explain.")],
    wrt: Annotated[
        str,
        typer.Option(
            help="Arguments to differentiate, separated by commas; by default the first one."
        ),
    ] = "",
    shapes: Annotated[
        str,
        typer.Option(
            help="Shapes of the arguments, which are then filled with normal numbers: 'x:3,4 w:4 "
            "s:' makes x 3 by 4, w a vector and s a number. By default the file gives the "
            "arguments: a tuple 'example_args', or a function 'example()' that returns one."
        ),
    ] = "",
    seed: Annotated[int, typer.Option(help="Of the numbers for --shapes.")] = 0,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown tables.")] = False,
    html: Annotated[str, typer.Option(help="Write a page with the graph, step by step.")] = "",
    json: Annotated[bool, typer.Option("--json", help="Print both passes as JSON.")] = False,
) -> None:
    """Show how a function's gradient is computed, step by step: the backward table."""
    function, module, path = find(target)
    names = list(inspect.signature(function).parameters)
    args = _drawn(names, shapes, seed) if shapes else _example(module, path)
    report = explain_function(function, *args, argnums=_argnums(names[: len(args)], wrt))
    if html:
        print(f"wrote {report.save(html)}")
    elif json:
        print(dumps(report.to_json()))
    else:
        print(report.to_markdown() if markdown else report)


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


def _argnums(names: Sequence[str], wrt: str) -> int | tuple[int, ...]:
    wanted = [name.strip() for name in wrt.split(",") if name.strip()]
    unknown = [name for name in wanted if name not in names]
    if unknown:
        raise ArgumentError(
            f"--wrt: the function is not called with an argument {unknown[0]}",
            details=[f"arguments: {', '.join(names)}"],
            fix="name one of these",
        )
    return tuple(names.index(name) for name in wanted) or 0

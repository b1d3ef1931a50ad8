"""``pullback explain``."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from json import dumps
from typing import Annotated

import typer

from pullback.cli.target import arguments, find
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
    args = arguments(module, path, names, shapes, seed)
    report = explain_function(function, *args, argnums=_argnums(names[: len(args)], wrt))
    if html:
        print(f"wrote {report.save(html)}")
    elif json:
        print(dumps(report.to_json()))
    else:
        print(report.to_markdown() if markdown else report)


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

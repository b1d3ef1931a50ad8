"""``pullback memory``."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from pullback.cli.target import arguments, find
from pullback.compiler.jit import Compiled
from pullback.compiler.jit import compile as compile_function
from pullback.errors import ArgumentError
from pullback.explanation.memory import memory as report_memory
from pullback.planner.calculator import DTYPES, MODELS, OPTIMIZERS, transformer_memory
from pullback.transforms.derivatives import Differentiated, value_and_grad

__all__ = ["memory"]


def memory(
    target: Annotated[str, typer.Argument(help="FILE.py:FUNCTION, or nothing with --model.")] = "",
    shapes: Annotated[
        str, typer.Option(help="Shapes of random arguments, such as 'x:3,4 w:4,2'.")
    ] = "",
    seed: Annotated[int, typer.Option(help="Of the random arguments.")] = 0,
    forward: Annotated[
        bool, typer.Option("--forward", help="The function as it is, not its gradient.")
    ] = False,
    html: Annotated[
        str, typer.Option("--html", help="Also write a page with bytes over time.")
    ] = "",
    measure: Annotated[bool, typer.Option("--measure", help="Run it, and measure.")] = False,
    budget: Annotated[
        str, typer.Option("--budget", help="Print the plan for so much memory, e.g. '200 MB'.")
    ] = "",
    model: Annotated[str, typer.Option(help=f"A transformer: {', '.join(MODELS)}.")] = "",
    batch: Annotated[int, typer.Option(help="Sequences in a batch, with --model.")] = 1,
    seq: Annotated[int, typer.Option(help="Tokens in a sequence, with --model.")] = 2048,
    dtype: Annotated[str, typer.Option(help=f"One of {', '.join(DTYPES)}.")] = "fp16",
    attention: Annotated[str, typer.Option(help="fused, eager or eager-fp32.")] = "fused",
    checkpointing: Annotated[str, typer.Option(help="none, selective, silu or full.")] = "none",
    optimizer: Annotated[str, typer.Option(help=f"One of {', '.join(OPTIMIZERS)}.")] = "adam",
) -> None:
    """Say what a function or a transformer holds in memory, before it runs."""
    if bool(target) == bool(model):
        raise ArgumentError(
            "memory: give a function or a model", fix="write FILE.py:FUNCTION, or --model llama-7b"
        )
    if model:
        print(transformer_memory(model, batch, seq, dtype, attention, checkpointing, optimizer))  # type: ignore[arg-type]
        return
    function, module, path = find(target)
    names = list(inspect.signature(function).parameters)
    args = arguments(module, path, names, shapes, seed)
    is_plain = not isinstance(function, Differentiated | Compiled)
    fun: Callable[..., Any] = value_and_grad(function) if is_plain and not forward else function
    report = report_memory(fun, *args, measure=measure)
    print(report)
    if html:
        print(f"wrote {report.save(html)}")
    if budget:
        from_fun = fun.fun if isinstance(fun, Compiled) else fun
        print(plan_of(from_fun, budget, args))


def plan_of(fun: Callable[..., Any], budget: str, args: Any) -> Any:
    """The plan that keeps ``fun`` within a budget."""
    return compile_function(fun, memory=budget).plan(*args)

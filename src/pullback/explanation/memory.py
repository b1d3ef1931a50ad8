"""``memory``: what a call will hold, before it runs."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pullback import tree
from pullback.analysis.sizes import show_bytes
from pullback.compiler.jit import Compiled, has_engine
from pullback.compiler.jit import compile as compile_function
from pullback.core.graph import Equation, Variable
from pullback.core.types import type_of
from pullback.errors import StagingError
from pullback.explanation.memory_page import memory_page, summary
from pullback.pages.document import fragment, save
from pullback.planner.lifetimes import Lifetimes, lifetimes
from pullback.planner.simulate import Timeline, timeline

__all__ = ["Kept", "MemoryReport", "Peak", "memory"]

SHOWN = 12  # lines of a report that name kept values


@dataclass(frozen=True, slots=True)
class Kept:
    """Values that a line of the user's code makes and that the backward pass reads."""

    line: str
    bytes: int
    types: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Peak:
    """The moment at which a run holds most.

    Bytes of values ``kept`` for the backward pass, of ``results`` that are there by then, of other
    ``temporaries``, and the ``working`` memory of the operation that runs; together ``total``.
    """

    total: int
    kept: int
    results: int
    temporaries: int
    working: int
    operation: str
    line: str
    pass_name: str


@dataclass(frozen=True, slots=True)
class MemoryReport:
    """What a call holds, in bytes. Arguments belong to the caller; all peaks are without them.

    ``eager`` is the run in NumPy, ``compiled`` the bytes that a compiled call allocates: its arena
    and its results (``None`` without llvmlite). ``measured_eager`` and ``measured_compiled`` are
    the peaks that :mod:`tracemalloc` saw, if ``measure=True`` asked for them. ``held`` has the
    bytes of the eager run while each of its operations runs, the first ``n_forward`` of which are
    the forward pass.
    """

    name: str
    arguments: int
    results: int
    kept: tuple[Kept, ...]
    eager: Peak
    compiled: int | None
    arena: int | None
    measured_eager: int | None = None
    measured_compiled: int | None = None
    held: tuple[int, ...] = ()
    n_forward: int = 0

    def to_json(self) -> dict[str, Any]:
        """The report as what ``json.dumps`` takes, bytes at each operation included."""
        return asdict(self)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write one self-contained page: bytes over time, what is kept by line, the peak."""
        return save(path, memory_page(self, str(self)))

    def _repr_html_(self) -> str:
        return fragment(summary(self))

    @property
    def kept_bytes(self) -> int:
        return sum(line.bytes for line in self.kept)

    def __str__(self) -> str:
        peak = self.eager
        lines = [
            f"memory of {self.name}",
            f"  arguments            {show_bytes(self.arguments)}",
            f"  results              {show_bytes(self.results)}",
            f"  kept for backward    {show_bytes(self.kept_bytes)}",
        ]
        for part in self.kept[:SHOWN]:
            lines.append(f"    {show_bytes(part.bytes):>9}  {part.line}  {', '.join(part.types)}")
        if len(self.kept) > SHOWN:
            rest = sum(part.bytes for part in self.kept[SHOWN:])
            lines.append(f"    {show_bytes(rest):>9}  {len(self.kept) - SHOWN} more lines")
        lines += [
            f"  peak, eager          {show_bytes(peak.total)}{_measured(self.measured_eager)}",
            f"    in the {peak.pass_name} pass, while {peak.operation} runs, {peak.line}",
            f"    kept {show_bytes(peak.kept)}, results {show_bytes(peak.results)}, temporaries "
            f"{show_bytes(peak.temporaries)}, working memory {show_bytes(peak.working)}",
        ]
        if self.compiled is None or self.arena is None:
            lines.append("  peak, compiled       unknown without llvmlite")
        else:
            lines += [
                f"  peak, compiled       {show_bytes(self.compiled)}"
                f"{_measured(self.measured_compiled)}",
                f"    arena {show_bytes(self.arena)}, results "
                f"{show_bytes(self.compiled - self.arena)}",
            ]
        return "\n".join(lines)


def _measured(n: int | None) -> str:
    return "" if n is None else f", measured {show_bytes(n)}"


def memory(
    fun: Callable[..., Any], *args: Any, measure: bool = False, **kwargs: Any
) -> MemoryReport:
    """What ``fun(*args)`` holds while it runs, in bytes, found without running it.

    Args:
        fun: any function of arrays, such as ``pb.value_and_grad(loss)``; of a plain function there
            is no backward pass. A compiled function is reported with its own settings.
        args: its arguments; only their shapes and dtypes are read.
        measure: whether to run it as well, eager and compiled, and to measure both peaks with
            :mod:`tracemalloc`, which counts what NumPy allocates.
        kwargs: passed on to ``fun``.

    Returns:
        A report: ``print`` it, or read its fields. The eager peak counts values from where they
        are made to where the last variable, container or tape lets them go; the compiled one is
        the arena of the native program and its results.

    Raises:
        StagingError: if Python control flow of ``fun`` depends on values.

    >>> import numpy as np
    >>> import pullback as pb
    >>> report = pb.memory(pb.grad(lambda x: np.sum(np.sin(np.exp(x)))), np.zeros(1000))
    >>> report.arguments, report.results, report.kept_bytes
    (8000, 8000, 8000)
    """
    compiled = fun if isinstance(fun, Compiled) else compile_function(fun)
    plain = fun.fun if isinstance(fun, Compiled) else fun
    try:
        run = lifetimes(plain, args, kwargs)
    except StagingError as error:
        raise StagingError(
            f"memory: {error}",
            fix="ask for a function without Python control flow on values, or measure a run of it "
            "with tracemalloc",
        ) from error
    moments = timeline(run.graph, run.dying)
    native = compiled.memory(*args, **kwargs)
    arena, total = native or (None, None)
    return MemoryReport(
        name=getattr(fun, "__name__", type(fun).__name__),
        arguments=sum(type_of(x).nbytes for x in tree.leaves((args, kwargs))),
        results=sum(v.type.nbytes for v in dict.fromkeys(run.graph.outputs)),
        kept=_kept(run, moments),
        eager=_peak(run, moments),
        compiled=total,
        arena=arena,
        measured_eager=_measure(plain, args, kwargs) if measure else None,
        measured_compiled=_measure(compiled, args, kwargs) if measure and has_engine() else None,
        held=tuple(map(int, moments.held)),
        n_forward=run.n_forward,
    )


def _residuals(run: Lifetimes, moments: Timeline) -> list[Variable]:
    """Values of the forward pass that are still held for the backward one, which reads them."""
    n = run.n_forward
    if n == len(run.graph.equations):
        return []
    read = {
        moments.owner(v)
        for e in run.graph.equations[n:]
        for v in e.inputs
        if isinstance(v, Variable)
    }
    return [v for v, i in moments.made.items() if i < n and moments.freed[v] >= n and v in read]


def _line(equation: Equation) -> str:
    return str(equation.source) if equation.source else "the last results"


def _kept(run: Lifetimes, moments: Timeline) -> tuple[Kept, ...]:
    """Residuals by the line that makes them, the largest first."""
    by_line: dict[str, list[Variable]] = {}
    for v in _residuals(run, moments):
        by_line.setdefault(_line(run.graph.equations[moments.made[v]]), []).append(v)
    found = [
        Kept(
            line,
            sum(v.type.nbytes for v in values),
            tuple(dict.fromkeys(str(v.type) for v in values)),
        )
        for line, values in by_line.items()
    ]
    return tuple(sorted(found, key=lambda part: -part.bytes))


def _peak(run: Lifetimes, moments: Timeline) -> Peak:
    if not moments.held:
        return Peak(0, 0, 0, 0, 0, "nothing", "", "forward")
    at, n = moments.at, len(moments.held)
    equation = run.graph.equations[at]
    alive = moments.alive(at)
    kept = set(_residuals(run, moments))
    results = {moments.owner(v) for v in run.graph.outputs if isinstance(v, Variable)}
    sizes = [
        sum(v.type.nbytes for v in alive if v in kept),
        sum(v.type.nbytes for v in alive if v in results and v not in kept),
        moments.working[at],
    ]
    return Peak(
        total=moments.peak,
        kept=sizes[0],
        results=sizes[1],
        temporaries=moments.peak - sum(sizes),
        working=sizes[2],
        operation=equation.primitive.name,
        line=_line(equation),
        pass_name="backward" if run.n_forward <= at < n else "forward",
    )


def _measure(fun: Callable[..., Any], args: Sequence[Any], kwargs: Any) -> int:
    """The peak of what Python and NumPy allocate in one call, after a first one."""
    fun(*args, **kwargs)
    if isinstance(fun, Compiled):
        fun.forget()
    was_tracing = tracemalloc.is_tracing()
    if not was_tracing:
        tracemalloc.start()
    try:
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        results = fun(*args, **kwargs)
        peak = tracemalloc.get_traced_memory()[1] - before
        del results
    finally:
        if not was_tracing:
            tracemalloc.stop()
    return peak

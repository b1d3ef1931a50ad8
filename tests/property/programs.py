"""Programs in NumPy's terms as source text, which plain NumPy and traced arrays can run.

A program is made of expressions that share inputs. Each expression is a function of its own lines,
taken as it is or differentiated; all of them are staged and compiled together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

# What the text of a program may use; part of every reproduction.
PRELUDE = """\
import numpy as np
import pullback as pb
import pullback.numpy as pnp

def values(shape, dtype, seed, special=False, layout="C"):
    rng = np.random.default_rng(seed)
    dtype = np.dtype(dtype)
    bounds = {"f": (-24, 25), "i": (-9, 10), "u": (0, 10), "b": (0, 2)}[dtype.kind]
    x = (rng.integers(*bounds, shape) / (8 if dtype.kind == "f" else 1)).astype(dtype)
    if special and dtype.kind == "f":
        x = np.where(rng.random(shape) < 0.2, rng.choice([np.nan, np.inf, -np.inf, -0.0], shape), x)
        x = x.astype(dtype)
    if layout == "F":
        return np.asfortranarray(x)
    if layout == "reversed":
        return x[::-1].copy()[::-1]
    return np.repeat(x, 2, axis=-1)[..., ::2] if layout == "strided" else x

def put(x, key, value):
    y = pnp.array(x)
    y[key] = value
    return y

def put_more(x, key, value):
    y = pnp.array(x)
    y[key] += value
    return y

def running(x):
    return pb.scan(lambda c, row: (c * 0.5 + row, c - row), np.zeros_like(x[0]), x)

def turned(x):
    return pb.scan(lambda c, row: (np.flip(c) * 0.5 + row, np.flip(row) + c), x[0] * 2, x)

def each(x):
    return pb.scan(lambda _, row: ((), np.cumsum(row, axis=0) * 0.5 - row), (), x)[1]

def weighed(y):
    return np.sum(y * ((np.arange(y.size) % 5 - 1.5) / 2).reshape(y.shape).astype(y.dtype))
"""
GRAINED = [
    f"pullback.compiler.{name}.GRAIN"
    for name in ("schedule.chunks", "schedule.stacks", "schedule.convolutions")
]
GROUPS, CHAINS = "pullback.compiler.schedule.groups", "pullback.compiler.schedule.chains"
ROWS = [f"{GROUPS}.{name}" for name in ("SHORTEST", "LEAST_ROWS", "LEAST_ELEMENTS")]
ROWS += [f"{GROUPS}.{name}" for name in ("LEAST_CHANNELS", "SMALLEST")]
ROWS += [f"{GROUPS}.{name}" for name in ("LEAST_IMAGES", "SMALL_PLANE")]
UNITS = [f"{CHAINS}.{name}" for name in ("LEAST_CHUNKS", "LEAST_ROWS", "ROWS")]
UNITS += ["pullback.compiler.schedule.bodies.LEAST_CHUNKS"]
COPIES = {  # of small operands of products, for which maps are prologues
    "pullback.compiler.schedule.tiling.INNER": 4,
    "pullback.compiler.schedule.tiling.LARGE": 512,
    "pullback.compiler.schedule.tiling.ROWS": 24,
    "pullback.compiler.schedule.tiling.MUCH": 2,
    "pullback.compiler.schedule.tiling.NEAR": 0,
    "pullback.compiler.schedule.tiling.SPREAD_A": 0,
    "pullback.compiler.schedule.tiling.SPREAD_B": 0,
    "pullback.compiler.schedule.tiling.STRIP": 3,
    "pullback.compiler.schedule.stacks.STRIP": 1,
    "pullback.compiler.schedule.stacks.FAR": 0,
    "pullback.compiler.schedule.stacks.LEAST_DEPTH": 2,
    "pullback.compiler.schedule.prologues.HIGHEST": 0,
}
PLANES = {"pullback.compiler.schedule.groups.LARGE_PLANE": 6}
AGAIN = {  # everything is computed again that can be
    "pullback.compiler.schedule.recompute.LEAST_PEAK": 0,
    "pullback.compiler.schedule.recompute.LEAST": 0,
    "pullback.compiler.schedule.recompute.LIMITS": (1 << 20,),
    "pullback.compiler.schedule.recompute.BUDGET": 1 << 20,
    "pullback.compiler.schedule.recompute.SHARE": 0,
    "pullback.compiler.schedule.recompute.GAIN": -1,
}
LAYOUTS = ("C", "F", "reversed", "strided")


def limits(grain: int) -> dict[str, Any]:
    """What the compiler takes for little work; if that is very little, for little memory too."""
    rows = (
        {**dict.fromkeys([*ROWS, *UNITS], 2), **COPIES, **PLANES, **AGAIN} if grain < 10_000 else {}
    )
    return {**dict.fromkeys(GRAINED, grain), **rows}


@dataclass(frozen=True)
class Input:
    """Random numbers that are short in binary, so that sums and products of a few are exact."""

    shape: tuple[int, ...]
    dtype: str
    seed: int
    special: bool = False  # with infinities and NaN
    layout: str = "C"

    def __str__(self) -> str:
        extra = ", special=True" if self.special else ""
        extra += f", layout={self.layout!r}" if self.layout != "C" else ""
        return f"values({self.shape}, {self.dtype!r}, {self.seed}{extra})"


@dataclass(frozen=True)
class Line:
    """Names put into a template of NumPy text."""

    template: str
    operands: tuple[str, ...]

    def __str__(self) -> str:
        return self.template.format(*self.operands)


@dataclass(frozen=True)
class Expression:
    """Line ``k`` makes ``v{k}``; the value is ``result``, or its gradient by the input ``wrt``."""

    lines: tuple[Line, ...]
    result: str
    wrt: str | None = None

    def needed(self) -> list[int]:
        """The lines that the result depends on."""
        names = {self.result}
        for k in reversed(range(len(self.lines))):
            if f"v{k}" in names:
                names.update(self.lines[k].operands)
        return [k for k in range(len(self.lines)) if f"v{k}" in names]

    def inputs(self) -> list[str]:
        names = {name for k in self.needed() for name in self.lines[k].operands}
        names |= {self.result, self.wrt or self.result}
        return sorted(n for n in names if n[0] == "a")

    def function(self, name: str) -> str:
        body = [f"    v{k} = {self.lines[k]}" for k in self.needed()]
        head = f"def {name}({', '.join(self.inputs())}):"
        return "\n".join([head, *body, f"    return {self.result}"])

    def call(self, name: str) -> str:
        call = f"{name}({', '.join(self.inputs())})"
        if self.wrt is None:
            return call
        return f"pb.grad(lambda {self.wrt}: weighed({call}))({self.wrt})"


@dataclass(frozen=True)
class Program:
    """Expressions over common inputs, and the grain of the work that threads share."""

    inputs: dict[str, Input]
    expressions: tuple[Expression, ...]
    grain: int

    def used(self) -> dict[str, Input]:
        names = {name for e in self.expressions for name in e.inputs()}
        return {name: x for name, x in self.inputs.items() if name in names}

    def __str__(self) -> str:
        functions = [e.function(f"e{k}") for k, e in enumerate(self.expressions)]
        calls = ", ".join(e.call(f"e{k}") for k, e in enumerate(self.expressions))
        program = f"def program({', '.join(self.used())}):\n    return [{calls}]"
        return "\n\n".join([*functions, program]) + "\n"

    def load(self) -> tuple[Callable[..., list], list[np.ndarray]]:
        """The function and its arguments."""
        names: dict = {}
        exec(compile(PRELUDE + str(self), "<generated>", "exec"), names)
        return names["program"], [eval(str(x), names) for x in self.used().values()]

    def script(self) -> str:
        """Text that runs on its own and fails where this program does."""
        return f"""\
import importlib
{PRELUDE}
{self}
for path, value in {limits(self.grain)}.items():
    module, _, name = path.rpartition(".")
    setattr(importlib.import_module(module), name, value)
args = [{", ".join(map(str, self.used().values()))}]
for expected, found in zip(program(*args), pb.compile(program, threads=2)(*args), strict=True):
    np.testing.assert_allclose(found, expected, rtol=1e-6)
"""


# -- smaller programs -------------------------------------------------------------------------
def shrink(program: Program, fails: Callable[[Program], bool], budget: int = 400) -> Program:
    """A program that still fails, and of which no smaller neighbour does."""
    program = fewer(program, fails)
    tried = 0
    progress = True
    while progress and tried < budget:
        progress = False
        for smaller in neighbours(program):
            tried += 1
            if fails(smaller):
                program, progress = smaller, True
                break
    return replace(program, inputs=program.used())


def fewer(program: Program, fails: Callable[[Program], bool]) -> Program:
    """Leave out expressions, half of them at first."""
    n = len(program.expressions)
    step = n // 2
    while step:
        start = 0
        while start < len(program.expressions):
            kept = program.expressions[:start] + program.expressions[start + step :]
            smaller = replace(program, expressions=kept)
            if kept and fails(smaller):
                program = smaller
            else:
                start += step
        step //= 2
    return program


def neighbours(program: Program) -> Iterator[Program]:
    """Programs that differ in one step towards nothing, from large to small steps."""
    for i, e in enumerate(program.expressions):
        for smaller in smaller_expressions(e, list(program.inputs)):
            expressions = (*program.expressions[:i], smaller, *program.expressions[i + 1 :])
            yield replace(program, expressions=expressions)
    used = program.used()
    for n in sorted({n for x in used.values() for n in x.shape}, reverse=True):
        for m in sorted({1, 2, n // 2, n - 1} & set(range(1, n))):
            shapes = {k: tuple(m if d == n else d for d in x.shape) for k, x in used.items()}
            changed = {k: replace(x, shape=shapes[k]) for k, x in used.items()}
            yield replace(program, inputs={**program.inputs, **changed})
    for name, x in used.items():
        plain = [replace(x, special=False)] if x.special else []
        plain += [replace(x, layout="C")] if x.layout != "C" else []
        plain += [replace(x, shape=x.shape[:i] + x.shape[i + 1 :]) for i in range(len(x.shape))]
        for simpler in plain:
            yield replace(program, inputs={**program.inputs, name: simpler})


def smaller_expressions(e: Expression, inputs: list[str]) -> Iterator[Expression]:
    """The expression without its gradient, its last lines, or a line in between."""
    if e.wrt is not None:
        yield replace(e, wrt=None)
    needed = e.needed()
    for k in needed:
        if f"v{k}" != e.result:
            yield replace(e, result=f"v{k}")
    for k in reversed(needed):
        for other in dict.fromkeys((*e.lines[k].operands, *inputs)):
            lines = tuple(renamed(line, f"v{k}", other) for line in e.lines)
            yield replace(e, lines=lines, result=other if e.result == f"v{k}" else e.result)


def renamed(line: Line, old: str, new: str) -> Line:
    return replace(line, operands=tuple(new if name == old else name for name in line.operands))

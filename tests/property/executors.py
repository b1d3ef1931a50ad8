"""Native code against the NumPy executor on one program."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from tests.compiler.verifier import verified
from tests.property.generate import is_short
from tests.property.programs import Program, limits

from pullback.compiler.executable import Executable
from pullback.core.array import bind
from pullback.core.graph import Graph, Literal
from pullback.core.types import type_of
from pullback.transforms.evaluate import evaluate
from pullback.transforms.stage import stage

ROUNDING = 4  # multiples of eps that each inexact operation is off by in `shaken`
OF_EITHER_SIGN = {"maximum", "minimum", "fmax", "fmin", "max", "min"}  # of 0.0 and -0.0
MARGIN = 8  # how much further than in `shaken` native code may be off
RUNS = 4
EXACT = [
    "add",
    "subtract",
    "multiply",
    "negative",
    "absolute",
    "maximum",
    "minimum",
    "square",
    "sum",
    "where",
]


class Refused(Exception):
    """NumPy does not run the program."""


@contextmanager
def grain(n: int) -> Iterator[None]:
    """Cut even small work into chunks for several threads; programs on disk are cut otherwise."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PULLBACK_CACHE_DIR", "")
        for path, value in limits(n).items():
            module, _, name = path.rpartition(".")
            patch.setattr(importlib.import_module(module), name, value)
        yield


@contextmanager
def quiet() -> Iterator[None]:
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        yield


def shaken(graph: Graph, args: list[Any], run: int) -> list[Any]:
    """Outputs of the NumPy executor with every inexact result off by a few roundings.

    How far they are off says how much rounding the program amplifies. Extremes that are zero have
    either sign, as C leaves it, and NumPy to its vectors.
    """
    rng = np.random.default_rng(run)
    values = dict(zip(graph.inputs, args, strict=True))
    for equation in graph.equations:
        operands = [v.value if isinstance(v, Literal) else values[v] for v in equation.inputs]
        result = bind(equation.primitive, operands, equation.params)
        parts = result if equation.primitive.multiple else (result,)
        moves = equation.primitive.family in ("linear", "index", "general")
        for variable, part in zip(equation.outputs, parts, strict=True):
            y = np.asarray(part)
            exact = moves or (y.dtype.kind == "f" and is_exact(equation.primitive.name, y))
            if y.dtype.kind in "fc" and not exact:
                sign = [-1.0, 1.0][run] if run < 2 else rng.uniform(-1, 1, y.shape)
                off = ROUNDING * np.finfo(y.dtype).eps
                if equation.primitive.family == "reduction":  # NumPy may add one after the other
                    off *= max(np.size(operands[0]) / max(y.size, 1), 1) ** 0.5
                # A part of a complex product is rounded on the scale of the whole number.
                far = y if y.dtype.kind == "f" else np.abs(y) * (1 + 1j)
                y = (y + far * (off * sign)).astype(y.dtype)
            if y.dtype.kind == "f" and equation.primitive.name in OF_EITHER_SIGN:
                y = np.where(y == 0, np.copysign(y, run % 2 - 0.5), y)
            values[variable] = y
    return [v.value if isinstance(v, Literal) else values[v] for v in graph.outputs]


def is_exact(name: str, y: np.ndarray) -> bool:
    return name in EXACT and is_short(y)


def difference(found: Any, expected: Any, others: list[Any]) -> str | None:
    """What is wrong with ``found``; ``others`` are what rounding may make of ``expected``."""
    y, z = np.asarray(found), np.asarray(expected)
    if (y.dtype, y.shape) != (z.dtype, z.shape):
        return f"{y.dtype}{y.shape} instead of {z.dtype}{z.shape}"
    if z.dtype.kind == "c":  # parts by themselves
        y, z, *others = (np.stack([v.real, v.imag]) for v in (y, z, *map(np.asarray, others)))
    with np.errstate(all="ignore"):
        if z.dtype.kind != "f":
            wrong = (y != z) & np.all([z == o for o in others], axis=0)
        else:
            finite = np.isfinite(z) & np.all([np.isfinite(o) for o in others], axis=0)
            kinds = [np.isnan(o) + 2 * np.isposinf(o) + 4 * np.isneginf(o) for o in (z, *others)]
            settled = np.all([k == kinds[0] for k in kinds], axis=0)
            kind = np.isnan(y) + 2 * np.isposinf(y) + 4 * np.isneginf(y)
            info = np.finfo(z.dtype)
            largest = np.max(np.abs(z), where=finite, initial=0)
            spread = max(np.max(np.abs(o - z), where=finite, initial=0) for o in others)
            bound = MARGIN * spread + (0 if is_short(z) and not spread else info.eps * largest)
            wrong = np.where(
                finite, ~(np.abs(y - z) <= bound + info.tiny), settled & (kind != kinds[0])
            )
    if not np.any(wrong):
        return None
    places = np.argwhere(wrong)[:3].tolist()
    return f"{y[wrong][:3]} instead of {z[wrong][:3]} at {places}, {wrong.sum()} of {wrong.size}"


def failures(program: Program, threads: int = 2) -> dict[int, str]:
    """By the number of the expression, what is wrong with its value.

    Raises:
        Refused: if NumPy cannot run the program.
    """
    with quiet(), grain(program.grain):
        try:
            function, args = program.load()
            plain = function(*args)
        except Exception as error:
            raise Refused from error
        try:
            staged = stage(function, [type_of(a) for a in args])
            operands = [*staged.captured, *args]
            with verified():
                native = Executable(staged.graph, True, threads)(operands)
        except Exception as error:  # noqa: BLE001 - a crash is a failure like any other
            return {-1: f"{type(error).__name__}: {error}"}
        expected = evaluate(staged.graph, operands)
        others = [shaken(staged.graph, operands, run) for run in range(RUNS)]
    found = {}
    for i, values in enumerate(zip(native, plain, expected, *others, strict=True)):
        y, eager, z, *off = values
        message = difference(eager, z, off)
        if message:
            found[i] = f"the staged graph differs from the program: {message}"
        message = difference(y, z, off)
        if message:
            found[i] = f"native code differs from NumPy: {message}"
    return found

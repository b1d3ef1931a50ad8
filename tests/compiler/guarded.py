"""Runs native code on memory between pages that must not be touched; a stray access is a crash.

Inputs, outputs and the arena end where such a page begins, or begin where one ends. The arena is
filled with NaN and its values are kept apart, so that what is read or written in between shows.
"""

from __future__ import annotations

import ctypes
import importlib
import mmap
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from tests.property.executors import RUNS, difference, grain, quiet, shaken
from tests.property.generate import program

from pullback import control
from pullback.compiler import executable
from pullback.compiler.runtime import frame
from pullback.core.graph import Graph
from pullback.core.primitive import registry
from pullback.core.types import type_of
from pullback.testing.battery import outputs_of, samples_of
from pullback.transforms.evaluate import evaluate
from pullback.transforms.stage import stage

assert control  # registers the primitives that hold graphs
PAGE = mmap.PAGESIZE
FILL = 0xFF  # NaN in every floating dtype
GAP = 64  # bytes between the values of an arena
libc = ctypes.CDLL(None, use_errno=True)


class Guard:
    """In place of ``numpy`` in a module of the compiler: ``empty`` gives guarded memory."""

    def __init__(self, side: str) -> None:
        self.side = side
        self.arenas: list[tuple[mmap.mmap, int, int]] = []  # memory, start, length

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)

    def empty(self, shape: Any, dtype: Any = float) -> np.ndarray:
        if dtype is np.uint8:  # an arena, with room to align it
            n_bytes = shape - frame.ALIGNMENT
            memory, start = self.memory(n_bytes)
            self.arenas.append((memory, start, n_bytes))
        else:
            memory, start = self.memory(int(np.prod(shape)) * np.dtype(dtype).itemsize)
        return np.ndarray(shape, dtype, memory, start)

    def memory(self, n_bytes: int) -> tuple[mmap.mmap, int]:
        """Pages of which the first and the last must not be touched, and where to begin."""
        inner = -(-n_bytes // PAGE) * PAGE
        memory = mmap.mmap(-1, inner + 3 * PAGE)
        memory[PAGE : PAGE + inner] = bytes([FILL]) * inner
        address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        for page, n_pages in ((0, 1), (PAGE + inner, 2)):
            place = ctypes.c_void_p(address + page)
            if libc.mprotect(place, ctypes.c_size_t(n_pages * PAGE), 0):
                raise OSError(ctypes.get_errno(), "mprotect")
        return memory, PAGE if self.side == "start" else PAGE + inner - n_bytes

    def placed(self, value: Any) -> np.ndarray:
        array = np.asarray(value)
        copy = self.empty(array.shape, array.dtype)
        copy[...] = array
        return copy

    def check_gaps(self, plan: Any) -> None:
        """Nothing is written between the values of the outermost graph, or beside the arena."""
        for memory, start, n_bytes in self.arenas:
            inner = -(-n_bytes // PAGE) * PAGE
            free = np.ones(inner, bool)
            offset = start - PAGE
            free[offset + plan.arena_bytes : offset + n_bytes] = False  # of bodies
            for v, place in plan.offsets.items():
                free[offset + place : offset + place + v.type.nbytes] = False
            for host, place, size in plan.scratch.values():
                if host is None:
                    free[offset + place : offset + place + size] = False
            content = np.ndarray(inner, np.uint8, memory, PAGE)
            assert np.all(content[free] == FILL), "a kernel writes between values"


def run(graph: Graph, operands: Sequence[Any], side: str) -> list[Any]:
    """Outputs of the native code of ``graph`` on guarded memory."""
    guard = Guard(side)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PULLBACK_CACHE_DIR", "")
        arena = importlib.import_module("pullback.compiler.schedule.memory")
        aligned = arena.aligned
        patch.setattr(arena, "aligned", lambda n: aligned(n) + GAP)
        plans = []
        emit = executable.emit_program

        def emit_program(*args: Any) -> Any:
            made = emit(*args)
            plans.append(made.schedule)
            return made

        patch.setattr(executable, "emit_program", emit_program)
        for module in (executable, frame):
            patch.setattr(module, "np", guard)
        native = executable.Executable(graph, True, 2)
        results = native([guard.placed(a) for a in operands])
        guard.check_gaps(plans[0])
    return [np.copy(y) for y in results]


def compare(graph: Graph, operands: Sequence[Any], side: str) -> None:
    with quiet():
        expected = evaluate(graph, operands)
        others = [shaken(graph, list(operands), k) for k in range(RUNS)]
        found = run(graph, operands, side)
    for i, (y, z, *off) in enumerate(zip(found, expected, *others, strict=True)):
        message = difference(y, z, off)
        assert message is None, f"output {i}: {message}"


def primitives() -> Iterator[tuple[str, Graph, list[Any]]]:
    """All samples of each primitive as one graph."""
    for name, primitive in sorted(registry.items()):
        samples = [s for _, s in samples_of(primitive) if s.error is None]
        arrays = [np.asarray(a) for s in samples for a in s.args]

        def together(*values: Any, samples: Any = samples, primitive: Any = primitive) -> list[Any]:
            given, results = iter(values), []
            for s in samples:
                results += outputs_of(primitive, [next(given) for _ in s.args], s.params)
            return results

        staged = stage(together, [type_of(a) for a in arrays])
        yield name, staged.graph, [*staged.captured, *arrays]


def generated(numbers: range) -> Iterator[tuple[str, Graph, list[Any], int]]:
    for number in numbers:
        made = program(number, 100)
        with quiet():
            function, args = made.load()
            staged = stage(function, [type_of(a) for a in args])
        yield f"program {number}", staged.graph, [*staged.captured, *args], made.grain


def main(what: str, side: str) -> None:
    """Write what is being run, so that a crash can be told apart."""
    if what == "primitives":
        for name, graph, operands in primitives():
            sys.stdout.write(f"{name}\n")
            sys.stdout.flush()
            compare(graph, operands, side)
    else:
        for name, graph, operands, size in generated(range(4)):
            sys.stdout.write(f"{name}\n")
            sys.stdout.flush()
            with grain(size):
                compare(graph, operands, side)

"""All that needs LLVM, behind one door, which ``executable.py`` opens when there is work for it.

A program from the disk starts without LLVM, which takes 40 ms to be loaded. So this module is the
only one that is imported late.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from pullback.compiler import verify
from pullback.compiler.llvm import assembler
from pullback.compiler.pipeline import unchecked
from pullback.compiler.program import emitter, entry, stopping
from pullback.core.graph import Graph

__all__ = ["Backend"]


class Backend:
    """From graphs to text, and from text to code for this processor."""

    @staticmethod
    def program(
        graph: Graph,
        allow_callbacks: bool,
        donated: Collection[int],
        is_checked: bool,
        budget: int | str | None,
    ) -> emitter.Program:
        check = verify.checked if is_checked else unchecked
        processor = assembler.processor()
        return emitter.emit_program(graph, processor, allow_callbacks, donated, check, budget)

    @staticmethod
    def entry() -> str:
        """The text of ``main``, which runs a program on the arrays of a list, and ``look``."""
        return entry.emit_entry(stopping.emit_look)

    @staticmethod
    def compiled(text: str) -> bytes:
        return assembler.compiled(text)

    @staticmethod
    def meanwhile(work: Callable[[], bytes]) -> Callable[[], bytes]:
        """Begin with work in a thread of its own; a RuntimeError if LLVM lacks the processor."""
        assembler.machine()  # raises here, not in the thread
        return assembler.meanwhile(work)

    @staticmethod
    def description() -> str:
        return assembler.description()

    @staticmethod
    def load(code: bytes) -> Any:
        return assembler.Code(code)

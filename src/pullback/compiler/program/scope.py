"""What code of a step must know of the program it is part of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from pullback.compiler.llvm.builder import Module
from pullback.compiler.schedule.steps import Room, Schedule
from pullback.core.graph import Equation, Graph, Variable

__all__ = ["Body", "Scope"]


class Body(Protocol):
    """The program of a graph inside a graph: its function, and bytes of its working memory."""

    plan: Schedule
    function: Any
    arena_bytes: int


class Scope(Protocol):
    """A program that is being written; ``own_bytes`` is its arena, without those of bodies."""

    plan: Schedule
    own_bytes: int

    @property
    def module(self) -> Module: ...
    @property
    def callbacks(self) -> Sequence[Equation]:
        """What NumPy evaluates, here and in all bodies."""

    def place(self, variable: Variable) -> int:
        """Where a value is, as an operand of a row."""

    def reserve(self, n_bytes: int) -> None:
        """Memory behind our own arena, free after the step that takes it."""

    def nested(self, graph: Graph, room: Room, is_alone: bool = False) -> Body:
        """A graph inside this one as a program, on one thread if it ``is_alone``."""

"""What code of a step must know of the program it is part of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from pullback.compiler.llvm.builder import Module
from pullback.compiler.schedule.steps import Schedule
from pullback.core.graph import Equation, Variable

__all__ = ["Body", "Scope"]


class Body(Protocol):
    """The program of a graph inside a graph: what was planned of it, and its function."""

    plan: Schedule
    function: Any


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
        """Take memory behind our own arena, which the step has declared; free after it."""

    def nested(self, number: int) -> Body:
        """A graph inside of this step as a program, by its number in ``plan.bodies``."""

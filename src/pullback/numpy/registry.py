"""How a traced form of a NumPy function is entered under NumPy's own name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from pullback.core.array import functions, methods

__all__ = ["implements"]

F = TypeVar("F", bound=Callable[..., Any])


def implements(*names: Any, method: str | None = None) -> Callable[[F], F]:
    """Make the decorated function the traced form of NumPy functions, and of an array method."""

    def register(function: F) -> F:
        for name in names:
            functions[name] = function
        if method:
            methods[method] = function
        return function

    return register

"""How a traced form of a NumPy function is entered under NumPy's own name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from pullback.core.array import functions, methods, ufunc_methods, ufuncs

__all__ = ["implements"]

F = TypeVar("F", bound=Callable[..., Any])


def implements(
    *names: Any, method: str | None = None, ufunc_method: str | None = None
) -> Callable[[F], F]:
    """Make the decorated function the traced form of NumPy functions, and of an array method."""

    def register(function: F) -> F:
        for name in names:
            if isinstance(name, np.ufunc):
                ufuncs[name] = function
            else:
                functions[name] = function
        if method:
            methods[method] = function
        if ufunc_method:
            ufunc_methods[ufunc_method] = function
        return function

    return register

"""Callables around functions of the user: what transforms return."""

from __future__ import annotations

import copyreg
import sys
from collections.abc import Callable
from functools import update_wrapper
from types import MethodType
from typing import Any

__all__ = ["Wrapper"]


class Wrapper:
    """A callable that holds ``fun``, and has its name. Like a function it binds as a method.

    It can be pickled if ``fun`` can: by its name where it has taken the place of ``fun`` in a
    module, as decorators do, else by its attributes.
    """

    fun: Callable[..., Any]

    def __init__(self, fun: Callable[..., Any]) -> None:
        update_wrapper(self, fun, updated=())
        self.fun = fun

    def action(self) -> str:
        """The name of the transform: ``grad`` of ``grad(loss)``."""
        return type(self).__name__.lower()

    def __repr__(self) -> str:
        fun = getattr(self, "fun", None)
        inner = repr(fun) if isinstance(fun, Wrapper) else getattr(fun, "__name__", repr(fun))
        return f"{self.action()}({inner})"

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else MethodType(self, instance)

    def with_parts(self, change: Callable[[Any], Any]) -> Wrapper:
        """The same callable around other functions: ``change`` of what it holds."""
        other = object.__new__(type(self))
        vars(other).update({name: change(part) for name, part in vars(self).items()})
        return other

    def __reduce__(self) -> Any:
        name = getattr(self, "__qualname__", "")
        found: Any = sys.modules.get(self.__module__)
        for part in name.split("."):
            found = getattr(found, part, None)
        return name if found is self else (copyreg.__newobj__, (type(self),), self.__getstate__())  # type: ignore[attr-defined]

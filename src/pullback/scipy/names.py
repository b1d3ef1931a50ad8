"""The names of SciPy's modules in those that stand for them here."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

__all__ = ["names_of"]


def names_of(original: ModuleType) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` of a module: what it has not itself is SciPy's.

    >>> import scipy.linalg
    >>> from pullback.scipy.names import names_of
    >>> names_of(scipy.linalg)[0]("LinAlgError").__name__
    'LinAlgError'
    """

    def look_up(name: str) -> Any:
        if name.startswith("__"):  # what Python asks modules for, such as __path__
            raise AttributeError(name)
        return getattr(original, name)

    return look_up, lambda: dir(original)

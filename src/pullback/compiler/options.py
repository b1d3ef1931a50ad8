"""Options of ``compile`` whose code lies above or beside it, registered by who has it.

So the compiler names nothing that is built on it, and an option that nobody asks for loads nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["loaders"]

# By the name of an option: loads the class of compiled functions that the option gives.
loaders: dict[str, Callable[[], type[Any]]] = {}

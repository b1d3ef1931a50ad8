"""Views of traced arrays: what is written to one of them is seen by all.

In-place code gives a handle another value. A view remembers its base, how to read itself from
there and how to write itself back; it reads again when the base was written since.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pullback.core.source import here
from pullback.core.trace import Handle, current_trace
from pullback.errors import DTypeError, MutationError

__all__ = ["Alias", "require_same_kind", "view", "write"]


class Alias:
    """Link of a view to its base: how to read it from there and how to write it back."""

    __slots__ = ("get", "key", "parent", "put", "seen", "version")

    def __init__(self, parent: Handle | None = None, get: Any = None, put: Any = None) -> None:
        self.parent, self.get, self.put = parent, get, put
        self.key: Any = None
        self.version = 0
        self.seen = self.root().version

    def refers_to(self, parent: Handle, key: Any) -> bool:
        """Whether this is the view ``parent[key]``, for a basic static key."""
        return self.parent is parent and self.key == key

    def root(self) -> Alias:
        alias = self
        while alias.parent is not None:
            alias = alias.parent.alias
        return alias

    def refresh(self, array: Handle) -> None:
        """Read the view again if its base was written since."""
        if self.parent is not None:
            version = self.root().version
            if version != self.seen:
                array.rebind(self.get(self.parent))
                self.seen = version


def view(parent: Any, get: Callable[[Any], Any], put: Callable[[Any, Any], Any] | None) -> Any:
    """Read ``get(parent)`` as a NumPy view: later writes to either are seen by the other.

    ``put(parent, new)`` is the parent after the view was overwritten by ``new``; ``None`` makes
    the view read-only.
    """
    result = get(parent)
    if isinstance(result, Handle) and isinstance(parent, Handle):
        if parent.alias is None:
            parent.alias = Alias()
        result.alias = Alias(parent, get, put)
    return result


def write(array: Handle, new: Any) -> None:
    """Overwrite the whole content of ``array`` by ``new`` (same shape), and of what it views."""
    trace = current_trace()
    if array.scope is not trace:
        raise MutationError(
            f"an array made outside of this {trace.name} is written inside it",
            where=str(here()),
            details=[f"array: {array.trace.type_of(array)}, made in: {array.scope.name}"],
            fix="copy it inside the function (buffer = array.copy()), or return the new values",
        )
    if new.dtype != array.dtype:
        require_same_kind(new.dtype, array.dtype)
        new = new.astype(array.dtype)
    alias = array.alias
    if alias is None:
        array.rebind(new)
        return
    if alias.parent is None:
        array.rebind(new)
        alias.version += 1
        return
    if alias.put is None:
        raise ValueError("assignment destination is read-only")
    write(alias.parent, alias.put(alias.parent, new))
    array.rebind(new)
    alias.seen = alias.root().version


def require_same_kind(new: np.dtype[Any], old: np.dtype[Any]) -> None:
    """Refuse to write floats into integers and complex numbers into floats: it cuts gradients."""
    if not np.can_cast(new, old, "same_kind"):
        kind = "complex" if new.kind == "c" else "floating"
        raise DTypeError(
            f"writing {new} values into an array of dtype {old} would cut their gradient",
            where=str(here()),
            fix=f"create the buffer with a {kind} dtype",
        )

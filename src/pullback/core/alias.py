"""Views of traced arrays: what is written to one of them is seen by all.

In-place code gives a handle another value. A view remembers its base, how to read itself from
there and how to write itself back; it reads again when the base was written since.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pullback import tree
from pullback.core.source import here
from pullback.core.strides import Strides, contiguous, stand_in
from pullback.core.trace import Handle, current_trace
from pullback.errors import DTypeError, MutationError

__all__ = [
    "Alias",
    "as_arguments",
    "as_memory",
    "base_of",
    "is_same",
    "is_scalar",
    "is_writeable",
    "memory",
    "require_same_kind",
    "share_memory",
    "sharing",
    "view",
    "write",
]


class Alias:
    """What is known of the memory of an array.

    Of a view: its base, how to read it from there and how to write it back. Of an array with memory
    of its own: the ``strides`` it was made with, if writes may have changed those of its value; and
    how many writes there were.
    """

    __slots__ = ("get", "key", "overlaps", "parent", "put", "seen", "strides", "version")

    def __init__(
        self,
        parent: Handle | None = None,
        get: Any = None,
        put: Any = None,
        strides: Strides | Handle | None = None,
    ) -> None:
        self.parent, self.get, self.put = parent, get, put
        self.strides = strides
        self.overlaps = False  # partly with another argument
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
        if is_scalar(parent):  # immutable: what comes of it has memory of its own
            return result
        if parent.alias is None:
            parent.alias = Alias()
        result.alias = Alias(parent, get, put)
    return result


def is_scalar(array: Handle) -> bool:
    """Whether NumPy would have a scalar here: immutable, and shared with nothing.

    An array without axes has an alias, be it of itself only; a result of an operation has none.
    """
    return array.alias is None and not array.traced_by.shape_of(array)


def as_memory(array: Any) -> Any:
    """``array`` as one that can be written to even without axes, where NumPy has no scalar."""
    if isinstance(array, Handle) and array.alias is None and not array.shape:
        array.alias = Alias()
    return array


def as_arguments(handles: Sequence[Handle], values: Sequence[Any]) -> None:
    """Give the handles of arguments the memory of the ``values`` that they stand for.

    An array without axes can be written to, a number cannot; the same array given twice is one, so
    that a write to either is seen by both.
    """
    owners: dict[int, list[tuple[Handle, Any]]] = {}
    for handle, value in zip(handles, values, strict=True):
        if type(value) is np.ndarray:
            if value.ndim < 2 and not (value.ndim and value.flags.c_contiguous):
                handle.alias = Alias(strides=value.strides)
            owner: Any = value if value.base is None else value.base
        elif isinstance(value, Handle):
            if value.alias is not None and value.traced_by.type_of(value).ndim < 2:
                handle.alias = Alias(strides=memory(value).strides)
            base = base_of(value)
            owner = value if base is None else base
        else:
            continue
        owners.setdefault(id(owner), []).append((handle, value))
    if len(owners) < len(handles):
        for group in owners.values():
            for k, (handle, value) in enumerate(group):
                for earlier, other in group[:k]:
                    unite(earlier, other, handle, value)


def sharing(args: Sequence[Any], numbers: Sequence[int]) -> list[int]:
    """Positions of further arguments that hold memory of those at ``numbers``.

    They are traced along, so that a write to one is seen in the other as NumPy has it.
    """
    memory = set(map(owner, tree.leaves([args[n] for n in numbers])))
    found = []
    for n, arg in enumerate(args):
        if n not in numbers:
            leaves = [arg] if type(arg) is np.ndarray else tree.leaves(arg)
            if memory.isdisjoint(map(owner, leaves)):
                continue
            if all(
                (type(a) is np.ndarray or isinstance(a, Handle)) and a.dtype.kind == "f"
                for a in leaves
            ):
                found.append(n)
    return found


def owner(value: Any) -> int:
    base = base_of(value) if isinstance(value, Handle) else getattr(value, "base", None)
    return id(value if base is None else base)


def unite(first: Handle, a: Any, second: Handle, b: Any) -> None:
    """Two arguments of one owner: one array, parts that overlap, or parts apart."""
    if is_same(a, b):
        if first.alias is None:
            first.alias = Alias()
        second.alias = Alias(first, lambda base: base, lambda _, new: new)
    elif share_memory(a, b):
        for handle in (first, second):
            handle.alias = handle.alias or Alias()
            handle.alias.overlaps = True


def share_memory(a: Any, b: Any) -> bool:
    """Whether a write to one of two arrays may be seen in the other."""
    if isinstance(a, Handle):
        if is_scalar(a) or is_scalar(b):
            return False
        roots: dict[int, Any] = {}
        a, b = memory(a, roots), memory(b, roots)
    return np.shares_memory(a, b)


def is_same(a: Any, b: Any) -> bool:
    """Whether two arrays are the same elements at the same places."""
    if isinstance(a, Handle):
        if is_scalar(a) or is_scalar(b):
            return False
        roots: dict[int, Any] = {}
        a, b = memory(a, roots), memory(b, roots)
    return a is b or (
        a.ctypes.data == b.ctypes.data
        and (a.shape, a.strides, a.dtype) == (b.shape, b.strides, b.dtype)
    )


def overlapping(array: Handle) -> MutationError:
    return MutationError(
        "an argument is written that overlaps another argument in memory",
        where=str(here()),
        details=[f"array: {array.traced_by.type_of(array)}"],
        fix="pass a copy of one of them (x.copy())",
    )


def base_of(array: Handle) -> Handle | None:
    """The array that owns the memory of a view; ``None`` for one that has its own."""
    base = None
    while array.alias is not None and array.alias.parent is not None:
        base = array = array.alias.parent
    return base


def is_writeable(array: Handle) -> bool:
    """Whether NumPy would write to ``array``: no scalar, nor a view that is read-only."""
    if is_scalar(array):
        return False
    while array.alias is not None and array.alias.parent is not None:
        if array.alias.put is None:
            return False
        array = array.alias.parent
    return True


def memory(array: Handle, roots: dict[int, Any] | None = None) -> Any:
    """A plain array of zeros that lies as NumPy would have ``array`` lie in memory.

    Views of one array share memory with one another if they are asked for with the same ``roots``.
    """
    alias, kind = array.alias, array.traced_by.type_of(array)
    if alias is not None and alias.parent is not None:
        return alias.get(memory(alias.parent, roots))
    if roots is not None:
        return roots.setdefault(id(array), memory(array))
    if alias is not None and alias.strides is not None:
        strides = alias.strides
    elif kind.ndim > 1:
        strides = array.traced_by.strides_of(array)
    else:
        strides = contiguous(kind)
    if isinstance(strides, Handle):
        assert alias is not None
        strides = alias.strides = strides.traced_by.strides_of(strides)
    return stand_in(kind, strides)


def write(array: Handle, new: Any) -> None:
    """Overwrite the whole content of ``array`` by ``new`` (same shape), and of what it views."""
    trace = current_trace()
    if is_scalar(array):
        raise TypeError("a NumPy scalar cannot be written to")
    if array.scope is not trace:
        raise MutationError(
            f"an array made outside of this {trace.name} is written inside it",
            where=str(here()),
            details=[f"array: {array.traced_by.type_of(array)}, made in: {array.scope.name}"],
            fix="copy it inside the function (buffer = array.copy()), or return the new values",
        )
    if new.dtype != array.dtype:
        require_same_kind(new.dtype, array.dtype)
        new = new.astype(array.dtype)
    alias = array.alias
    if alias is None or alias.parent is None:
        if alias is not None and alias.overlaps:
            raise overlapping(array)
        array.traced_by.wrote(array)
        if array.ndim > 1:
            if alias is None or alias.strides is None:
                alias = array.alias = alias or Alias()
                alias.strides = lasting_strides(array)
            array.rebind(new)
            array.traced_by.lay(array, alias.strides)
        else:
            array.rebind(new)
        if alias is not None:
            alias.version += 1
        return
    if alias.put is None:
        raise ValueError("assignment destination is read-only")
    write(alias.parent, alias.put(alias.parent, new))
    array.rebind(new)
    alias.seen = alias.root().version


def lasting_strides(array: Handle) -> Strides | Handle:
    """The strides of the first value, which are those of the array whatever it will hold.

    Where only types are known it is that value: its strides take work, and may never be asked for.
    """
    innermost = array
    while isinstance(innermost.value, Handle):
        innermost = innermost.value
    if innermost.traced_by.abstract:
        return type(array)(array.traced_by, array.value, array.aux)
    return array.traced_by.strides_of(array)


def require_same_kind(new: np.dtype[Any], old: np.dtype[Any]) -> None:
    """Refuse to write floats into integers and complex numbers into floats: it cuts gradients."""
    if not np.can_cast(new, old, "same_kind"):
        kind = "complex" if new.kind == "c" else "floating"
        raise DTypeError(
            f"writing {new} values into an array of dtype {old} would cut their gradient",
            where=str(here()),
            fix=f"create the buffer with a {kind} dtype",
        )

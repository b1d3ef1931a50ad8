"""What a staged function has read from outside, and whether that holds still."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pullback.core.guard import fingerprint
from pullback.transforms.stage import Staged, lying

__all__ = ["NUMBERS", "Readings", "Watch", "are_numbers", "contents", "through"]

NUMBERS = (bool, int, float, complex, str, bytes, type(None), np.generic)


class Watch:
    """A place outside, and what was found there."""

    __slots__ = ("found", "look")

    def __init__(self, look: Callable[[], Any], found: Any) -> None:
        self.look = look
        self.found = found

    def is_same(self) -> bool:
        """Whether the same is found there now; equal numbers of one type are the same."""
        try:
            now = self.look()
        except (AttributeError, LookupError, ValueError):
            return False
        if now is self.found:
            return True
        if type(now) is not type(self.found):
            return False
        if isinstance(now, tuple):  # of numbers
            same_types = list(map(type, now)) == list(map(type, self.found))
            return same_types and are_numbers(now) and now == self.found
        return isinstance(now, NUMBERS) and bool(now == self.found)


def are_numbers(values: Any) -> bool:
    """Whether all are numbers or other plain values of Python."""
    return all(isinstance(value, NUMBERS) for value in values)


def through(look: Callable[[], Any], function: Callable[[Any], Any]) -> Any:
    """``function`` of what is at a place now."""
    return function(look())


def contents(container: Any) -> tuple[Any, ...]:
    """The keys and values of a dictionary in a row, or the elements of a list."""
    if type(container) is dict:
        return (*container, *container.values())
    return tuple(container)


class Readings:
    """What a staged function has read from outside, and whether it holds still."""

    def __init__(
        self,
        staged: Staged,
        watches: list[Watch],
        pinned: list[tuple[Any, Any]],
        slots: dict[int, list[int]],
    ) -> None:
        self.staged = staged
        self.watches = watches
        self.pinned = pinned
        self.slots = slots
        self.scattered = [
            i
            for i, value in enumerate(staged.captured)
            if type(value) is np.ndarray and not is_in_a_row(value)
        ]

    def are_current(self) -> bool:
        """Whether what was staged is what would be staged now. Arrays are replaced by new ones."""
        for watch in self.watches:
            if not (watch.is_same() or self.follow(watch)):
                return False
        return all(fingerprint(array) == content for array, content in self.pinned)

    def follow(self, watch: Watch) -> bool:
        """Take the new array that was put in a place in the stead of the old one, if it fits."""
        old = watch.found
        if id(old) not in self.slots:
            return False
        new = watch.look()
        if type(new) is not np.ndarray:
            return False
        is_shared = sum(other.found is old for other in self.watches) > 1
        if is_shared or any(array is old for array, _ in self.pinned):
            return False
        if (old.shape, old.strides, old.dtype) != (new.shape, new.strides, new.dtype):
            return False
        for i in self.slots[id(old)]:
            self.staged.captured[i] = lying(new)[0]
        self.slots[id(new)] = self.slots.pop(id(old))
        watch.found = new
        return True

    def in_a_row(self) -> list[Any]:
        """The captured values, arrays that native code cannot read in place as copies."""
        if not self.scattered:
            return self.staged.captured
        values = list(self.staged.captured)
        for i in self.scattered:
            values[i] = np.array(values[i], dtype=values[i].dtype.newbyteorder("="), order="C")
        return values

    def seen_by(self, trace: Any) -> None:
        """Let what is being staged further out hold only as long as this does."""
        while trace is not None:
            reader = getattr(trace, "reader", None)
            if reader is not None:
                for watch in self.watches:
                    reader.watches[id(watch), watch.look] = Watch(watch.look, watch.found)
                reader.trace.pinned.update({id(array): (array, was) for array, was in self.pinned})
            trace = trace.outer


def is_in_a_row(array: np.ndarray[Any, Any]) -> bool:
    return array.flags.c_contiguous and array.flags.aligned and array.dtype.isnative

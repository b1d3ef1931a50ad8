"""Fingerprints of the user's arrays that a derivative still needs.

An array that Pullback did not make can be overwritten by its owner before the backward pass
reads it. Residuals in such memory are fingerprinted when they are kept and checked when they are
read; a difference is refused, because the gradient would be silently wrong.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pullback.core.source import Origin, Source, origin
from pullback.errors import MutationError

__all__ = ["Guard", "fingerprint", "root"]

SMALL_BYTES = 1 << 14
SIDE, ROWS = 509, 256  # of a block of words; the side is prime, the block fits a cache


def root(array: np.ndarray[Any, Any]) -> Any:
    """The object that owns the memory of ``array``."""
    owner: Any = array
    while isinstance(owner, np.ndarray) and owner.base is not None:
        owner = owner.base
    return owner


def fingerprint(array: np.ndarray[Any, Any]) -> Any:
    """Content of a small array; of a large one, sums of its words along rows and columns of blocks.

    The sums run at the speed of memory, six times faster than a checksum. They are taken modulo
    2**64, so an even number of changed sign bits cancels in each; but the rows of a block have a
    prime length, so what changes in a pattern of the user's shape does not cancel in all of them.
    """
    if array.nbytes <= SMALL_BYTES:
        return array.tobytes()
    flat = array.ravel(order="K").view(np.uint8)
    n = flat.size // (8 * SIDE) * SIDE
    found = [flat[8 * n :].tobytes()]
    rows = flat[: 8 * n].view(np.uint64).reshape(-1, SIDE)
    for block in (rows[i : i + ROWS] for i in range(0, len(rows), ROWS)):
        found += [block.sum(axis=0).tobytes(), block.sum(axis=1).tobytes()]
    return found


def is_read_only(array: np.ndarray[Any, Any]) -> bool:
    """Whether the memory of ``array`` was declared constant (``flags.writeable = False``)."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return not array.flags.writeable


class Guard:
    """The foreign arrays of one trace and what they held when they were kept."""

    __slots__ = ("kept", "owners")

    def __init__(self) -> None:
        self.owners: dict[int, Any] = {}
        self.kept: dict[int, tuple[np.ndarray[Any, Any], Any, Origin | None]] = {}

    def foreign(self, array: np.ndarray[Any, Any]) -> None:
        """Note that ``array`` came from outside, so that its memory may change."""
        owner = array if array.base is None else root(array)
        self.owners[id(owner)] = owner

    def keep(self, array: Any, foreign: bool = False) -> None:
        """Fingerprint ``array`` if it is foreign or lies in foreign memory."""
        if type(array) is not np.ndarray or id(array) in self.kept:
            return
        if not foreign:
            owner = array if array.base is None else root(array)
            if id(owner) not in self.owners and type(owner) is np.ndarray:
                return
        if array.nbytes <= SMALL_BYTES or not is_read_only(array):
            self.kept[id(array)] = (array, fingerprint(array), origin())

    def expose(self, array: np.ndarray[Any, Any]) -> None:
        """Note that ``array`` leaves for the user's hands, and what it holds as a residual."""
        self.foreign(array)
        self.kept.setdefault(id(array), (array, fingerprint(array), None))

    def check(self) -> None:
        """Raise unless every kept array still holds what it held.

        Raises:
            MutationError: naming the line that used the array.
        """
        for array, content, used in self.kept.values():
            if fingerprint(array) != content:
                raise MutationError(
                    "an array was changed after a traced operation used it, and before its "
                    "gradient was computed",
                    where=f"used at {Source(*used)}" if used else None,
                    details=[f"array: {array.dtype}{list(array.shape)}"],
                    fix="work on a copy: use array.copy() in the operation, or write the new "
                    "values into another array",
                )

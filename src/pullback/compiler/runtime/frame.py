"""What a call of a program is given: its arrays in a list, and a frame of working memory.

The words behind the head of an ``ndarray`` are part of NumPy's binary interface, those of a list of
CPython's; native code reads them itself.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np

from pullback.core.types import ArrayType
from pullback.errors import CompileError

__all__ = [
    "ALIGNMENT",
    "DATA",
    "DESCR",
    "DIMS",
    "FLAGS",
    "HEAD_WORDS",
    "ITEMS",
    "LENGTH",
    "MISMATCH",
    "NDIM",
    "N_WORDS",
    "RAISED",
    "READY",
    "SEEN",
    "THROWN",
    "TYPE",
    "WATCH",
    "Frame",
    "check_layout",
    "expectations",
]

ALIGNMENT = 64
HEAD = object.__basicsize__  # reference count(s), then the type
TYPE, LENGTH, ITEMS = HEAD - 8, HEAD, HEAD + 8
DATA, NDIM, DIMS, DESCR, FLAGS = (HEAD + n for n in (0, 8, 16, 40, 48))
READY = 0x0001 | 0x0100  # C-contiguous and aligned
N_WORDS = 6
WATCH, SEEN, THROWN = 3, 4, 5  # words behind the status, ``run`` of the pool, and the pool
HEAD_WORDS = 8  # what is thrown takes three words; the callbacks follow
MISMATCH = -1
RAISED = -2  # the status that Python code leaves when it has raised


def expectations(types: Sequence[ArrayType]) -> Any:
    """What arrays are compared with: their number, then dtype, dimensions and shape of each."""
    words = [len(types)]
    for type in types:
        words += [id(type.dtype), type.ndim, *type.shape]
    return (ctypes.c_int64 * len(words))(*words)


class Frame:
    """Working memory of one running call, kept for later ones; ``address`` is that of its words."""

    __slots__ = ("address", "kept", "status", "words")

    def __init__(
        self, program: int, arena_bytes: int, expected: Any, addresses: Sequence[int]
    ) -> None:
        arena = np.empty(arena_bytes + ALIGNMENT, np.uint8)
        table = (ctypes.c_void_p * max(expected[0], 1))()
        self.words = status = (ctypes.c_int64 * (1 + len(addresses)))(0, *addresses)
        words = (ctypes.c_int64 * N_WORDS)(
            id(np.ndarray),
            program,
            -(-arena.ctypes.data // ALIGNMENT) * ALIGNMENT,
            ctypes.addressof(table),
            ctypes.addressof(status),
            ctypes.addressof(expected),
        )
        self.address = ctypes.addressof(words)
        self.status = ctypes.addressof(status)
        self.kept = (arena, table, expected, words)

    def throw(self) -> None:
        """Raise what a handler of a signal has raised while the program ran, if any has."""
        if self.words[THROWN]:
            ctypes.pythonapi.PyErr_Restore(*map(ctypes.c_void_p, self.words[THROWN:HEAD_WORDS]))


def check_layout() -> None:
    """Compare what ``enter`` would read with what Python says.

    Raises:
        CompileError: if this Python or NumPy keeps its objects in another way.
    """
    array = np.empty((2, 3), np.float32)
    holder = [array]

    def word(address: int) -> int:
        return ctypes.c_int64.from_address(address).value

    read = [
        word(word(id(holder) + ITEMS)),
        word(id(array) + TYPE),
        word(id(array) + DATA),
        ctypes.c_int32.from_address(id(array) + NDIM).value,
        word(word(id(array) + DIMS) + 8),
        word(id(array) + DESCR),
        ctypes.c_int32.from_address(id(array) + FLAGS).value & READY,
    ]
    expected = [id(array), id(np.ndarray), array.ctypes.data, 2, 3, id(array.dtype), READY]
    if read != expected:
        raise CompileError(
            "this Python or NumPy lays out arrays in a way that native code does not know",
            details=[f"NumPy {np.__version__}", f"read {read}, expected {expected}"],
            fix="run without compile, and report these versions",
        )

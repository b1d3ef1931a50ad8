"""The way into a program: check the caller's arrays, collect their addresses, run.

Python would need a microsecond for the address of each array, so native code reads the arrays
itself: the words behind the head of an ``ndarray`` are part of NumPy's binary interface, those of a
list of CPython's.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np

from pullback.compile.ir import I32, I64, POINTER, ir, loop
from pullback.compile.plan import ALIGNMENT
from pullback.core.types import ArrayType
from pullback.errors import CompileError

__all__ = [
    "HEAD_WORDS",
    "MAIN",
    "MISMATCH",
    "Callee",
    "Frame",
    "check_layout",
    "emit_entry",
    "expectations",
]

HEAD = object.__basicsize__  # reference count(s), then the type
TYPE, LENGTH, ITEMS = HEAD - 8, HEAD, HEAD + 8
DATA, NDIM, DIMS, DESCR, FLAGS = (HEAD + n for n in (0, 8, 16, 40, 48))
READY = 0x0001 | 0x0100  # C-contiguous and aligned
N_WORDS = 6
HEAD_WORDS = 3  # status, ``run`` of the pool, pool; the callbacks follow
MISMATCH = -1
MAIN = ir.FunctionType(ir.VoidType(), [POINTER] * 3)


class Callee:
    """A function known by its address, for ``builder.call``."""

    def __init__(self, address: Any, signature: Any) -> None:
        self.type = signature.return_type
        self.function_type = signature
        self.get_reference = address.get_reference


def expectations(types: Sequence[ArrayType]) -> Any:
    """What arrays are compared with: their number, then dtype, dimensions and shape of each."""
    words = [len(types)]
    for type in types:
        words += [id(type.dtype), type.ndim, *type.shape]
    return (ctypes.c_int64 * len(words))(*words)


class Frame:
    """Working memory of one running call, kept for later ones; ``address`` is that of its words."""

    __slots__ = ("address", "kept", "status")

    def __init__(
        self, program: int, arena_bytes: int, expected: Any, addresses: Sequence[int]
    ) -> None:
        arena = np.empty(arena_bytes + ALIGNMENT, np.uint8)
        table = (ctypes.c_void_p * max(expected[0], 1))()
        status = (ctypes.c_int64 * (1 + len(addresses)))(0, *addresses)
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
        self.kept = (arena, table, status, expected, words)


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


def emit_entry() -> str:
    """LLVM text of ``i32 main(list, frame)``, which runs the program of a :class:`Frame`.

    The result is ``MISMATCH``, before anything is run, if the list is not one of contiguous arrays
    of the expected types; else what the program leaves in its status.
    """
    module = ir.Module("entry")
    function = ir.Function(module, ir.FunctionType(I32, [POINTER] * 2), "main")
    items_of, frame = function.args
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    refuse = function.append_basic_block("refuse")

    def word(base: Any, n_bytes: int = 0, typ: Any = I64) -> Any:
        place = builder.gep(base, [ir.Constant(I64, n_bytes)], source_etype=ir.IntType(8))
        return builder.load(place, typ=typ)

    def item(base: Any, i: Any) -> Any:
        return builder.gep(base, [i], source_etype=I64)

    def require(left: Any, right: Any) -> None:
        go_on = builder.append_basic_block("fits")
        builder.cbranch(builder.icmp_signed("==", left, right), go_on, refuse)
        builder.position_at_end(go_on)

    array_type, program, arena, table, status, expected = (
        word(frame, 8 * k, POINTER) for k in range(N_WORDS)
    )
    cursor = builder.alloca(POINTER)
    builder.store(item(expected, ir.Constant(I64, 1)), cursor)
    n_arrays = word(expected)
    require(word(items_of, LENGTH), n_arrays)
    items = word(items_of, ITEMS, POINTER)
    with loop(builder, n_arrays) as i:
        array = builder.load(item(items, i), typ=POINTER)
        wanted = builder.load(cursor, typ=POINTER)
        require(word(array, TYPE, POINTER), array_type)
        require(word(array, DESCR), word(wanted))
        n_axes = word(wanted, 8)
        require(builder.sext(word(array, NDIM, I32), I64), n_axes)
        ready = ir.Constant(I32, READY)
        require(builder.and_(word(array, FLAGS, I32), ready), ready)
        dims, shape = word(array, DIMS, POINTER), item(wanted, ir.Constant(I64, 2))
        with loop(builder, n_axes) as axis:
            require(word(item(dims, axis)), word(item(shape, axis)))
        builder.store(item(shape, n_axes), cursor)
        builder.store(word(array, DATA), item(table, i))
    builder.store(ir.Constant(I32, 0), status)
    builder.call(Callee(program, MAIN), [table, arena, status])
    builder.ret(builder.load(status, typ=I32))
    builder.position_at_end(refuse)
    builder.ret(ir.Constant(I32, MISMATCH))
    return str(module)

"""Random bits: the counter-based generator Philox-4x64-10.

Salmon, Moraes, Dror and Shaw (2011), *Parallel random numbers: as easy as 1, 2, 3*, section 3.3.
Every block of four numbers is the cipher of its own counter, in the order of ``numpy.random``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pullback.compiler.llvm.builder import I64, ir, loop, loops
from pullback.compiler.llvm.scalars import Scalar
from pullback.compiler.loops.maps import Kernel

__all__ = ["emit_random_bits"]

I128 = ir.IntType(128)
ZERO = ir.Constant(I64, 0)
MULTIPLIERS = (0xD2E7470EE14C6C93, 0xCA5A826395121157)
WEYL = (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)  # what the keys grow by from round to round
ROUNDS = 10
BLOCK = 4


def emit_random_bits(kernel: Kernel) -> None:
    """Numbers of the generator at each state of the operand."""
    (state,), (out,) = kernel.equation.inputs, kernel.equation.outputs
    n = int(np.prod(kernel.equation.params["shape"]))
    build = kernel.builder
    with loops(build, state.type.shape[:-1]) as row:
        key0, key1, counter = (
            kernel.value(state, [*row, ir.Constant(I64, i)]).value for i in range(3)
        )
        kernel.forget()
        start = kernel.position(out.type.with_shape((*state.type.shape[:-1], n)), [*row, ZERO])

        def block(i: Any, length: int) -> None:
            """The first ``length`` numbers of block ``i``."""
            first = build.add(build.mul(i, ir.Constant(I64, BLOCK)), start)
            number = build.add(build.zext(counter, I128), build.zext(i, I128))
            number = build.add(number, ir.Constant(I128, 1))
            for k, word in enumerate(cipher(build, number, [key0, key1])[:length]):
                place = build.add(first, ir.Constant(I64, k))
                kernel.emit.store(Scalar(word, np.uint64), kernel.pointer(out), place)

        with loop(build, n // BLOCK) as i:
            block(i, BLOCK)
        if n % BLOCK:
            block(ir.Constant(I64, n // BLOCK), n % BLOCK)


def halves(build: ir.IRBuilder, wide: Any) -> tuple[Any, Any]:
    """The upper and the lower 64 bits."""
    return build.trunc(build.lshr(wide, ir.Constant(I128, 64)), I64), build.trunc(wide, I64)


def cipher(build: ir.IRBuilder, counter: Any, keys: list[Any]) -> list[Any]:
    """Four words from a counter of 128 bits."""
    high, low = halves(build, counter)
    words = [low, high, ZERO, ZERO]
    for _ in range(ROUNDS):
        products = [
            halves(build, build.mul(build.zext(word, I128), ir.Constant(I128, factor)))
            for word, factor in zip(words[::2], MULTIPLIERS, strict=True)
        ]
        (high0, low0), (high1, low1) = products
        words = [
            build.xor(build.xor(high1, words[1]), keys[0]),
            low1,
            build.xor(build.xor(high0, words[3]), keys[1]),
            low0,
        ]
        keys = [build.add(k, ir.Constant(I64, w)) for k, w in zip(keys, WEYL, strict=True)]
    return words

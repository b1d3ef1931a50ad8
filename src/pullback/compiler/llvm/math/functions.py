"""The functions of ``math.h`` that are inlined, by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from pullback.compiler.llvm.builder import ir
from pullback.compiler.llvm.math.exponential import Elementary
from pullback.compiler.llvm.math.floats import Real
from pullback.compiler.llvm.math.powers import cbrt, hypot, power
from pullback.compiler.llvm.math.trigonometric import (
    acos,
    any_quadrant,
    asin,
    atan,
    atan2,
    cos,
    sin,
    tan,
)

__all__ = ["BEYOND", "INLINE", "LIMIT", "inlined"]

INLINE: dict[str, Callable[..., Real]] = {
    "exp": Elementary.exp,
    "exp2": Elementary.exp2,
    "expm1": Elementary.expm1,
    "log": Elementary.log,
    "log1p": Elementary.log1p,
    "log2": Elementary.log2,
    "log10": Elementary.log10,
    "sinh": Elementary.sinh,
    "cosh": Elementary.cosh,
    "tanh": Elementary.tanh,
    "asinh": Elementary.asinh,
    "acosh": Elementary.acosh,
    "atanh": Elementary.atanh,
    "erf": Elementary.erf,
    "erfc": Elementary.erfc,
    "sin": sin,
    "cos": cos,
    "tan": tan,
    "asin": asin,
    "acos": acos,
    "atan": atan,
    "atan2": atan2,
    "pow": power,
    "cbrt": cbrt,
    "hypot": hypot,
}
BINARY = {"atan2", "hypot", "pow"}
IN_DOUBLE = {"erf", "erfc", "sin", "cos", "tan"}  # float32, too, is computed in float64
LIMIT = 2.0**20  # where these cease to be right
BEYOND = {name: partial(INLINE[name], reduced=any_quadrant) for name in ("sin", "cos", "tan")}


def inlined(module: ir.Module, name: str, kind: Any, n_bytes: int, is_limited: bool) -> Any:
    """The LLVM function of this name for numbers of type ``kind``; ``None`` if it has none.

    ``is_limited``: arguments beyond ``LIMIT`` may give anything.
    """
    body = INLINE.get(name)
    if body is None:
        return None
    symbol = f"{name}_{8 * n_bytes}"
    if name in BEYOND and not is_limited:
        body, symbol = BEYOND[name], f"any_{symbol}"
    function = module.globals.get(symbol)
    if function is None:
        n_args = 2 if name in BINARY else 1
        function = ir.Function(module, ir.FunctionType(kind, [kind] * n_args), symbol)
        function.linkage = "internal"
        function.attributes.add("alwaysinline")
        build = ir.IRBuilder(function.append_basic_block())
        args = function.args
        if name in IN_DOUBLE and n_bytes == 4:
            args = [build.fpext(x, ir.DoubleType()) for x in args]
            n_bytes = 8
        value = body(Elementary(n_bytes), *[Real(build, x) for x in args]).value
        build.ret(value if value.type == kind else build.fptrunc(value, kind))
    return function

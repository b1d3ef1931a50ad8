"""When loops end early: a step has failed, or a handler of a signal has raised an exception."""

from __future__ import annotations

from typing import Any

from pullback.compiler.llvm.builder import I1, I32, I64, POINTER, ir
from pullback.compiler.program.entry import Callee
from pullback.compiler.runtime.frame import RAISED, SEEN, THROWN, WATCH

__all__ = ["emit_look", "emit_stopped"]

LOOK = ir.FunctionType(ir.VoidType(), [POINTER])
TICK, LOOK_AT, MAIN_THREAD, ENSURE, CHECK, FETCH, RELEASE = range(7)  # words of a watch


def word_at(builder: ir.IRBuilder, base: Any, i: int) -> Any:
    return builder.gep(base, [I64(i)], source_etype=I64)


def emit_stopped(builder: ir.IRBuilder, status: Any) -> Any:
    """Whether a loop must end: a call of ``i1 stopped(status)``, which is written once a module."""
    module = builder.module
    function = module.globals.get("stopped") or emit_question(module)
    return builder.call(function, [status])


def emit_question(module: ir.Module) -> Any:
    """``stopped``: looks for signals if the tick is not the one that was seen last."""
    function = ir.Function(module, ir.FunctionType(I1, [POINTER]), "stopped")
    function.linkage = "internal"
    (status,) = function.args
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    watch = builder.load(word_at(builder, status, WATCH), typ=POINTER)
    tick = builder.load_atomic(word_at(builder, watch, TICK), "monotonic", 8, typ=I64)
    seen = builder.load_atomic(word_at(builder, status, SEEN), "monotonic", 8, typ=I64)
    with builder.if_then(builder.icmp_signed("!=", tick, seen), likely=False):
        look = builder.load(word_at(builder, watch, LOOK_AT), typ=POINTER)
        builder.call(Callee(look, LOOK), [status])
    code = builder.load_atomic(status, "monotonic", 4, typ=I32)
    builder.ret(builder.icmp_signed("!=", code, I32(0)))
    return function


def emit_look(module: ir.Module) -> None:
    """``look(status)``: in the main thread, let Python run handlers of signals.

    What a handler raises is taken from Python and kept behind the status, for the call to raise
    when it has come back.
    """
    function = ir.Function(module, LOOK, "look")
    (status,) = function.args
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    watch = builder.load(word_at(builder, status, WATCH), typ=POINTER)

    def call(i: int, signature: ir.FunctionType, *args: Any) -> Any:
        address = builder.load(word_at(builder, watch, i), typ=POINTER)
        return builder.call(Callee(address, signature), args)

    own = ir.Function(module, ir.FunctionType(I64, []), "pthread_self")
    main = builder.load(word_at(builder, watch, MAIN_THREAD), typ=I64)
    with builder.if_then(builder.icmp_signed("==", builder.call(own, []), main)):
        tick = builder.load_atomic(word_at(builder, watch, TICK), "monotonic", 8, typ=I64)
        builder.store(tick, word_at(builder, status, SEEN))
        state = call(ENSURE, ir.FunctionType(I32, []))
        raised = call(CHECK, ir.FunctionType(I32, []))
        with builder.if_then(builder.icmp_signed("!=", raised, I32(0))):
            places = [word_at(builder, status, THROWN + k) for k in range(3)]
            call(FETCH, ir.FunctionType(ir.VoidType(), [POINTER] * 3), *places)
            builder.store(I32(RAISED), status)
        call(RELEASE, ir.FunctionType(ir.VoidType(), [I32]), state)
    builder.ret_void()

"""From LLVM text to object code: the only file that imports ``llvmlite.binding``.

It is imported where there is text to compile: code from the disk starts without LLVM.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from threading import Thread
from typing import Any

import llvmlite.binding as llvm
from llvmlite.binding import ffi

from pullback.compiler.llvm.split import units
from pullback.compiler.runtime import linker
from pullback.compiler.runtime.lapack import PREFIX, routines
from pullback.compiler.schedule.target import Processor, processor_with

__all__ = ["Code", "compiled", "description", "machine", "meanwhile", "processor"]

OPTIMIZATION = 2  # level 3 takes twice as long and gives no faster code
RELOCATABLE = {"reloc": "pic", "codemodel": "small"}  # what our linker knows
LENGTH_BYTES = 8


@lru_cache(maxsize=1)
def prepare() -> None:
    """Set LLVM up for this process and tell it where the routines of LAPACK are."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    for name, address in routines().items():
        llvm.add_symbol(PREFIX + name, address)


def machine() -> Any:
    """The processor this process runs on; an engine takes ownership of its machine."""
    prepare()
    return llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(),
        features=llvm.get_host_cpu_features().flatten(),
        opt=OPTIMIZATION,
        **RELOCATABLE if linker.IS_KNOWN else {},
    )


@lru_cache(maxsize=1)
def processor() -> Processor:
    """What kernels are made for: the processor that this process runs on."""
    return processor_with(llvm.get_host_cpu_features())


def description() -> str:
    """What LLVM calls this processor, and its features."""
    return f"{llvm.get_host_cpu_name()} {llvm.get_host_cpu_features().flatten()}"


def compile_text(text: str, host: Any) -> bytes:
    """Verify and optimize LLVM text; returns object code.

    Several threads may do so: each has a context of its own.
    """
    module = llvm.parse_assembly(text, llvm.create_context())
    module.triple = host.triple
    module.data_layout = str(host.target_data)
    module.verify()
    options = llvm.create_pipeline_tuning_options(OPTIMIZATION)
    options.loop_vectorization = options.slp_vectorization = True
    options.loop_unrolling = False  # but where the loop asks for it: half the time for 2% of speed
    passes = llvm.create_pass_builder(host, options)
    manager = passes.getModulePassManager()
    unlocked(ffi.lib.LLVMPY_RunNewModulePassManager)(manager, module, passes)
    # Its own `close` does nothing, since it inherits two: 100 kB would stay.
    ffi.lib.LLVMPY_DisposeNewModulePassManger(manager)
    manager.detach()
    return emit_object(host, module)


def compile_unit(text: str) -> bytes:
    """Object code for this processor."""
    return compile_text(text, machine())


def emit_object(host: Any, module: Any) -> bytes:
    """Object code of a module, as ``host.emit_object`` gives it to one thread at a time."""
    with ffi.OutputString() as message:
        emit = unlocked(ffi.lib.LLVMPY_TargetMachineEmitToMemory)
        buffer = emit(host, module, 1, message)
        if not buffer:
            raise RuntimeError(str(message))
    try:
        start, n = ffi.lib.LLVMPY_GetBufferStart(buffer), ffi.lib.LLVMPY_GetBufferSize(buffer)
        return ctypes.string_at(start, n)
    finally:
        ffi.lib.LLVMPY_DisposeMemoryBuffer(buffer)


def unlocked(function: Any) -> Any:
    """A function of LLVM that other threads may call meanwhile, without the lock of llvmlite."""
    return getattr(function, "_cfn", function)


def meanwhile(work: Callable[[], bytes]) -> Callable[[], bytes]:
    """Start work of LLVM in a thread of its own; the result waits for it, and raises its errors."""
    codes: list[bytes] = []
    errors: list[Exception] = []

    def run() -> None:
        try:
            codes.append(work())
        except Exception as error:  # noqa: BLE001 - raised again by whoever waits
            errors.append(error)

    def result() -> bytes:
        thread.join()
        if not codes and not errors:  # this process was forked meanwhile
            run()
        if errors:
            raise errors[0]
        return codes[0]

    thread = Thread(target=run)
    thread.start()
    return result


@lru_cache(maxsize=64)
def compiled(text: str) -> bytes:
    """Code of all units of a text, ready to be loaded."""
    results = [meanwhile(partial(compile_unit, unit)) for unit in units(text)]
    codes = [result() for result in results]
    return linker.link(codes) if linker.IS_KNOWN else joined(codes)


def joined(objects: Sequence[bytes]) -> bytes:
    """Object files, each with its length before it: what :class:`Code` takes."""
    return b"".join(len(code).to_bytes(LENGTH_BYTES, "little") + code for code in objects)


class Code:
    """Object files in memory that LLVM has linked, where our linker cannot."""

    def __init__(self, code: bytes) -> None:
        self.engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine())
        while code:
            start = LENGTH_BYTES
            stop = start + int.from_bytes(code[:start], "little")
            self.engine.add_object_file(llvm.ObjectFileRef.from_data(code[start:stop]))
            code = code[stop:]
        self.engine.finalize_object()

    def address(self, name: str) -> int:
        """Where a function is."""
        address: int = self.engine.get_function_address(name)
        return address

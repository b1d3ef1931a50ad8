"""From LLVM text to a running function: the only file that imports ``llvmlite.binding``."""

from __future__ import annotations

import ctypes
import glob
import os
import threading
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import llvmlite.binding as llvm
import numpy as np

from pullback.compile.program import Program, emit_program
from pullback.core.graph import Equation, Graph, Literal
from pullback.errors import CompileError

__all__ = ["Executable", "executable"]

CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
FUNCTION = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
OPTIMIZATION = 3


@lru_cache(maxsize=1)
def prepare() -> None:
    """Set LLVM up for this process and tell it where the matrix products are."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    llvm.add_symbol("cblas_dgemm", blas_address("scipy_cblas_dgemm64_"))
    llvm.add_symbol("cblas_sgemm", blas_address("scipy_cblas_sgemm64_"))


def machine() -> Any:
    """The processor this process runs on; an engine takes ownership of its machine."""
    return llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(),
        features=llvm.get_host_cpu_features().flatten(),
        opt=OPTIMIZATION,
    )


def blas_address(symbol: str) -> int:
    """Address of a CBLAS routine in the OpenBLAS that NumPy's wheel brings."""
    folder = os.path.join(os.path.dirname(os.path.dirname(np.__file__)), "numpy.libs")
    for path in sorted(glob.glob(os.path.join(folder, "libscipy_openblas64_*"))):
        address = ctypes.cast(getattr(ctypes.CDLL(path), symbol), ctypes.c_void_p).value
        if address:
            return address
    raise CompileError(
        "NumPy brings no OpenBLAS library, which compiled matrix products call",
        details=[f"looked in: {folder}"],
        fix="install NumPy's wheel from PyPI",
    )


def machine_code(program: Program, callbacks: Sequence[Any]) -> tuple[Any, int]:
    """Verify, optimize and link the program; returns the engine and the address of ``main``."""
    prepare()
    host = machine()
    for k, callback in enumerate(callbacks):
        llvm.add_symbol(f"callback_{k}", ctypes.cast(callback, ctypes.c_void_p).value)
    module = llvm.parse_assembly(program.text)
    module.triple = host.triple
    module.data_layout = str(host.target_data)
    module.verify()
    options = llvm.create_pipeline_tuning_options(OPTIMIZATION)
    options.loop_vectorization = options.slp_vectorization = True
    passes = llvm.create_pass_builder(host, options)
    passes.getModulePassManager().run(module, passes)
    engine = llvm.create_mcjit_compiler(module, host)
    engine.finalize_object()
    return engine, engine.get_function_address("main")


class Executable:
    """A graph as native code. Call it with arrays of the types of the graph's inputs."""

    lock = threading.Lock()  # callback symbols are named process-wide while linking

    def __init__(self, graph: Graph, allow_callbacks: bool = True) -> None:
        self.graph = graph
        self.program = emit_program(graph, allow_callbacks)
        self.errors: list[BaseException] = []
        self.callbacks = [CALLBACK(self.callback(e)) for e in self.program.callbacks]
        with Executable.lock:
            self.engine, address = machine_code(self.program, self.callbacks)
        self.function = FUNCTION(address)
        self.inputs = [(t.shape, t.dtype) for t in graph.input_types]
        self.outputs = [(t.shape, t.dtype) for t in graph.output_types]
        self.table_type = ctypes.c_void_p * (len(self.inputs) + len(self.outputs))

    def callback(self, equation: Equation) -> Any:
        """Evaluate an equation in NumPy on the program's memory."""
        operands = [v for v in equation.inputs if not isinstance(v, Literal)]

        def view(address: int, shape: tuple[int, ...], dtype: Any) -> Any:
            n_bytes = max(int(np.prod(shape)) * dtype.itemsize, 1)
            memory = (ctypes.c_byte * n_bytes).from_address(address)
            return np.ndarray(shape, dtype, memory)

        def evaluate(table: int) -> None:
            if self.errors:
                return
            try:
                n = len(operands) + len(equation.outputs)
                addresses = (ctypes.c_void_p * n).from_address(table)
                arrays = iter(
                    [
                        view(a, v.type.shape, v.type.dtype)
                        for a, v in zip(addresses, (*operands, *equation.outputs), strict=True)
                    ]
                )
                args = [
                    v.value if isinstance(v, Literal) else next(arrays) for v in equation.inputs
                ]
                result = equation.primitive.numpy(*args, **equation.params)
                parts = result if equation.primitive.multiple else (result,)
                for place, part in zip(arrays, parts, strict=True):
                    place[...] = part
            except BaseException as error:  # noqa: BLE001 - raised again when the native function has returned
                self.errors.append(error)

        return evaluate

    def __call__(self, args: Sequence[Any]) -> list[Any]:
        """Outputs for ``args``; inputs are read in place where they are contiguous.

        Raises:
            IndexError: if an index array points outside of its array.
        """
        held = [
            a
            if type(a) is np.ndarray
            and a.dtype == dtype
            and a.flags.c_contiguous
            and a.flags.aligned
            else np.ascontiguousarray(a, dtype).reshape(shape)
            for a, (shape, dtype) in zip(args, self.inputs, strict=True)
        ]
        results = [np.empty(shape, dtype) for shape, dtype in self.outputs]
        table = self.table_type(*[a.ctypes.data for a in (*held, *results)])
        arena = np.empty(self.program.arena_bytes + 64, np.uint8)
        status = ctypes.c_int32(0)
        self.function(
            ctypes.addressof(table), arena.ctypes.data // 64 * 64 + 64, ctypes.addressof(status)
        )
        if self.errors:
            error = self.errors[0]
            self.errors.clear()
            raise error
        if status.value:
            equation = self.program.checked[status.value - 1]
            array = (
                equation.inputs[0].type
                if equation.primitive.name != "scatter_add"
                else (equation.outputs[0].type)
            )
            raise IndexError(f"an index is out of bounds for {array}, at {equation.source}")
        return results


@lru_cache(maxsize=256)
def executable(graph: Graph, allow_callbacks: bool = True) -> Executable:
    """The native code of a graph, compiled once."""
    return Executable(graph, allow_callbacks)

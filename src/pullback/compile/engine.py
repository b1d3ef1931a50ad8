"""From LLVM text to a running function: the only file that imports ``llvmlite.binding``."""

from __future__ import annotations

import ctypes
import hashlib
import importlib
import threading
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any
from weakref import WeakKeyDictionary

import llvmlite
import llvmlite.binding as llvm
import numpy as np
from llvmlite.binding import ffi

from pullback.compile import cache
from pullback.compile.frame import MISMATCH, Frame, check_layout, expectations
from pullback.compile.image import Failure, Image, digest, sources, surroundings
from pullback.compile.lapack import routines
from pullback.compile.pool import Pool, emit_pool, n_threads
from pullback.compile.processor import Processor, processor_with
from pullback.compile.units import units
from pullback.core.graph import Equation, Graph, Literal
from pullback.core.types import ArrayType
from pullback.errors import CompileError

__all__ = ["Executable", "executable", "pool"]

CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)
ENTRY = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p)
OPTIMIZATION = 2  # level 3 takes twice as long and gives no faster code
SINGULAR = {"solve": "Singular matrix", "cholesky": "Matrix is not positive definite"}
LENGTH_BYTES = 8
RAISED = -2  # the status that a callback leaves when it has raised


@lru_cache(maxsize=1)
def prepare() -> None:
    """Set LLVM up for this process and tell it where the routines of LAPACK are."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    for name, address in routines().items():
        llvm.add_symbol(f"lapack_{name}", address)


def machine() -> Any:
    """The processor this process runs on; an engine takes ownership of its machine."""
    prepare()
    return llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(),
        features=llvm.get_host_cpu_features().flatten(),
        opt=OPTIMIZATION,
    )


@lru_cache(maxsize=1)
def processor() -> Processor:
    """What kernels are made for: the processor that this process runs on."""
    return processor_with(llvm.get_host_cpu_features())


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
    return emit_object(host, module)


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


def key_of(*parts: str) -> str:
    """A name for code that is made from these parts, on this processor."""
    host = llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten(), processor()
    libraries = llvmlite.__version__, sorted(routines())
    text = repr((surroundings(), libraries, host, parts))
    return hashlib.sha256(text.encode()).hexdigest()


@lru_cache(maxsize=64)
def compiled(text: str) -> bytes:
    """Object code of all units of a text, each with its length before it."""
    with ThreadPoolExecutor() as threads:
        objects = [threads.submit(compile_text, unit, machine()) for unit in units(text)]
        codes = [future.result() for future in objects]
    return b"".join(len(code).to_bytes(LENGTH_BYTES, "little") + code for code in codes)


def kept(key: str | None, emit: Callable[[], str]) -> bytes:
    """Object code from the disk, or of the text that ``emit`` returns."""
    code = cache.load(key) if key else None
    if code is None:
        code = compiled(emit())
        if key:
            cache.store(key, code)
    return code


def link(code: bytes) -> tuple[Any, int]:
    """The engine that holds linked object code, and the address of ``main``."""
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine())
    while code:
        start = LENGTH_BYTES
        stop = start + int.from_bytes(code[:start], "little")
        engine.add_object_file(llvm.ObjectFileRef.from_data(code[start:stop]))
        code = code[stop:]
    engine.finalize_object()
    return engine, engine.get_function_address("main")


@lru_cache(maxsize=1)
def entry() -> tuple[Any, Any]:
    """The engine of the native function that runs a program on the arrays of a list, and it.

    Raises:
        RuntimeError: if LLVM does not know the processor.
        CompileError: if this Python keeps its objects in an unknown way.
    """
    check_layout()

    def emit() -> str:
        # What emits code is imported where there is code to emit: a cached start does without.
        text: str = importlib.import_module("pullback.compile.entry").emit_entry()
        others = threading.Thread(target=importlib.import_module, args=["pullback.compile.program"])
        others.start()  # while LLVM compiles this
        return text

    engine, address = link(kept(key_of("entry"), emit))
    return engine, ENTRY(address)


def emit_program(graph: Graph, allow_callbacks: bool, donated: Collection[int]) -> Any:
    """The :class:`~pullback.compile.program.Program` of a graph."""
    module = importlib.import_module("pullback.compile.program")
    return module.emit_program(graph, processor(), allow_callbacks, donated)


def image_of(
    graph: Graph, allow_callbacks: bool, donated: Collection[int]
) -> tuple[Image, list[Equation]]:
    """The program of a graph, from the disk if it is there, and what NumPy evaluates in it.

    The equations that NumPy evaluates are no part of an image.
    """
    name = digest(graph)
    key = key_of(name, str(allow_callbacks), str(donated)) if name else None
    known = cache.load(key) if key else None
    if known is not None:
        return Image.unpack(known), []
    program = emit_program(graph, allow_callbacks, donated)
    numbers = {id(source): i for i, source in enumerate(sources(graph))}
    failures = [failure(e, numbers) for e in program.checked]
    with ThreadPoolExecutor() as threads:
        if program.has_jobs:
            threads.submit(pool_code)
        if key and not program.callbacks and all(f.source is not None for f in failures):
            code = compiled(program.text)
        else:
            key, code = None, kept(key_of("text", program.text), lambda: program.text)
    image = Image(code, program.arena_bytes, program.has_jobs, program.donations, failures)
    if key:
        cache.store(key, image.pack())
    return image, program.callbacks


def failure(equation: Equation, numbers: dict[int, int]) -> Failure:
    """What it means that an equation has failed; ``numbers`` are those of the sources."""
    name, source = equation.primitive.name, numbers.get(id(equation.source))
    array = equation.outputs[0] if name == "scatter_add" else equation.inputs[0]
    message = SINGULAR.get(name, f"an index is out of bounds for {array.type}")
    if source is None:
        message += f", at {equation.source}"
    return Failure(message, name not in SINGULAR, source)


pools: dict[int, Pool] = {}


def pool_code() -> bytes:
    """Object code of the pool."""
    return kept(key_of("pool"), emit_pool)


def pool(threads: int) -> Pool:
    """The pool of this process with so many threads, that of the caller included."""
    if threads not in pools:
        engine = link(pool_code())[0]
        fresh = Pool(engine, engine.get_function_address, threads)
        if pools.setdefault(threads, fresh) is fresh:  # else another thread was faster
            fresh.open()
    return pools[threads]


def native_type(type: ArrayType) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and dtype in memory; equal dtypes are one object."""
    return type.shape, np.dtype(f"{type.dtype.kind}{type.dtype.itemsize}")


def fitting(value: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
    """``value`` as a contiguous array of the given type; itself where it is one."""
    array = np.asarray(value)
    if array.dtype is dtype and array.flags.c_contiguous and array.flags.aligned:
        return array
    fresh = np.empty(shape, dtype)
    fresh[...] = array
    return fresh


class Executable:
    """A graph as native code. Call it with arrays of the types of the graph's inputs."""

    def __init__(
        self,
        graph: Graph,
        allow_callbacks: bool = True,
        threads: int | None = None,
        donated: Collection[int] = (),
    ) -> None:
        self.image, callbacks = image_of(graph, allow_callbacks, donated)
        self.sources = sources(graph) if self.image.failures else []
        self.threads = threads or n_threads()
        self.errors: dict[int, BaseException] = {}  # by the address of the status of their call
        self.callbacks = [CALLBACK(self.callback(e)) for e in callbacks]
        self.addresses = [0, 0]
        if self.image.has_jobs:
            workers = pool(self.threads)
            self.addresses = [workers.run_address, workers.address]
        self.addresses += [address_of(c) for c in self.callbacks]
        self.engine, self.main = link(self.image.code)
        self.enter = entry()[1]
        self.inputs = [native_type(t) for t in graph.input_types]
        self.outputs = [native_type(t) for t in graph.output_types]
        self.results = list(zip(*self.outputs, strict=True)) or [(), ()]  # shapes and dtypes
        self.expected = expectations([ArrayType(*t) for t in (*self.inputs, *self.outputs)])
        self.idle: list[Frame] = []

    def callback(self, equation: Equation) -> Any:
        """Evaluate an equation in NumPy on the program's memory."""
        types = [v.type for v in equation.inputs if not isinstance(v, Literal)]
        types += [v.type for v in equation.outputs]
        errors = self.errors  # the executable itself would be a reference cycle
        is_foreign = equation.primitive.family == "control"  # user code may keep what it is given

        def evaluate(table: int, status: int) -> None:
            state = ctypes.c_int32.from_address(status)
            if state.value:
                return
            try:
                addresses = (ctypes.c_void_p * len(types)).from_address(table)
                arrays = iter([view(a, t) for a, t in zip(addresses, types, strict=True)])
                args = [
                    v.value if isinstance(v, Literal) else next(arrays) for v in equation.inputs
                ]
                if is_foreign:
                    args = [np.copy(a) if type(a) is np.ndarray else a for a in args]
                result = equation.primitive.numpy(*args, **equation.params)
                parts = result if equation.primitive.multiple else (result,)
                for place, part in zip(arrays, parts, strict=True):
                    place[...] = part
            except BaseException as error:  # noqa: BLE001 - raised again when the native function has returned
                errors[status] = error
                state.value = RAISED

        return evaluate

    def attempt(self, args: Sequence[Any]) -> list[Any] | None:
        """Outputs for ``args``, or None if these are not contiguous arrays of the input types.

        Raises:
            IndexError: if an index array points outside of its array.
            LinAlgError: if a matrix is singular or not positive definite.
        """
        results = list(map(np.empty, *self.results))
        if self.image.donations:
            self.donate(args, results)
        arrays = [*args, *results]
        # A frame belongs to one call: other threads, and callbacks that call back, take others.
        try:
            frame = self.idle.pop()
        except IndexError:
            frame = Frame(self.main, self.image.arena_bytes, self.expected, self.addresses)
        status = self.enter(id(arrays), frame.address)
        if status and status != MISMATCH:
            raise self.failure(status, frame)
        self.idle.append(frame)
        return None if status else results

    def donate(self, args: Sequence[Any], results: list[Any]) -> None:
        """Let results be donated inputs, or copies of those whose memory others share."""
        arrays = [a for a in args if type(a) is np.ndarray]
        holders = Counter(id(a if a.base is None else a.base) for a in arrays)
        is_foreign = any(a.base is not None and type(a.base) is not np.ndarray for a in arrays)
        for i, j in self.image.donations:
            given = args[i]
            is_own = type(given) is np.ndarray and given.flags.owndata and given.flags.writeable
            is_free = is_own and holders[id(given)] == 1 and not is_foreign
            results[j] = given if is_free else np.array(given, order="C")

    def failure(self, status: int, frame: Frame) -> BaseException:
        error = self.errors.pop(frame.status, None)
        if error is not None:
            return error
        failed = self.image.failures[status - 1]
        where = "" if failed.source is None else f", at {self.sources[failed.source]}"
        kind = IndexError if failed.is_index else np.linalg.LinAlgError
        return kind(failed.message + where)

    def __call__(self, args: Sequence[Any]) -> list[Any]:
        """Outputs for ``args``; inputs are read in place where they are contiguous."""
        results = self.attempt(args)
        if results is None:
            fits = [fitting(a, *t) for a, t in zip(args, self.inputs, strict=True)]
            results = self.attempt(fits)
            if results is None:
                raise CompileError(
                    "a compiled graph is called with arrays of other shapes",
                    details=[f"expected {self.inputs}", f"given {[a.shape for a in fits]}"],
                )
        return results


def address_of(function: Any) -> int:
    """Where a function that C may call is in memory."""
    return ctypes.cast(function, ctypes.c_void_p).value or 0


def view(address: int, type: ArrayType) -> Any:
    """An array on the program's memory."""
    memory: Any = (ctypes.c_byte * max(type.nbytes, 1)).from_address(address)
    return np.ndarray(type.shape, type.dtype, memory)


executables: WeakKeyDictionary[Graph, dict[Any, Executable]] = WeakKeyDictionary()


def executable(graph: Graph, *form: Any) -> Executable:
    """The native code of a graph, compiled once in each form, freed with the graph."""
    forms = executables.setdefault(graph, {})
    if form not in forms:
        forms[form] = Executable(graph, *form)
    return forms[form]

"""Programs that run: found on the disk or compiled, loaded, and called with arrays."""

from __future__ import annotations

import ctypes
import hashlib
import os
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from pullback.compiler.runtime import cache, linker
from pullback.compiler.runtime.frame import (
    HEAD_WORDS,
    MISMATCH,
    RAISED,
    SEEN,
    Frame,
    check_layout,
    expectations,
)
from pullback.compiler.runtime.gc_pause import uncollected
from pullback.compiler.runtime.lapack import routines
from pullback.compiler.runtime.pool import Pool, emit_pool, n_threads
from pullback.compiler.runtime.stored import Failure, Image, digest, sources, surroundings
from pullback.compiler.runtime.watch import Watch
from pullback.compiler.schedule.target import features
from pullback.core.graph import Equation, Graph, Literal
from pullback.core.types import ArrayType
from pullback.errors import CompileError
from pullback.transforms.passes.pipeline import bodies

if TYPE_CHECKING:
    from pullback.compiler.backend import Backend
    from pullback.compiler.program.emitter import Program

__all__ = ["Executable", "executable", "pool"]

CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)
ENTRY = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p)
NOTHING_SEEN = [0] * (HEAD_WORDS - SEEN)  # no tick, and nothing thrown
SINGULAR = {
    "solve": "Singular matrix",
    "solve_triangular": "Singular matrix",
    "cholesky": "Matrix is not positive definite",
}


def backend() -> type[Backend]:
    """LLVM: imported where there is something to compile, since it takes 40 ms."""
    from pullback.compiler.backend import Backend

    return Backend


def llvm_version() -> str:
    """That of the package that brings LLVM, which is not loaded for it."""
    import llvmlite

    version: str = llvmlite.__version__
    return version


def key_of(*parts: str) -> str:
    """A name for code that is made from these parts, on this processor."""
    host = features() or backend().description()
    libraries = llvm_version(), sorted(routines())
    text = repr((surroundings(), libraries, host, parts))
    return hashlib.sha256(text.encode()).hexdigest()


def stored(key: str, text: str) -> bytes:
    """Code of a text, which is now on the disk too."""
    code = backend().compiled(text)
    cache.store(key, code)
    return code


def load(code: bytes) -> Any:
    """Code in memory, of which ``address(name)`` is where a function is."""
    return linker.Code(code) if linker.IS_KNOWN else backend().load(code)


def emit_entry() -> str:
    return backend().entry()


@lru_cache(maxsize=2)
def begun(emit: Callable[[], str]) -> Callable[[], bytes]:
    """Code that all programs share. LLVM begins with it here; the result waits until it is there.

    It raises a RuntimeError if LLVM does not know the processor.
    """
    key = key_of(emit.__name__)
    code = cache.load(key)
    if code is not None:
        return lambda: code
    return backend().meanwhile(lambda: stored(key, emit()))


def prepare() -> None:
    """Begin with what the first program will need beside its own code.

    Raises:
        ModuleNotFoundError: if llvmlite is not installed.
        RuntimeError: if LLVM does not know the processor.
        CompileError: if this Python keeps its objects in an unknown way, or may not run new code.
    """
    llvm_version()
    check_layout()
    if linker.IS_KNOWN:
        linker.Code(linker.NOTHING)
    for emit in (emit_entry, emit_pool):
        begun(emit)


@lru_cache(maxsize=1)
def entry() -> tuple[Any, Any, Watch]:
    """Code, its function that runs a program on the arrays of a list, and the watch of loops."""
    code = load(begun(emit_entry)())
    return code, ENTRY(code.address("main")), Watch(code.address("look"))


def checks_stages() -> bool:
    """Whether all that is compiled in this process is verified after each stage."""
    return bool(os.environ.get("PULLBACK_CHECK_STAGES"))


def emit_program(
    graph: Graph,
    allow_callbacks: bool,
    donated: Collection[int],
    is_checked: bool = False,
    budget: int | str | None = None,
) -> Program:
    """The text of a graph, and what must be known to run it."""
    is_checked = is_checked or checks_stages()
    return backend().program(graph, allow_callbacks, donated, is_checked, budget)


def image_of(
    graph: Graph,
    allow_callbacks: bool,
    donated: Collection[int],
    is_checked: bool,
    budget: int | str | None,
) -> tuple[Image, list[Equation]]:
    """The program of a graph, from the disk if it is there, and what NumPy evaluates in it.

    The equations that NumPy evaluates are no part of an image. A program whose stages shall be
    checked is compiled anew, and is not kept on the disk under its graph.
    """
    name = None if is_checked else digest(graph)
    key = key_of(name, str(allow_callbacks), str(donated), str(budget)) if name else None
    known = cache.load(key) if key else None
    if known is not None:
        return Image.unpack(known), []
    program = emit_program(graph, allow_callbacks, donated, is_checked, budget)
    numbers = {id(source): i for i, source in enumerate(sources(graph))}
    failures = [failure(e, numbers) for e in program.checked]
    if key and not program.callbacks and all(f.source is not None for f in failures):
        code = backend().compiled(program.text)
    else:
        key, by_text = None, key_of("text", program.text)
        code = cache.load(by_text) or stored(by_text, program.text)
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


def has_loops(graph: Graph) -> bool:
    """Whether a program may run for long, whatever its size."""
    return any(
        e.primitive.name in ("scan", "while_loop") or any(map(has_loops, bodies(e)))
        for e in graph.equations
    )


pools: dict[int, Pool] = {}


def pool(threads: int) -> Pool:
    """The pool of this process with so many threads, that of the caller included."""
    if threads not in pools:
        fresh = Pool(load(begun(emit_pool)()), threads)
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
        is_checked: bool = False,
        budget: int | str | None = None,
    ) -> None:
        with uncollected():
            self.image, callbacks = image_of(graph, allow_callbacks, donated, is_checked, budget)
        self.sources = sources(graph) if self.image.failures else []
        self.threads = threads or n_threads()
        self.errors: dict[int, BaseException] = {}  # by the address of the status of their call
        self.callbacks = [CALLBACK(self.callback(e)) for e in callbacks]
        self.addresses = [0, 0]
        if self.image.has_jobs:
            workers = pool(self.threads)
            self.addresses = [workers.run_address, workers.address]
        _, self.enter, watch = entry()
        self.addresses += [watch.address, *NOTHING_SEEN, *map(address_of, self.callbacks)]
        self.code = load(self.image.code)
        self.watch = watch if has_loops(graph) else None
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
            BaseException: what a handler of a signal raises, such as KeyboardInterrupt.
        """
        results = list(map(np.empty, *self.results))
        if self.image.donations:
            self.donate(args, results)
        arrays = [*args, *results]
        # A frame belongs to one call: other threads, and callbacks that call back, take others.
        try:
            frame = self.idle.pop()
        except IndexError:
            frame = Frame(
                self.code.address("main"), self.image.arena_bytes, self.expected, self.addresses
            )
        if self.watch is None:
            status = self.enter(id(arrays), frame.address)
        else:
            with self.watch:
                status = self.enter(id(arrays), frame.address)
        if status and status != MISMATCH:
            raise self.failure(status, frame)
        self.idle.append(frame)
        return None if status else results

    def forget(self) -> None:
        """Give back the working memory that is kept for later calls."""
        self.idle.clear()

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
        frame.throw()
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

"""``compile``: run a function, transformed or not, as native code.

The function is staged once per signature (structure, shapes, dtypes, static arguments) and the
graph is compiled as a whole. A call with traced arguments binds the ``call`` primitive, so
compiled functions can be differentiated, batched and compiled again.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from pullback import tree
from pullback.compiler import executable
from pullback.compiler.options import loaders
from pullback.compiler.runtime.gc_pause import uncollected
from pullback.compiler.runtime.pool import MOST_THREADS, n_threads
from pullback.control.call import call
from pullback.core.alias import is_same
from pullback.core.array import Array, as_array
from pullback.core.foreign import refuse_foreign
from pullback.core.graph import Graph
from pullback.core.source import here
from pullback.core.trace import current_trace
from pullback.core.types import ArrayType, type_of
from pullback.core.wrapper import Wrapper
from pullback.errors import ArgumentError, CompileError, DTypeError
from pullback.random import generators
from pullback.transforms.evaluate import evaluate
from pullback.transforms.outside import Outside
from pullback.transforms.readings import Readings
from pullback.transforms.stage import Staged, StageTrace, prune, stage

__all__ = ["Compiled", "compile"]

MANY_SIGNATURES = 8
STAGES = ("graph", "simplified", "layouts", "loops", "schedule", "memory", "llvm")


@lru_cache(maxsize=1)
def has_engine() -> bool:
    """Whether this machine runs native code; one warning, with the remedy, if it does not."""
    try:
        executable.prepare()
    except ModuleNotFoundError as error:
        if error.name != "llvmlite":
            raise
        reason, fix = "llvmlite is not installed", "pip install pullback[compile]"
    except (RuntimeError, CompileError) as error:
        first = str(error).partition("\n")[0]
        reason, fix = f"there is no native code for this machine ({first})", "report this"
    else:
        return True
    warnings.warn(
        f"{reason}: compiled functions run in NumPy. Fix: {fix}", RuntimeWarning, stacklevel=4
    )
    return False


@dataclass(frozen=True, slots=True)
class Native:
    """Runs graphs as native code: the executor of calls of compiled functions.

    Without llvmlite NumPy runs them. ``callbacks``, ``threads`` and ``check_stages`` are those of
    :func:`compile`; results may be written over operands ``donated`` of the graph ``donor``, not of
    derived ones.
    """

    callbacks: bool = True
    threads: int | None = None
    donor: Graph | None = None
    donated: tuple[int, ...] = ()
    check_stages: bool = False

    def executable(self, graph: Graph) -> executable.Executable | None:
        """The native code of ``graph``, or ``None`` without llvmlite."""
        if not has_engine():
            return None
        donated = self.donated if graph is self.donor else ()
        return executable.executable(
            graph, self.callbacks, self.threads, donated, self.check_stages
        )

    def __call__(self, graph: Graph, args: Sequence[Any]) -> list[Any]:
        native = self.executable(graph)
        results: list[Any] = evaluate(graph, args) if native is None else native(args)
        return results


def described(key: Any) -> dict[str, str]:
    """What a signature says of each argument, by its path."""
    structure, kinds, static = key
    paths = [
        ("args" if path.startswith("[0]") else "kwargs") + path[3:]
        for path in tree.structure_paths(structure)
    ]
    types = [str(ArrayType(*k)) if isinstance(k, tuple) else k.__name__ for k in kinds]
    fixed = {f"args[{i}]": f"static {value!r}" for i, _, value in static}
    return {**dict(zip(paths, types, strict=True)), **fixed}


def places(leaves: Sequence[Any], staged: Staged) -> tuple[Any, ...]:
    """How the arguments that the graph depends on lie in memory, and which are the same array."""
    found: list[Any] = [
        leaves[i].strides if isinstance(leaves[i], np.ndarray) else None for i in staged.depends_on
    ]
    if staged.writes and not apart(leaves):
        for i, a in enumerate(leaves):
            found += [(is_same(a, b), np.shares_memory(a, b)) for b in leaves[:i] if is_array(a, b)]
    return tuple(found)


def is_in_rows(leaf: Any) -> bool:
    return type(leaf) is np.ndarray and leaf.flags.c_contiguous


def apart(leaves: Sequence[Any]) -> bool:
    """Whether it is plain that no two arguments share memory."""
    owners = {
        id(getattr(a, "base", None) if getattr(a, "base", None) is not None else a) for a in leaves
    }
    return len(owners) == len(leaves)


def is_array(a: Any, b: Any) -> bool:
    return isinstance(a, (np.ndarray, Array)) and type(a) is type(b)


class Signature:
    """One staged form of a function; ``structure`` is that of its arguments."""

    def __init__(
        self,
        readings: Readings,
        executor: Native,
        structure: tree.TreeDef,
        out_structure: tree.TreeDef,
        n_outputs: int,
    ) -> None:
        self.readings = readings
        self.staged = readings.staged
        self.executor = executor
        self.structure = structure
        self.build = tree.builder(out_structure)
        self.n_outputs = n_outputs
        self.gather: Callable[[Any], list[Any]] | None = None  # leaves of (args, kwargs)
        self.attempt: Callable[[Sequence[Any]], list[Any] | None]  # once it is native code


class Compiled(Wrapper):
    """A function that runs as native code; made by :func:`compile`.

    A pickled one is compiled anew, or read from the cache on disk, where it is used.
    """

    def __init__(
        self,
        fun: Callable[..., Any],
        static_argnums: tuple[int, ...],
        donate_argnums: tuple[int, ...],
        executor: Native,
    ) -> None:
        super().__init__(fun)
        self.static_argnums = static_argnums
        self.donate_argnums = donate_argnums
        self.executor = executor
        self.signatures: dict[Any, Signature] = {}
        self.placed: dict[Any, Signature] = {}  # those that depend on where arguments lie
        self.last: Signature | None = None  # of the last call that had plain arrays only

    def with_parts(self, change: Callable[[Any], Any]) -> Wrapper:  # noqa: ARG002
        return self  # it hands out for itself

    def action(self) -> str:
        return "compile"

    def __repr__(self) -> str:
        n = len(self.signatures)
        state = f"{n} signature{'s' * (n != 1)}" if n else "not called yet"
        return f"<{super().__repr__()}: {state}>"

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "signatures": {}, "placed": {}, "last": None}

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        last = self.last
        if last is not None and last.readings.are_current():
            results = self.repeat(last, args, kwargs)
            if results is not None:
                return last.build(results)
        leaves, signature = self.prepare(args, kwargs)
        staged = signature.staged
        signature.readings.seen_by(current_trace())
        operands = [*staged.captured, *leaves]
        results = call(*operands, graph=staged.graph, executor=signature.executor)
        if len(results) > signature.n_outputs:
            states = iter(results[signature.n_outputs :])
            for generator in generators((args, kwargs)):
                generator.state = next(states)
        elif (
            not self.static_argnums
            and all(is_in_rows(leaves[i]) for i in staged.depends_on)
            and (apart(leaves) or not staged.writes)
            and all(type(a) is np.ndarray for a in operands)
        ):
            native = signature.executor.executable(staged.graph)
            if native is not None:
                signature.attempt = native.attempt
                signature.gather = tree.gatherer((args, kwargs))
                self.last = signature
        return signature.build(results[: signature.n_outputs])

    @staticmethod
    def repeat(signature: Signature, args: Any, kwargs: Any) -> list[Any] | None:
        """Results, if the arguments are arrays of the types of ``signature``."""
        if signature.gather is not None:
            try:
                leaves = signature.gather((args, kwargs))
            except LookupError:
                return None
        else:
            leaves, structure = tree.flatten((args, kwargs))
            if structure != signature.structure:
                return None
        if signature.staged.writes and not apart(leaves):
            return None
        return signature.attempt((*signature.readings.in_a_row(), *leaves))

    def prepare(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[list[Any], Signature]:
        """The array arguments, and the compiled form for their types."""
        static = {i: args[i] for i in self.static_argnums if i < len(args)}
        dynamic = tuple([None if i in static else a for i, a in enumerate(args)])
        leaves, structure = tree.flatten((dynamic, kwargs))
        kinds = tuple(map(self.kind, leaves))
        key = (structure, kinds, tuple([(i, type(v), v) for i, v in static.items()]))
        try:
            signature = self.signatures.get(key)
        except TypeError as error:
            raise ArgumentError(
                "compile: a static argument cannot be hashed",
                where=str(here()),
                details=[str(error)],
                fix="pass static arguments as tuples, not lists",
            ) from error
        if signature is not None and signature.staged.depends_on:
            signature = self.placed.get((key, places(leaves, signature.staged)))
        if signature is None or not signature.readings.are_current():
            self.check_donated(len(args))
            with uncollected(stays=True):
                signature = self.stage(static, structure, leaves)
            self.signatures[key] = signature
            if signature.staged.depends_on:
                self.placed[key, places(leaves, signature.staged)] = signature
            if len(self.signatures) == MANY_SIGNATURES + 1:
                self.warn(*list(self.signatures)[-2:])
        return leaves, signature

    def check_donated(self, n_args: int) -> None:
        for i in self.donate_argnums:
            if not 0 <= i < n_args or i in self.static_argnums:
                raise ArgumentError(
                    f"compile: donate_argnums names position {i}, which holds no arrays",
                    where=str(here()),
                    details=[f"positional arguments: {n_args}, static: {self.static_argnums}"],
                    fix="name positions of array arguments",
                )

    def warn(self, before: Any, now: Any) -> None:
        """Say what makes this function compile again and again."""
        old, new = described(before), described(now)
        details = [
            f"{path}: {new.get(path, 'absent')}, before: {old.get(path, 'absent')}"
            for path in {**new, **old}
            if new.get(path) != old.get(path)
        ]
        name = getattr(self.fun, "__name__", "a function")
        message = CompileError(
            f"compile: {name} is compiled for the {len(self.signatures)}th signature",
            where=str(here()),
            details=details,
            fix="pass arrays of the same shapes, dtypes and containers at every call",
        )
        warnings.warn(str(message), RuntimeWarning, stacklevel=4)

    @staticmethod
    def kind(leaf: Any) -> Any:
        """Shape and dtype of an array; the class of a Python scalar, which promotes weakly."""
        refuse_foreign(type(leaf), "compile: an argument")
        if isinstance(leaf, (np.ndarray, np.generic, Array)):
            return leaf.shape, leaf.dtype
        if isinstance(leaf, (bool, int, float, complex)):
            return type(leaf)
        raise DTypeError(
            f"compile: an argument of type {type(leaf).__name__} is not an array",
            where=str(here()),
            fix="name its position in static_argnums",
        )

    def stage(
        self, static: dict[int, Any], structure: tree.TreeDef, given: Sequence[Any]
    ) -> Signature:
        shape: list[tree.TreeDef] = []
        n_outputs: list[int] = []
        outside: list[Outside] = []

        def flat(*leaves: Any) -> list[Any]:
            trace = current_trace()
            assert isinstance(trace, StageTrace)
            outside[:] = [Outside(trace)]
            fun = outside[0].hand(self.fun)
            dynamic, kwargs = tree.unflatten(structure, leaves)
            args = [outside[0].hand(static[i]) if i in static else a for i, a in enumerate(dynamic)]
            outputs, out_structure = tree.flatten(fun(*args, **kwargs))
            shape[:] = [out_structure]
            n_outputs[:] = [len(outputs)]
            states = [generator.state for generator in generators((args, kwargs))]
            return list(map(as_array, (*outputs, *states)))

        types = list(map(type_of, given))
        try:
            staged = prune(stage(flat, types, "compile", lambda: given, given=given))
        finally:
            for reader in outside:
                reader.give_back()
        donated = self.donated(structure, len(staged.captured))
        executor = replace(self.executor, donor=staged.graph, donated=donated)
        readings = outside[0].readings(staged)
        return Signature(readings, executor, structure, shape[0], n_outputs[0])

    def donated(self, structure: tree.TreeDef, n_captured: int) -> tuple[int, ...]:
        """The numbers of the operands that belong to ``donate_argnums``."""
        starts = tuple(f"[0][{i}]" for i in self.donate_argnums)
        paths = tree.structure_paths(structure)
        return tuple(n_captured + k for k, path in enumerate(paths) if path.startswith(starts))

    def show(self, what: str, *args: Any, **kwargs: Any) -> str:
        """Text of a stage for these arguments.

        ``graph``: the equations as they were staged; ``simplified``: what is left of them;
        ``layouts``: with products moved out of loops, and what these read lying as they read it;
        ``loops``: the kernels, what is fused into them and what products copy, also in the bodies
        of loops; ``schedule``: into how many chunks they are cut for the threads; ``memory``: what
        lies where in the arena, and which results take the memory of donated inputs; ``llvm``: the
        program.

        Raises:
            ArgumentError: for another stage, or without llvmlite.
        """
        signature = self.prepare(args, kwargs)[1]
        graph = signature.staged.graph
        if what == "graph":
            return str(graph)
        if not has_engine() or what not in STAGES:
            raise ArgumentError(
                f"show: no stage {what!r}",
                where=str(here()),
                fix=f"ask for {', '.join(STAGES)}; all but graph need llvmlite",
            )
        executor = signature.executor
        program = executable.emit_program(graph, executor.callbacks, executor.donated)
        if what in program.passes:
            return str(program.passes[what])
        if what == "llvm":
            return str(program.listing)
        if what == "loops":
            lines = [str(program.schedule)]
            lines += [f"in NumPy: {text}" for text in program.in_numpy]
            return "\n".join(lines)
        if what == "schedule":
            lines = [f"threads: {executor.threads or n_threads()}"]
            for step, n in zip(program.schedule.steps, program.n_chunks, strict=True):
                chunks = f"{n} chunks" if n > 1 else "1 chunk" if n else "code"
                lines += [f"{chunks:>9}: {program.schedule.described(p)}" for p in step.parts]
            return "\n".join(lines)
        plan = program.schedule
        places = sorted(plan.offsets.items(), key=lambda item: item[1])
        lines = [f"{n:>10} .. {n + v.type.nbytes:<10} {plan.origin(v)}" for v, n in places]
        lines += [f"output {j} over input {i}" for i, j in program.donations]
        return "\n".join([f"arena: {program.arena_bytes} bytes", *lines])


def compile(
    fun: Callable[..., Any],
    static_argnums: int | Sequence[int] = (),
    callbacks: bool = True,
    threads: int | None = None,
    donate_argnums: int | Sequence[int] = (),
    deterministic: bool = True,
    check_stages: bool = False,
    nonfinite: bool = False,
    verify: int | None = None,
) -> Compiled:
    """``fun`` as native code, compiled at the first call with each signature.

    ``fun`` runs in Python once, to be staged; later calls run its native code. Arrays that it reads
    from outside (closures, globals, attributes, containers) are read at every call, and so is what
    NumPy computes from them. Numbers and attributes that your code reads are compared at every
    call, and the function is staged again when one has changed: what changes often is better an
    argument. *Frozen* are: what a library computes or an object of a library (a DataFrame) holds,
    results that ``functools.lru_cache`` keeps, functions and classes that are replaced by others,
    files, clocks, and effects (``print``, a counter), which happen once:

    >>> import time
    >>> import pullback as pb
    >>> since = pb.compile(lambda t: t - time.monotonic())     # frozen: the clock of the first call
    >>> bool(since(1e9) == since(1e9))
    True

    Args:
        fun: a traceable function of containers of arrays; may itself be a transform, such as
            ``grad(f)``.
        static_argnums: positions of arguments that are Python values, not arrays; a new value
            compiles anew. A function with more than eight signatures gives one ``RuntimeWarning``
            that says which argument differs.
        callbacks: whether NumPy may evaluate operations without a native form (``show("loops")``
            lists them); with ``False`` they raise.
        threads: how many threads share the work, the caller's included; by default
            ``$PULLBACK_NUM_THREADS``, else the processors at hand. A compiled function inside of
            another one runs on the outer's threads.
        donate_argnums: positions of arguments that are not used after the call: results may be
            written over their arrays, and be these arrays. So a training step updates its
            parameters in place. After an exception their values are lost. Arrays that are views,
            read-only or given twice are copied.
        deterministic: that results are bitwise the same in every run and for any number of
            ``threads``. They always are, since work is cut by its sizes alone: ``False`` would
            gain nothing and is refused.
        check_stages: whether to verify what each stage of the compiler makes, which helps to find
            a mistake of it. Programs are then compiled anew, not read from the disk.
            ``$PULLBACK_CHECK_STAGES`` has the same checked in all that a process compiles.
        nonfinite: whether every call looks at its results, and explains the first NaN or infinity
            as :func:`pullback.debug_nonfinite` does. Without it nothing is looked at.
        verify: run ``fun`` in NumPy too at the first and every ``verify``-th call, and raise a
            CompileError with what differs and the line it comes from.

    Returns:
        A function with the same results up to rounding. Inputs are copied only if they are not
        contiguous. ``random.Generator`` arguments are advanced.

    Raises:
        ArgumentError: if ``threads`` is not from 1 to 1024, or ``deterministic`` is false.
        StagingError: where Python control flow needs a value.
        CompileError: without native form and ``callbacks=False``; with ``check_stages``, if a
            stage has made a mistake.
        IndexError: at the call, if an index array points outside.
        numpy.linalg.LinAlgError: at the call, if a matrix is singular or not positive definite.

    >>> import numpy as np
    >>> import pullback as pb
    >>> step = pb.compile(pb.value_and_grad(lambda x: np.sum(np.square(x))))
    >>> value, grads = step(np.array([1.0, 2.0]))
    >>> float(value), grads
    (5.0, array([2., 4.]))
    """
    if threads is not None and not 1 <= threads <= MOST_THREADS:
        raise ArgumentError(
            f"compile: threads is {threads}, not a number from 1 to {MOST_THREADS}",
            where=str(here()),
            fix="leave threads out, or give how many processors to use",
        )
    if not deterministic:
        raise ArgumentError(
            "compile: deterministic=False, but there is no faster code whose results vary",
            where=str(here()),
            fix="leave deterministic out",
        )
    static, donated = (
        (given,) if isinstance(given, int) else tuple(given)
        for given in (static_argnums, donate_argnums)
    )
    native = Native(callbacks, threads, check_stages=check_stages)
    if verify is not None:  # loaded only on request
        compiled: Compiled = loaders["verify"]()(fun, static, donated, native, verify)
    else:
        compiled = Compiled(fun, static, donated, native)
    if nonfinite:
        checked: Compiled = loaders["nonfinite"]()(compiled)
        return checked
    return compiled

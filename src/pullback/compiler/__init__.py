"""From a graph to native code: schedule, loops, LLVM, engine; ``jit.py`` runs functions."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from pullback.core.source import here
from pullback.errors import ArgumentError

if TYPE_CHECKING:
    from pullback.compiler.jit import Compiled

__all__ = ["compile"]


def compile(
    fun: Callable[..., Any],
    static_argnums: int | Sequence[int] = (),
    callbacks: bool = True,
    threads: int | None = None,
    donate_argnums: int | Sequence[int] = (),
    deterministic: bool = True,
) -> Compiled:
    """``fun`` as native code, compiled at the first call with each signature.

    Args:
        fun: a traceable function of containers of arrays; may itself be a transform, such as
            ``grad(f)``. Arrays that it reads from outside are read anew at every call.
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

    Returns:
        A function with the same results up to rounding. Inputs are copied only if they are not
        contiguous. ``random.Generator`` arguments are advanced.

    Raises:
        ArgumentError: if ``threads`` is not positive, or ``deterministic`` is false.
        StagingError: where Python control flow needs a value.
        CompileError: without native form and ``callbacks=False``.
        IndexError: at the call, if an index array points outside.
        numpy.linalg.LinAlgError: at the call, if a matrix is singular or not positive definite.

    >>> import numpy as np
    >>> import pullback as pb
    >>> step = pb.compile(pb.value_and_grad(lambda x: np.sum(np.square(x))))
    >>> value, grads = step(np.array([1.0, 2.0]))
    >>> float(value), grads
    (5.0, array([2., 4.]))
    """
    if threads is not None and threads < 1:
        raise ArgumentError(
            f"compile: threads is {threads}, not a positive number",
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
    # Imported when it is first used, so that `import pullback` costs little.
    jit = importlib.import_module("pullback.compiler.jit")
    compiled: Compiled = jit.Compiled(fun, static, donated, jit.Native(callbacks, threads))
    return compiled

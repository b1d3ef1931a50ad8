"""Call a function of NumPy on traced arrays and say what becomes of its derivative.

``differentiable``: values are NumPy's, and both modes agree with differences to second order.
``zero``: values are NumPy's, and the derivative is zero as it should be (a step function).
``values``: the answer is integers, truth values or text, and is NumPy's.
``refused``: an error of Pullback that says what to write instead.
Anything else (a wrong number, an error from inside) is a fault and raises.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import pullback as pb
from pullback.core.array import Array
from pullback.core.types import type_of
from pullback.errors import OperationError, PullbackError, StagingError, UnsupportedError
from pullback.transforms.stage import stage

OUT = object()  # stands for a buffer of the shape and dtype of the result
STATES = ("differentiable", "zero", "values", "refused")


class A:
    """The arguments of a call."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.args, self.kwargs = args, kwargs

    def __repr__(self) -> str:
        parts = [_text(a) for a in self.args]
        return ", ".join(parts + [f"{k}={_text(v)}" for k, v in self.kwargs.items()])


class Writes(A):
    """A call that writes into its first argument and returns nothing."""


def _text(value: Any) -> str:
    if value is OUT:
        return "out"
    if callable(value):
        return getattr(value, "__name__", "f")
    return "..." if isinstance(value, (np.ndarray, list, tuple)) else repr(value)


@dataclass
class Verdict:
    """State of one call; ``remedy`` is what a refusal says, ``staged`` whether it compiles."""

    state: str
    staged: bool = True
    remedy: str = ""


@dataclass
class _Leaves:
    """The arrays among the arguments: floats are traced, and integers where there are none."""

    found: list[np.ndarray] = field(default_factory=list)
    kinds: str = "f"

    def take(self, value: Any, wrap: Callable[[np.ndarray], Any]) -> Any:
        if isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):
            return type(value)(self.take(v, wrap) for v in value)
        if isinstance(value, dict):
            return {k: self.take(v, wrap) for k, v in value.items()}
        if type(value) is np.ndarray and value.dtype.kind in self.kinds:
            return wrap(value)
        return value


def flat(result: Any) -> list[Any]:
    if isinstance(result, (tuple, list)):
        return [part for item in result for part in flat(item)]
    return [] if result is None else [result]


def run(function: Any, call: A, args: Any, kwargs: Any, expected: list[Any] | None) -> list[Any]:
    """The results of a call; its buffers are made by ``pullback.numpy``."""
    args, kwargs = _Leaves(kinds="fiub").take((args, kwargs), np.copy)
    if kwargs.get("out") is OUT:
        if expected is None:
            kwargs = {k: v for k, v in kwargs.items() if k != "out"}
        else:
            made = tuple(pb.numpy.zeros(np.shape(e), np.asarray(e).dtype) for e in expected)
            kwargs = {**kwargs, "out": made if len(made) > 1 else made[0]}
    if isinstance(call, Writes):
        buffer = args[0].copy()
        function(buffer, *args[1:], **kwargs)
        return [buffer]
    return flat(function(*args, **kwargs))


def judge(function: Any, call: A) -> Verdict:
    """The state of ``function(*call.args, **call.kwargs)``; raises where something is wrong."""
    quiet = contextlib.redirect_stdout(io.StringIO())
    with warnings.catch_warnings(), np.errstate(all="ignore"), quiet:
        warnings.simplefilter("ignore")
        expected = run(function, call, call.args, call.kwargs, None)
        expected = run(function, call, call.args, call.kwargs, expected)
        return _judge(function, call, expected)


def _judge(function: Any, call: A, expected: list[Any]) -> Verdict:
    f, primals = _traceable(function, call, expected)
    try:
        values: list[Any] = []
        pb.vjp(lambda *xs: _noted(f(*xs), values), *primals)
    except PullbackError as error:
        if error.fix is None or isinstance(error, OperationError):  # NumPy does not refuse it
            raise
        return Verdict("refused", remedy=error.fix)
    _same(values, expected)
    staged = _stages(f, primals)
    floats = [part for e in expected if not isinstance(e, str) for part in _real(e)]
    if not floats:
        return Verdict("values", staged)

    def g(*xs: Any) -> list[Any]:
        return [part for r in f(*xs) if not isinstance(r, str) for part in _real(r)]

    if all(np.asarray(part).dtype == np.float64 for part in floats):
        pb.check_grads(g, tuple(primals))
    else:  # differences of float32
        pb.check_grads(g, tuple(primals), order=1, rtol=5e-3, step=2e-2)
    values, pull = pb.vjp(g, *primals)
    slopes = pull([np.cos(1 + np.arange(np.size(v))).reshape(np.shape(v)) for v in values])
    some = any(np.any(s) for s in slopes)
    return Verdict("differentiable" if some else "zero", staged)


def _traceable(
    function: Any, call: A, expected: list[Any]
) -> tuple[Callable[..., list[Any]], list[np.ndarray]]:
    """The call as a function of its floats, or of a 1.0 that its integers depend on."""
    leaves = _Leaves()
    leaves.take((call.args, call.kwargs), leaves.found.append)
    if leaves.found:

        def f(*traced: Any) -> list[Any]:
            rest = iter(traced)
            args, kwargs = leaves.take((call.args, call.kwargs), lambda plain: next(rest))
            return run(function, call, args, kwargs, expected)

        return f, leaves.found
    leaves.kinds = "iub"

    def g(one: Any) -> list[Any]:
        def wrap(plain: np.ndarray) -> Any:
            if plain.dtype.kind == "b":
                return np.logical_and(plain, one > 0)
            return plain + (one - 1).astype(plain.dtype)

        args, kwargs = leaves.take((call.args, call.kwargs), wrap)
        return run(function, call, args, kwargs, expected)

    return g, [np.asarray(1.0)]


def _noted(results: list[Any], values: list[Any]) -> Any:
    """Keep the values of the results, and return the float arrays among them."""
    for r in results:
        values.append(r.traced_by.concrete(r, "the value") if type(r) is Array else r)
    return [part for r in results if type(r) is Array for part in _real(r)]


def _real(result: Any) -> list[Any]:
    """The floats that a result consists of."""
    kind = np.asarray(result).dtype.kind if type(result) is not Array else result.dtype.kind
    if kind == "c":
        return [np.real(result), np.imag(result)]
    return [result] if kind == "f" else []


def _same(values: list[Any], expected: list[Any]) -> None:
    assert len(values) == len(expected)
    for value, e in zip(values, expected, strict=True):
        if isinstance(e, (np.ndarray, np.generic)) and e.dtype.kind in "fiubc":
            assert np.shape(value) == e.shape, f"shape {np.shape(value)} instead of {e.shape}"
            assert np.asarray(value).dtype == e.dtype
            np.testing.assert_allclose(value, e, rtol=1e-11, atol=1e-12)
        else:
            assert _words(value) == _words(e) or value == e


def _words(value: Any) -> str:
    return str(value).replace("Array", "array").split(", traced by")[0].rstrip(")")


def _stages(f: Any, primals: list[np.ndarray]) -> bool:
    try:
        stage(lambda *xs: [r for r in f(*xs) if type(r) is Array], [type_of(p) for p in primals])
    except (StagingError, UnsupportedError):
        return False
    return True


def keywords(function: Any) -> list[str]:
    """The names of the arguments of a function of NumPy; of what it does not tell, none."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return []
    return [p.name for p in parameters if p.kind is not p.VAR_KEYWORD]


def used(function: Any, call: A) -> set[str]:
    """The names of the arguments that a call gives."""
    try:
        bound = inspect.signature(function).bind(*call.args, **call.kwargs)
    except (TypeError, ValueError):
        return set(call.kwargs)
    return set(bound.arguments) - {"kwargs"} | set(call.kwargs)

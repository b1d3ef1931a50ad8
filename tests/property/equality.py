"""A call on traced arrays against NumPy on plain ones: value, dtype, shape, aliasing, refusal."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from tests.property.calls import Call, find

import pullback as pb
from pullback import tree
from pullback.core.array import EVALUATE, Array
from pullback.core.types import type_of
from pullback.errors import PullbackError
from pullback.transforms.evaluate import evaluate
from pullback.transforms.stage import stage

__all__ = ["HOWS", "compare", "differences_of"]

REFUSALS = (ValueError, TypeError, IndexError, ArithmeticError, NotImplementedError)


def flat(result: Any) -> list[Any]:
    if isinstance(result, (tuple, list)):
        return [part for item in result for part in flat(item)]
    return [result]


def plain(value: Any) -> Any:
    return value.frozen().value if type(value) is Array else value


def is_array(x: Any) -> bool:
    return isinstance(x, np.ndarray)


def arrays_of(call: Call) -> tuple[list[Any], Callable[[list[Any]], Any]]:
    """The arrays among the positional arguments, and the call as a function of them."""
    leaves, structure = tree.flatten(call.args)
    at = [i for i, leaf in enumerate(leaves) if is_array(leaf)]
    function = find(call.name)

    def run(arrays: list[Any]) -> Any:
        full = list(leaves)
        for i, x in zip(at, arrays, strict=True):
            full[i] = x
        args = list(tree.unflatten(structure, full))
        return function(*args, **call.options)

    return [leaves[i] for i in at], run


def with_write(run: Callable[[list[Any]], Any]) -> Callable[[list[Any]], list[Any]]:
    """The results, and the operands after the first result was overwritten."""

    def ran(arrays: list[Any]) -> list[Any]:
        mine = [x.copy() for x in arrays]
        results = flat(run(mine))
        kept = [np.copy(y) if hasattr(y, "dtype") else y for y in results]
        y = results[0] if results else None
        if getattr(y, "ndim", 0) and y.dtype.kind == "f":
            try:
                y[...] = 5
            except (ValueError, PullbackError):
                return kept
            kept += [x for x in mine if x.dtype.kind == "f"]
        return kept

    return ran


def eager(run: Callable[[list[Any]], Any], arrays: list[Any]) -> list[Any]:
    """Under reverse mode where there are floats, else as buffers that record."""
    floats = [i for i, x in enumerate(arrays) if x.dtype.kind == "f"]
    if not floats:
        return [plain(y) for y in flat(run([Array(EVALUATE, np.copy(x)) for x in arrays]))]

    def of_floats(*some: Any) -> Any:
        full = [np.copy(x) for x in arrays]
        for i, x in zip(floats, some, strict=True):
            full[i] = x
        return tuple(flat(run(full)))

    return [plain(y) for y in pb.vjp(of_floats, *[arrays[i] for i in floats])[0]]


def written(run: Callable[[list[Any]], Any], arrays: list[Any]) -> list[Any]:
    return eager(with_write(run), arrays)


def staged(run: Callable[[list[Any]], Any], arrays: list[Any]) -> list[Any]:
    made = stage(lambda *xs: flat(run(list(xs))), [type_of(x) for x in arrays])
    made.graph.verify()
    return evaluate(made.graph, [*made.captured, *arrays])


def compiled(run: Callable[[list[Any]], Any], arrays: list[Any]) -> list[Any]:
    return list(pb.compile(lambda *xs: flat(run(list(xs))))(*arrays))


HOWS: dict[str, Callable[..., list[Any]]] = {
    "eager": eager,
    "written": written,
    "staged": staged,
    "compiled": compiled,
}


def differences_of(actual: list[Any], expected: list[Any]) -> str:
    """What differs, or nothing."""
    if len(actual) != len(expected):
        return f"{len(actual)} results instead of {len(expected)}"
    for a, e in zip(actual, expected, strict=True):
        a, e = np.asarray(a), np.asarray(e)
        if a.dtype != e.dtype:
            return f"{a.dtype} instead of {e.dtype}"
        if a.shape != e.shape:
            return f"shape {a.shape} instead of {e.shape}"
        if e.dtype.kind not in "fc":
            if not np.array_equal(a, e):
                return f"{a.tolist()} instead of {e.tolist()}"
            continue
        tolerance = 64 * float(np.finfo(e.dtype).eps)
        largest = np.max(np.abs(e[np.isfinite(e)]), initial=0)
        near = np.isclose(a, e, rtol=tolerance, atol=tolerance * largest, equal_nan=True)
        if not np.all(near):
            return f"{a.tolist()} instead of {e.tolist()}"
    return ""


def compare(call: Call, how: str) -> str:
    """``same``, ``refused`` (both), ``unsupported`` (named by Pullback), or what differs."""
    arrays, run = arrays_of(call)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            oracle = with_write(run) if how == "written" else lambda xs: flat(run(xs))
            expected = oracle([np.copy(x) for x in arrays])
        except REFUSALS as error:
            try:
                found = HOWS[how](run, arrays)
            except REFUSALS:
                return "refused"
            return f"accepted: {found}, where NumPy says {error}"
        try:
            actual = HOWS[how](run, arrays)
        except PullbackError as error:
            return f"unsupported {type(error).__name__}: {error.headline}"
        except REFUSALS as error:
            return f"raised {type(error).__name__}: {error}"
    return differences_of(actual, expected) or "same"

"""NumPy's own refusals while tracing (axes, shapes, indices, keywords), told with the user's line.

Traced functions refuse as NumPy does, with its exceptions and often by calling it. Where such an
exception leaves a transform, its traceback knows everything that the user has to hear: the last
line of the user, what was called there, and with which operands. So no function says it itself.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any

import numpy as np

from pullback.core.source import Source, is_own
from pullback.core.types import ArrayType
from pullback.errors import OperationError, PullbackError

__all__ = ["located"]

_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
# The frames where NumPy hands an operation over: what holds its name and its operands.
_DOORS = {
    "__array_function__": ("function", "args"),
    "__array_ufunc__": ("ufunc", "inputs"),
    "with_lists": ("function", "args"),
}
_SPOKEN = {"getitem": "x[index]", "setitem": "x[index] = value"}


def located(error: BaseException | None, last: PullbackError | None) -> PullbackError | None:
    """The refusal to raise in the place of ``error``; ``None`` leaves it as it is.

    Some of NumPy's C functions (``np.nditer``) put an error of their own in the place of ours:
    ``last``, the last refusal to give a plain value, where it names the line that failed.
    """
    if not isinstance(error, (ValueError, TypeError, IndexError)):
        return None
    if isinstance(error, PullbackError):
        return None
    frames = list(_frames(error.__traceback__))
    users = [i for i, (frame, _) in enumerate(frames) if not is_own(frame.f_code)]
    if not users:
        return None
    frame, instruction = frames[users[-1]]
    inside = [f for f, _ in frames[users[-1] + 1 :] if f.f_code.co_filename.startswith(_OURS)]
    if not inside:
        hidden = last is not None and last.where == str(Source(frame.f_code, instruction))
        return last if hidden else None
    name, values = _call(inside[0])
    kind = OperationError.of(type(error))
    return kind(
        f"{name}: {error}" if name else str(error),
        where=str(Source(frame.f_code, instruction)),
        details=list(_described(values)),
        fix=_remedy(error, name),
    )


def _frames(traceback: TracebackType | None) -> Iterator[tuple[FrameType, int]]:
    while traceback is not None:
        yield traceback.tb_frame, traceback.tb_lasti
        traceback = traceback.tb_next


def _call(frame: FrameType) -> tuple[str, dict[str, Any]]:
    """What the user called, as NumPy names it, and the arguments by name."""
    names = frame.f_locals
    name = frame.f_code.co_name
    if name in _DOORS:
        called, operands = (names[key] for key in _DOORS[name])
        module = getattr(called, "__module__", None) or "numpy"
        return f"{module.replace('numpy', 'np', 1)}.{called.__name__}", _bound(
            called, operands, names["kwargs"]
        )
    if isinstance(names.get("ufunc"), np.ufunc):  # an operator: a + b
        shown = {k: v for k, v in names.items() if k in ("self", "other")}
        return names["ufunc"].__name__, shown
    code = frame.f_code
    public = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount + 1]
    name = name.strip("_").removesuffix("_method")
    given = {key: names[key] for key in public if names.get(key, False) is not False}
    return _SPOKEN.get(name, name), given


def _bound(called: Any, operands: Any, options: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a call under the names that the function gives them, if it says."""
    try:
        return inspect.signature(called).bind_partial(*operands, **options).arguments
    except (TypeError, ValueError):
        return {**{f"operand {i}": value for i, value in enumerate(operands, 1)}, **options}


def _described(values: dict[str, Any]) -> Iterator[str]:
    """``x: float64[3,4]`` for arrays, ``axis: 3`` for short options."""
    for name, value in values.items():
        if isinstance(value, (list, tuple)) and any(map(_is_array, value)):
            types = [_typed(v) if _is_array(v) else type(v).__name__ for v in value]
            yield f"{name}: {', '.join(types)}"
        elif _is_array(value):
            yield f"{name}: {_typed(value)}"
        elif isinstance(value, (int, float, str, tuple, list)) and len(repr(value)) <= 60:
            yield f"{name}: {value!r}"


def _is_array(value: Any) -> bool:
    return isinstance(value, (np.ndarray, np.generic)) or hasattr(value, "traced_by")


def _typed(value: Any) -> str:
    return str(ArrayType(value.shape, value.dtype))


def _remedy(error: BaseException, name: str) -> str:
    if isinstance(error, np.exceptions.AxisError):
        n = error.ndim
        if n:
            return f"pass an axis from {-n} to {n - 1}"
        return "pass an axis that the array has"
    if isinstance(error, np.linalg.LinAlgError):
        return "check that the matrix has an inverse or a factor, for example by np.linalg.cond"
    if isinstance(error, IndexError):
        return "keep the index within the shape above"
    if isinstance(error, TypeError):
        return f"call it with the arguments that help({name}) names"
    return "make the shapes and options above fit each other"

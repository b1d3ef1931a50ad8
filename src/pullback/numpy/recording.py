"""``record_numpy``: unmodified ``import numpy`` code whose buffers record assignments.

NumPy hands nothing over when a traced value is assigned into an array of its own making, or put
into a list that ``np.array`` reads. So, while anything is traced, these functions of the module
``numpy`` are replaced by ones that ask who calls: code of the user, in a thread that traces, gets
what :mod:`pullback.numpy` gives; Python, installed packages and other threads get NumPy's own.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any, Final

import numpy as np

from pullback.core.source import is_own
from pullback.core.trace import EVALUATE, current_trace, overlay
from pullback.numpy import creation, twins
from pullback.numpy.installed import is_installed

__all__ = ["record_numpy"]

BUFFERS: Final = (
    *("empty", "empty_like", "eye", "full", "full_like"),
    *("identity", "ones", "ones_like", "zeros", "zeros_like"),
)
CONVERSIONS = ("array", "asanyarray", "asarray", "ascontiguousarray")
FOLDS = (
    *("amax", "amin", "average", "cumprod", "cumsum", "dot", "max", "mean", "median", "min"),
    *("outer", "prod", "sort", "std", "sum", "var"),
)
JOINERS = ("c_", "r_")
KINDS = ("ndenumerate", "nditer", "poly1d", "vectorize")


def record_numpy(on: bool = True) -> None:
    """Make traced code that says ``import numpy as np`` record its buffers, from now on.

    Without it ``np.zeros(n)`` of NumPy's own makes an array that no traced value can be assigned
    into, and ``np.array([x[0], x[1]])`` of traced numbers is refused. With it ``zeros``, ``empty``,
    ``ones``, ``full``, ``eye``, ``identity``, the ``_like`` functions, ``array`` of floats,
    ``asarray``, ``r_`` and ``c_``, ``vectorize``, ``nditer``, ``ndenumerate`` and ``poly1d``, and
    ``sum``, ``max``, ``dot`` and the like of lists do what those of :mod:`pullback.numpy` do, where
    your code calls them while it is traced. Functions that were imported by name
    (``from numpy import zeros``) are NumPy's own, and so is an array made by arithmetic: there, use
    :mod:`pullback.numpy`.

    Args:
        on: ``False`` goes back to NumPy's own functions.

    It is not the default, since a recorded buffer is no ``np.ndarray``: code that hands it to a C
    extension in place, or asks with ``isinstance``, would see another object than before.

    >>> import numpy as np
    >>> import pullback as pb
    >>> def f(x):
    ...     track = np.zeros(3)
    ...     track[0] = x
    ...     for i in range(2):
    ...         track[i + 1] = track[i] ** 2
    ...     return np.sum(np.array([track[0], track[2]]))
    >>> pb.record_numpy()
    >>> float(pb.grad(f)(2.0))
    33.0
    >>> pb.record_numpy(False)
    """
    overlay.replace(_replacements() if on else {})


@lru_cache(maxsize=4096)
def _is_users(file: str) -> bool:
    return not is_installed(file) and not is_own(compile("", file, "exec"))


def _is_recording(depth: int) -> bool:
    """Whether the caller of a replaced function is code of the user that is traced."""
    return current_trace() is not EVALUATE and _is_users(sys._getframe(depth).f_code.co_filename)


def _maker(original: Callable[..., Any], made: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(original)
    def make(*args: Any, **kwargs: Any) -> Any:
        return (made if _is_recording(2) else original)(*args, **kwargs)

    return make


def _converter(original: Callable[..., Any], made: Callable[..., Any]) -> Callable[..., Any]:
    """Records what holds traced values, and new arrays of floats; integers often are indices."""

    @wraps(original)
    def convert(*args: Any, **kwargs: Any) -> Any:
        if not _is_recording(2):
            return original(*args, **kwargs)
        if args and not creation.holds_traced(args[0]):
            plain = original(*args, **kwargs)
            is_new = original is np.array or not isinstance(args[0], np.ndarray)
            return creation.buffer(plain) if is_new and plain.dtype.kind in "fc" else plain
        return made(*args, **kwargs)

    return convert


class _Joiner:
    """``np.r_`` or ``np.c_``, of traced values too."""

    def __init__(self, original: Any, made: Any) -> None:
        self._original = original
        self._made = made

    def __getitem__(self, key: Any) -> Any:
        return (self._made if _is_recording(2) else self._original)[key]

    def __len__(self) -> int:
        return len(self._original)


class _Kind(type):
    """A class that is made from what it stands for: NumPy's, or Pullback's where that records."""

    original: Any
    made: Any

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        return (cls.made if _is_recording(2) else cls.original)(*args, **kwargs)

    def __instancecheck__(cls, value: Any) -> bool:
        return isinstance(value, cls.original)

    def __subclasscheck__(cls, kind: type) -> bool:
        return issubclass(kind, cls.original)

    def __getattr__(cls, name: str) -> Any:
        return getattr(cls.original, name)


def _class(original: type, made: Any) -> _Kind:
    return _Kind(original.__name__, (), {"original": original, "made": made})


@lru_cache(maxsize=1)
def _replacements() -> dict[str, Any]:
    mirror = importlib.import_module("pullback.numpy")
    kinds = (
        *((BUFFERS, _maker), (CONVERSIONS, _converter), (FOLDS, _maker)),
        *((JOINERS, _Joiner), (KINDS, _class)),
    )
    found = {
        name: kind(getattr(np, name), getattr(mirror, name))
        for names, kind in kinds
        for name in names
    }
    for name, replacement in found.items():  # NumPy's own code reads them too, as twins
        twins.replaces(replacement)(twins.twin(getattr(np, name)))
    return found

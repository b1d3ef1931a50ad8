"""Arrays with rules of their own: masked, labelled, sparse, matrices, subclasses.

What such an array means is in its operators: a masked element does not count, labels are aligned,
``*`` of matrices is a product. Read as a bare array it would give another number without a word, so
it takes no part in a traced operation; the refusal names it and how to say what is meant.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import lru_cache
from types import FrameType
from typing import Any

import numpy as np

from pullback.core.source import Source, here, is_own
from pullback.errors import ForeignArrayError

__all__ = [
    "answers_sparse",
    "has_own_rules",
    "namers",
    "plain_array",
    "refuse_foreign",
    "refuse_foreign_in",
    "refuse_reading",
    "sparse_products",
]

# Called with a traced array, a sparse matrix and whether that stands on the left.
sparse_products: list[Callable[[Any, Any, bool], Any]] = []
# Called with a module of a library and a name in it: what to call in its place, or ``None``.
namers: list[Callable[[str, str], str | None]] = []

# What a subclass of ndarray may define without meaning another thing by its elements.
BOOKKEEPING = {f"__{name}__" for name in (
    "array_finalize", "array_priority", "array_wrap", "class", "class_getitem", "copy", "deepcopy",
    "delattr", "dir", "doc", "format", "getattribute", "hash", "init", "init_subclass", "new",
    "reduce", "reduce_ex", "repr", "setattr", "setstate", "sizeof", "str", "subclasshook",
)}  # fmt: skip
DOORS = ("__array__", "__array_ufunc__", "__array_priority__")  # what makes NumPy take notice
# ``__pullback_plain__`` says that a type has NumPy's rules.
OPERATORS = ("__array_ufunc__", "__array_function__", "__mul__", "__rmul__")
WITHOUT_RULES = (np.generic, bool, int, float, complex, list, tuple, str, bytes)
# Packages whose functions ask for plain arrays, and how to give them none that is traced.
READERS = {
    "numpy.ma": "keep the mask beside the values, and choose with np.where",
    "numpy.matrixlib": "work with np.asarray(m), and multiply with @",
    "scipy.sparse": "multiply with @, or work with x.toarray()",
    "scipy": "use NumPy's functions, or give it a rule with pullback.custom_vjp",
    "pandas": "work with x.to_numpy(), on both sides of the operator",
    "xarray": "take its bare array x.data, traced or not",
}


@lru_cache(maxsize=1024)
def has_own_rules(kind: type) -> bool:
    """Whether arrays of this type follow rules that are not NumPy's."""
    if kind is np.memmap or issubclass(kind, WITHOUT_RULES):
        return False
    if issubclass(kind, np.ndarray):
        own = kind.__mro__[: kind.__mro__.index(np.ndarray)]
        changed = {name for base in own for name in vars(base)} & set(dir(np.ndarray))
        return bool(changed - BOOKKEEPING)
    return (
        not getattr(kind, "__pullback_plain__", False)
        and any(hasattr(kind, name) for name in DOORS)
        and any(hasattr(kind, name) for name in OPERATORS)
    )


def named(kind: type) -> str:
    """``pandas.Series``: the name by which users know the type."""
    package = kind.__module__.partition(".")[0]
    if hasattr(sys.modules.get(package), kind.__name__):
        return f"{package}.{kind.__name__}"
    for module in ("numpy.ma", "scipy.sparse"):
        if getattr(sys.modules.get(module), kind.__name__, None) is kind:
            return f"{module}.{kind.__name__}"
    return kind.__qualname__


def remedy(kind: type) -> str:
    """How to turn an array of this type into a plain one that means what is meant."""
    if issubclass(kind, np.ma.MaskedArray):
        return "pass m.filled(number), and np.ma.getmaskarray(m) to np.where where it matters"
    if issubclass(kind, np.matrix):
        return "pass np.asarray(m), and write products of matrices with @"
    if hasattr(kind, "data_vars"):
        return "pass its variables one by one, as x['name'].data"
    if hasattr(kind, "dims") and hasattr(kind, "data"):
        return "take its bare array x.data, traced or not; align labels before that"
    if hasattr(kind, "to_numpy"):
        return "pass x.to_numpy(); align labels and fill missing values before that"
    if hasattr(kind, "toarray"):
        return "multiply with @, or pass x.toarray()"
    if hasattr(kind, "detach"):
        return "pass x.detach().numpy()"
    return "pass np.array(x), if its bare elements are what is meant"


def refuse_foreign(kind: type, path: str = "an operand") -> None:
    """Raise if arrays of this type have rules of their own; ``path`` says what came.

    Raises:
        ForeignArrayError: naming the type, and how to make a plain array of it.
    """
    if has_own_rules(kind):
        raise ForeignArrayError(
            f"{path} is a {named(kind)}, whose rules are not those of a plain NumPy array",
            where=str(here()),
            fix=remedy(kind),
        )


def plain_array(value: Any, path: str = "an operand") -> Any:
    """``value`` as an array of NumPy's own type, its memory shared; refuses what has own rules."""
    if type(value) is np.ndarray:
        return value
    refuse_foreign_in(value, path)
    return np.asarray(value)


def refuse_foreign_in(value: Any, path: str = "an operand") -> None:
    """:func:`refuse_foreign` for a value, or for all that lies in nested sequences."""
    if isinstance(value, (list, tuple)):
        for part in value:
            refuse_foreign_in(part, path)
    else:
        refuse_foreign(type(value), path)


def refuse_reading() -> None:
    """Raise if a package of foreign arrays is about to read a traced array as a plain one.

    Raises:
        ForeignArrayError: naming the package and the line that called it.
    """
    frame: FrameType | None = sys._getframe(1)
    found = None
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        package = next((name for name in READERS if f"{module}.".startswith(f"{name}.")), None)
        if package is not None:
            shown = "numpy.matrix" if package == "numpy.matrixlib" else package
            found = _called(frame) or found or (shown, READERS[package])
        elif not is_own(frame.f_code):
            break
        frame = frame.f_back
    if found is not None and frame is not None:
        raise ForeignArrayError(
            f"{found[0]} reads a traced value as a plain array, which would cut its gradient",
            where=str(Source(frame.f_code, frame.f_lasti)),
            fix=found[1],
        )


def _called(frame: FrameType) -> tuple[str, str] | None:
    """The public function of a library that a frame belongs to, and what to call in its place."""
    module, name = frame.f_globals.get("__name__", ""), frame.f_code.co_name
    while "." in module:
        module = module.rpartition(".")[0]
        own = next((own for namer in namers if (own := namer(module, name))), None)
        if own is not None:
            return f"{module}.{name}", f"use {own}"
    return None


def answers_sparse() -> bool:
    """Whether a sparse matrix asks if a traced array has a product of its own: then it has."""
    frame = sys._getframe(2)
    if frame.f_code.co_name != "_matmul_dispatch":
        return False
    return f"{os.sep}scipy{os.sep}sparse{os.sep}" in frame.f_code.co_filename

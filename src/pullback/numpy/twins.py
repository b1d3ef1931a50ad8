"""Twins: NumPy's own Python code, looking up its names where traced values are kept.

``np.gradient`` is a page of slices and arithmetic, all of which are traced; only its calls of
``asarray`` and ``empty`` would refuse a traced value. So a *twin* of a function is the same code
with other globals: NumPy's, with the array constructors of :mod:`pullback.numpy.creation` in the
place of NumPy's. Nothing of NumPy is changed, and a name is looked up when the code needs it.

A *mirror* is a module of Pullback that has every name of a module of NumPy: its own where it has
one, else the twin, else NumPy's.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from functools import wraps
from types import FunctionType, ModuleType
from typing import Any

import numpy as np

from pullback.core.array import Array, parts
from pullback.core.trace import EVALUATE, current_trace
from pullback.numpy import creation

__all__ = ["mirror", "replaces", "submodules", "twin", "with_twins"]

# Modules of NumPy whose functions take arrays and are written in Python.
ABOUT_ARRAYS = frozenset(
    [f"numpy._core.{name}" for name in ("fromnumeric", "function_base", "numeric", "shape_base")]
    + [
        f"numpy.lib._{name}_impl"
        for name in (
            "arraysetops",
            "function_base",
            "histograms",
            "index_tricks",
            "nanfunctions",
            "polynomial",
            "scimath",
            "shape_base",
            "stride_tricks",
            "twodim_base",
            "type_check",
            "ufunclike",
        )
    ]
)
OF_ARRAYS = ("numpy.fft.", "numpy.linalg.", "numpy.polynomial.")
# Classes of NumPy that hold arrays and are written in Python: their subclasses, and these.
BASES = ("ABCPolyBase", "AxisConcatenator")
CLASSES = ("nd_grid", "poly1d", "vectorize")
# Functions whose operands are the elements of a sequence.
OF_SEQUENCES = (
    np.broadcast_arrays,
    np.choose,
    np.column_stack,
    np.concatenate,
    np.dstack,
    np.hstack,
    np.linalg.multi_dot,
    np.piecewise,
    np.select,
    np.stack,
    np.vstack,
)


class _KindOfArray(type):
    def __instancecheck__(cls, value: Any) -> bool:
        return isinstance(value, (Array, np.ndarray))

    def __subclasscheck__(cls, kind: type) -> bool:
        return issubclass(kind, (Array, np.ndarray))


class _AnyArray(metaclass=_KindOfArray):
    """What ``isinstance(x, np.ndarray)`` asks for in the code of a twin."""


def _by_name() -> dict[Any, Any]:
    made = {getattr(np, name): getattr(creation, name) for name in creation.__all__}
    return {**made, np.ndarray: _AnyArray}


# What NumPy's code is handed instead: by identity, since NumPy imports it under many names.
REPLACED: dict[Any, Any] = _by_name()
_twins: dict[Any, Any] = {}
_globals: dict[str, _Globals] = {}


def replaces(original: Any) -> Callable[[Any], Any]:
    """Make the decorated function or class what the code of twins sees instead of NumPy's."""

    def register(own: Any) -> Any:
        REPLACED[original] = own
        return own

    return register


class _Globals(dict[str, Any]):
    """The globals of a module of NumPy, each replaced by its twin when it is first read."""

    def __init__(self, names: dict[str, Any]) -> None:
        super().__init__(__builtins__=names["__builtins__"], __name__=names["__name__"])
        self.names = names

    def __missing__(self, name: str) -> Any:
        value = self[name] = twin(self.names[name])
        return value


class _Namespace:
    """A module of NumPy as the code of a twin sees it."""

    def __init__(self, module: ModuleType) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        value = twin(getattr(self._module, name))
        setattr(self, name, value)
        return value


def twin(value: Any) -> Any:
    """What the code of a twin sees in the place of ``value``; mostly ``value`` itself."""
    try:
        known = _twins.get(value) or REPLACED.get(value)
    except TypeError:  # not hashable: no function, class or module
        return value
    if known is None:
        known = _make(value)
        if known is not value:
            _twins[value] = known
    return known


def _make(value: Any) -> Any:
    if isinstance(value, ModuleType):
        return _Namespace(value) if value.__name__.startswith("numpy") else value
    if type(value) is FunctionType:
        return with_twins(value) if _is_about_arrays(value.__globals__["__name__"]) else value
    if type(value) is type(np.sum) and value is not np.block:  # whose lists are its structure
        return _with_lists(value)
    if isinstance(value, type):
        return _class(value) if _holds_arrays(value) else value
    if _holds_arrays(type(value)):  # np.r_, np.mgrid and the like are objects
        made = object.__new__(twin(type(value)))
        for kind in type(value).__mro__:
            for name in vars(kind).get("__slots__", ()):
                setattr(made, name, getattr(value, name))
        return made
    return value


def _holds_arrays(kind: type) -> bool:
    names = [base.__name__ for base in kind.__mro__]
    return names[0] not in BASES and any(n in (*BASES, *CLASSES) for n in names)


def _is_about_arrays(module: str) -> bool:
    return module in ABOUT_ARRAYS or module.startswith(OF_ARRAYS)


def _with_lists(function: Any) -> Callable[..., Any]:
    """A function of NumPy that also takes lists of traced values, which no protocol shows it."""
    sequences = function in OF_SEQUENCES

    @wraps(function)
    def with_lists(*args: Any, **kwargs: Any) -> Any:
        if current_trace() is EVALUATE:
            return function(*args, **kwargs)
        return function(
            *[_operand(a, sequences) for a in args],
            **{key: _operand(a, sequences) for key, a in kwargs.items()},
        )

    return with_lists


def _operand(value: Any, sequence: bool) -> Any:
    if type(value) not in (list, tuple) or not any(type(part) is Array for part in parts(value)):
        return value
    if sequence:
        return type(value)(_operand(part, False) for part in value)
    return creation.array(value)


def with_twins(function: FunctionType) -> FunctionType:
    """The same code, looking up its names among the twins."""
    names = function.__globals__
    module = names["__name__"]
    if module not in _globals:
        _globals[module] = _Globals(names)
    copy = FunctionType(
        function.__code__,
        _globals[module],
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    copy.__kwdefaults__, copy.__doc__ = function.__kwdefaults__, function.__doc__
    copy.__qualname__, copy.__module__ = function.__qualname__, function.__module__
    return copy


def _class(original: type) -> type:
    """A subclass of a class of NumPy, with the twin of every method, inherited ones included."""
    members: dict[str, Any] = {}
    for base in reversed(original.__mro__):
        if base.__module__.startswith("numpy"):
            for name, member in vars(base).items():
                new = _member(member)
                if new is not member or name in members:
                    members[name] = new
    members["__doc__"] = original.__doc__
    members["__module__"] = _path(original.__module__)
    members.pop("__slots__", None)
    return type(original)(original.__name__, (original,), members)


def _member(member: Any) -> Any:
    if isinstance(member, (staticmethod, classmethod)):
        return type(member)(twin(member.__func__))
    if isinstance(member, property):
        parts = (member.fget, member.fset, member.fdel)
        fget, fset, fdel = (twin(part) for part in parts)
        return property(fget, fset, fdel, member.__doc__)
    return twin(member)


# -- mirrors --------------------------------------------------------------------------------------
Hooks = tuple[Callable[[str], Any], Callable[[], list[str]]]


def mirror(name: str, own: dict[str, Any]) -> Hooks:
    """``__getattr__`` and ``__dir__`` of a module that stands for a module of NumPy.

    ``own`` is the module's globals: a name is looked up once. A module inside is the mirror of
    the same name, if Pullback has one.

    >>> from pullback.numpy.twins import mirror
    >>> __getattr__, __dir__ = mirror("numpy.linalg", {})
    >>> __getattr__("LinAlgError").__name__
    'LinAlgError'
    """
    original = importlib.import_module(name)

    def look_up(attribute: str) -> Any:
        if attribute.startswith("__"):
            raise AttributeError(f"module {_path(name)!r} has no attribute {attribute!r}")
        value = getattr(original, attribute)
        if isinstance(value, ModuleType):
            value = _mirrored(value)
        elif value is not np.ndarray:
            value = twin(value)
        own[attribute] = value
        return value

    def names() -> list[str]:
        return sorted({*dir(original), *own.get("__all__", ())})

    return look_up, names


def _path(module: str) -> str:
    """Where Pullback keeps the mirror of a module of NumPy."""
    return "pullback." + {"numpy.lib.scimath": "numpy.emath"}.get(module, module)


def _mirrored(module: ModuleType) -> ModuleType:
    try:
        return importlib.import_module(_path(module.__name__))
    except ModuleNotFoundError:
        return module


def submodules(package: str, names: tuple[str, ...]) -> None:
    """Make mirrors of modules of NumPy importable below ``package``, which is one itself."""
    for name in names:
        path = f"{package}.{name}"
        module = ModuleType(path, importlib.import_module(path.removeprefix("pullback.")).__doc__)
        module.__getattr__, module.__dir__ = mirror(  # type: ignore[method-assign]
            path.removeprefix("pullback."), vars(module)
        )
        sys.modules[path] = module
        setattr(sys.modules[package], name, module)

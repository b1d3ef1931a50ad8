"""What a staged function reads from outside is handed out as traced values.

A function is staged once and runs many times, so whatever Python computes from the outside while
it is staged would be frozen: ``np.exp(W)`` of a global array ``W``. Therefore a *copy* of the
function is staged, whose closure cells, globals, defaults, attributes and containers hand out a
traced value for each array, so that what is computed from it is recorded. Functions, methods and
modules that are reached from there are handed out as such copies too. Nothing that others see is
changed, and line numbers stay.

Numbers, and the places that arrays were found at, are *watched*: each call compares them, by
identity, with what was read. Random generators are refused where they draw.
"""

from __future__ import annotations

import enum
import functools
import inspect
import random
import sys
from collections.abc import Callable
from operator import itemgetter
from types import (
    BuiltinFunctionType,
    CellType,
    FunctionType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
)
from typing import Any

import numpy as np

from pullback import tree
from pullback.core.array import Array
from pullback.core.foreign import has_own_rules
from pullback.core.source import here, is_own
from pullback.core.trace import current_trace
from pullback.core.wrapper import Wrapper
from pullback.errors import StagingError
from pullback.numpy.installed import is_installed
from pullback.random import Generator
from pullback.transforms.readings import NUMBERS, Readings, Watch, are_numbers, contents, through
from pullback.transforms.stage import Staged, StageTrace

__all__ = ["Outside"]

GENERATORS = (
    np.random.Generator,
    np.random.RandomState,
    np.random.BitGenerator,
    random.Random,
)
STORES = (MemberDescriptorType, functools.cached_property)  # descriptors that compute nothing anew
PLAIN_OBJECTS = ("types.SimpleNamespace", "argparse.Namespace")  # hold what users put into them
# Special methods that Python itself calls to make or to look into objects.
LEFT_ALONE = frozenset(
    {f"__{name}__" for name in ("class", "new", "init", "del", "getattribute", "getattr")}
    | {f"__{name}__" for name in ("setattr", "delattr", "init_subclass", "subclasshook", "dir")}
    | {f"__{name}__" for name in ("reduce", "reduce_ex", "getstate", "setstate", "sizeof")}
    | {f"__{name}__" for name in ("class_getitem", "slots", "dict", "weakref", "module", "doc")}
    | {f"__{name}__" for name in ("set_name", "eq", "hash")}
)


def is_users(cls: type) -> bool:
    """Whether a class is written in Python by the user."""
    if f"{cls.__module__}.{cls.__name__}" in PLAIN_OBJECTS:
        return True
    module = sys.modules.get(cls.__module__)
    file = getattr(module, "__file__", None)
    if cls.__module__ in sys.builtin_module_names or not cls.__flags__ & (1 << 9):
        return False
    return file is None or not (is_installed(file) or is_own_file(file))


def is_own_file(file: str) -> bool:
    return is_own(compile("", file, "exec"))


class Globals(dict[str, Any]):
    """The globals of a copied function: what they hold is handed out."""

    def __init__(self, outside: Outside, source: dict[str, Any]) -> None:
        super().__init__(source)
        self.outside = outside
        self.source = source

    def __getitem__(self, name: str) -> Any:
        value = super().__getitem__(name)
        source = self.source
        if value is not source.get(name, source):  # the function itself has stored it
            return value
        return self.outside.hand(value, (source, name), functools.partial(source.__getitem__, name))


class Module(ModuleType):
    """A module whose attributes are handed out."""

    def __init__(self, outside: Outside, module: ModuleType) -> None:
        super().__init__(module.__name__, module.__doc__)
        vars(self)["__wrapped__"] = outside, module

    def __getattr__(self, name: str) -> Any:
        outside, module = vars(self)["__wrapped__"]
        value = getattr(module, name)
        if module is np or module is np.random:
            return outside.hand(value)
        return outside.hand(value, (module, name), functools.partial(getattr, module, name))

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(vars(self)["__wrapped__"][1], name, value)


class Proxy:
    """An object of the user whose attributes are handed out, and whose methods are copies."""

    __slots__ = ("__weakref__", "_object", "_outside")

    def __init__(self, outside: Outside, obj: Any) -> None:
        object.__setattr__(self, "_object", obj)
        object.__setattr__(self, "_outside", outside)

    def __getattribute__(self, name: str) -> Any:
        obj = object.__getattribute__(self, "_object")
        if name == "__class__":
            return type(obj)
        outside = object.__getattribute__(self, "_outside")
        return outside.attribute(self, obj, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(object.__getattribute__(self, "_object"), name, value)

    def __delattr__(self, name: str) -> None:
        delattr(object.__getattribute__(self, "_object"), name)

    def __eq__(self, other: Any) -> Any:
        obj = object.__getattribute__(self, "_object")
        if issubclass(type(other), Proxy):
            other = object.__getattribute__(other, "_object")
        return obj is other or obj == other

    def __hash__(self) -> int:
        return hash(object.__getattribute__(self, "_object"))


class Class(Proxy):
    """A class of the user: what is stored in it is handed out, and its objects are proxies."""

    __slots__ = ()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        cls = object.__getattribute__(self, "_object")
        return object.__getattribute__(self, "_outside").made(cls, args, kwargs)

    def __instancecheck__(self, obj: Any) -> bool:
        return isinstance(obj, object.__getattribute__(self, "_object"))

    def __subclasscheck__(self, cls: Any) -> bool:
        return issubclass(cls, object.__getattribute__(self, "_object"))

    def __mro_entries__(self, bases: Any) -> Any:
        return (object.__getattribute__(self, "_object"),)


@functools.lru_cache(maxsize=1024)
def proxy_class(cls: Any) -> type[Proxy]:
    """A proxy with the special methods that ``cls`` has."""

    def forwarded(name: str) -> Callable[..., Any]:
        def method(self: Any, /, *args: Any, **kwargs: Any) -> Any:
            return getattr(self, name)(*args, **kwargs)

        return method

    names = {
        name
        for base in cls.__mro__[:-1]
        for name in vars(base)
        if name.startswith("__") and name.endswith("__") and name not in LEFT_ALONE
        if callable(getattr(base, name))
    }
    return type(cls.__name__, (Proxy,), {"__slots__": (), **{n: forwarded(n) for n in names}})


def refuse_draw(trace: StageTrace, what: str) -> Callable[..., Any]:
    """Stands for a function that draws random numbers."""

    def draw(*args: Any, **kwargs: Any) -> Any:
        raise StagingError(
            f"{what} draws random numbers inside {trace.name}: every run would repeat the same",
            where=str(here()),
            fix="pass rng = pullback.random.default_rng(seed) as an argument and draw from it: the "
            "state advances at every call",
        )

    return draw


class Drawing:
    """A random generator that refuses to draw, or what makes one, and refuses to without a seed."""

    def __init__(self, trace: StageTrace, generator: Any) -> None:
        vars(self).update(_trace=trace, _generator=generator)

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        return type(self._generator)

    def __call__(self, seed: Any = None) -> Any:
        if seed is None:
            refuse_draw(self._trace, "default_rng without a seed")()
        return self._generator(seed)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._generator, name)
        return refuse_draw(self._trace, name) if callable(value) else value


class Outside:
    """Hands out what is read from outside while ``trace`` is active; later, the thing itself."""

    def __init__(self, trace: StageTrace) -> None:
        self.trace = trace
        trace.reader = self
        self.watches: dict[Any, Watch] = {}
        self.handed: dict[int, tuple[Any, Any]] = {}  # by identity: the thing, what stands for it
        self.places: dict[int, Any] = {}  # where it was found first
        self.contents: dict[int, Any] = {}  # what was put into copied cells, lists, dictionaries

    def is_active(self) -> bool:
        trace: Any = current_trace()
        while trace is not None:
            if trace is self.trace:
                return True
            trace = trace.outer
        return False

    def watch(self, key: Any, look: Callable[[], Any], found: Any) -> None:
        holder, name = key
        self.watches.setdefault((id(holder), name), Watch(look, found))

    def hand(self, value: Any, key: Any = None, look: Any = None) -> Any:
        """What stands for ``value``, which ``look()`` has found at the place named by ``key``."""
        if not self.is_active():
            return value
        kind: Any = type(value)
        if kind is np.ndarray and value.dtype.kind in "fiubc":
            if look is not None:
                self.watch(key, look, value)
            return self.trace.handle(value)
        if isinstance(value, NUMBERS):
            if look is not None:
                self.watch(key, look, value)
            return value
        if isinstance(value, np.ndarray) and (kind is np.ndarray or has_own_rules(kind)):
            self.trace.pin(value)
            return value
        if id(value) not in self.handed:
            self.handed[id(value)] = value, value  # what it holds may lead back here
            self.places[id(value)] = key
            self.handed[id(value)] = value, self.stand_in(value, look or (lambda: value))
        stands = self.handed[id(value)][1]
        is_held = issubclass(type(stands), Proxy) or isinstance(value, tuple)
        if look is not None and (is_held or self.is_second_place(value, key)):
            self.watch(key, look, value)
        return stands

    def is_second_place(self, value: Any, key: Any) -> bool:
        """Whether a container was found at another place before, by which it is looked at."""
        first = self.places[id(value)]
        is_same = first is not None and first[0] is key[0] and first[1] == key[1]
        return not is_same and tree.is_container(value)

    def stand_in(self, value: Any, look: Callable[[], Any]) -> Any:
        kind: Any = type(value)
        if isinstance(value, GENERATORS) or value is np.random.default_rng:
            return Drawing(self.trace, value)
        if isinstance(value, np.ndarray):
            return self.trace.handle(np.asarray(value))
        if kind is FunctionType:
            return self.function(value)
        if kind is MethodType:
            if isinstance(value.__self__, GENERATORS):
                return refuse_draw(self.trace, value.__name__)
            return MethodType(self.hand(value.__func__), self.hand(value.__self__))
        if kind is BuiltinFunctionType or kind.__name__ == "builtin_function_or_method":
            is_draw = isinstance(getattr(value, "__self__", None), GENERATORS)
            return refuse_draw(self.trace, value.__name__) if is_draw else value
        if kind is ModuleType:
            return Module(self, value) if self.is_followed(value) else value
        if kind is functools.partial:
            fun, *args = (self.hand(part) for part in (value.func, *value.args))
            named = {name: self.hand(part) for name, part in value.keywords.items()}
            return functools.partial(fun, *args, **named)
        return self.container(value, look)

    def container(self, value: Any, look: Callable[[], Any]) -> Any:
        """A container or an object, with what it holds handed out."""
        kind: Any = type(value)
        if isinstance(value, (Generator, Array, enum.Enum, BaseException)) or has_own_rules(kind):
            return value
        if isinstance(value, type):
            is_plain = type(value) is type and is_users(value) and not tree.is_registered(value)
            if not is_plain or issubclass(value, (enum.Enum, BaseException, tuple, np.ndarray)):
                return value
            return Class(self, value)
        if isinstance(value, Wrapper):
            return value.with_parts(self.hand)
        if kind in (list, dict):
            return self.copied(value, look)
        if isinstance(value, tuple):
            parts = [self.hand(part) for part in value]
            if all(a is b for a, b in zip(parts, value, strict=True)):
                return value
            return kind(*parts) if hasattr(value, "_fields") else kind(parts)
        if tree.is_container(value):
            accessors = tree.accessors(value)
            leaves, structure = tree.flatten(value)
            parts = [
                self.hand(leaf, (value, place.path), functools.partial(through, look, place))
                for leaf, place in zip(leaves, accessors, strict=True)
            ]
            changed = any(a is not b for a, b in zip(parts, leaves, strict=True))
            return tree.unflatten(structure, parts) if changed else value
        return proxy_class(kind)(self, value) if is_users(kind) else value

    def copied(self, value: Any, look: Callable[[], Any]) -> Any:
        """A list or dictionary with what it holds handed out; itself if that is all the same."""
        items = list(value.items() if type(value) is dict else enumerate(value))
        if are_numbers(part for _, part in items):
            self.watch((value, "all"), functools.partial(through, look, contents), contents(value))
            return value
        self.watch((value, "length"), functools.partial(through, look, len), len(value))
        parts = {
            key: self.hand(part, (value, key), functools.partial(through, look, itemgetter(key)))
            for key, part in items
        }
        if all(parts[key] is part for key, part in items):
            return value
        copy: Any = parts if type(value) is dict else list(parts.values())
        self.contents[id(copy)] = dict(parts)
        return copy

    def is_followed(self, module: ModuleType) -> bool:
        if module in (np, np.random, random):
            return True
        file = getattr(module, "__file__", None)
        return file is not None and not is_installed(file) and not is_own_file(file)

    def attribute(self, proxy: Proxy, obj: Any, name: str) -> Any:
        """``obj.name``, as it is seen through ``proxy``; what is computed anew is not watched."""
        if name == "__dict__":
            return self.hand(vars(obj))
        found = inspect.getattr_static(obj, name, None)
        if isinstance(found, property) and type(found.fget) is FunctionType and self.is_active():
            return self.hand(found.fget)(proxy)
        value = getattr(obj, name)
        if type(value) is MethodType and value.__self__ is obj:
            return MethodType(self.hand(value.__func__), proxy)
        if value is not found and not isinstance(found, STORES):
            return value if isinstance(value, np.ndarray) else self.hand(value)
        return self.hand(value, (obj, name), functools.partial(getattr, obj, name))

    def made(self, cls: type, args: Any, kwargs: Any) -> Any:
        """``cls(*args, **kwargs)``, by copies of the methods of ``cls``."""
        make: Any = cls.__new__
        if not self.is_active() or make is not object.__new__:
            return cls(*args, **kwargs)
        proxy = proxy_class(cls)(self, object.__new__(cls))
        start: Any = cls.__init__  # type: ignore[misc]
        self.hand(start)(proxy, *args, **kwargs)
        return proxy

    def function(self, function: FunctionType) -> FunctionType:
        """A copy that reads through us; of code that is not the user's, with a copied closure."""
        code = function.__code__
        is_users = not is_own(code) and not is_installed(code.co_filename)
        if not is_users and not function.__closure__:
            return function
        later: list[tuple[CellType, CellType]] = []
        cells = [
            cell if name == "__class__" else self.cell(cell, later)
            for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True)
        ]
        space = self.globals(function.__globals__) if is_users else function.__globals__
        defaults = function.__defaults__
        copied = FunctionType(
            code,
            space,
            function.__name__,
            None if defaults is None else tuple(map(self.hand, defaults)),
            tuple(cells),
        )
        for name in ("__qualname__", "__doc__", "__module__", "__annotations__"):
            setattr(copied, name, getattr(function, name))
        copied.__dict__.update(function.__dict__)
        if function.__kwdefaults__:
            copied.__kwdefaults__ = {k: self.hand(v) for k, v in function.__kwdefaults__.items()}
        self.handed[id(function)] = function, copied
        for cell, copy in later:
            copy.cell_contents = self.contents[id(copy)] = self.hand(cell.cell_contents)
        return copied

    def cell(self, cell: CellType, later: list[tuple[CellType, CellType]]) -> CellType:
        """What stands for a cell; functions are filled in ``later``: they may be recursive."""
        if id(cell) not in self.handed:
            try:
                content = cell.cell_contents
            except ValueError:
                return cell
            copy = cell
            if type(content) is FunctionType:
                copy = CellType()
                later.append((cell, copy))
            else:
                look = functools.partial(getattr, cell, "cell_contents")
                stands = self.hand(content, (cell, ""), look)
                if stands is not content:
                    copy = CellType(stands)
                    self.contents[id(copy)] = stands
            self.handed[id(cell)] = cell, copy
        found: CellType = self.handed[id(cell)][1]
        return found

    def give_back(self) -> None:
        """Store what the copies have stored where the originals would have stored it."""
        for original, copy in list(self.handed.values()):
            if copy is original:
                continue
            if type(copy) is Globals:
                for name, value in dict.items(copy):
                    if value is not original.get(name, copy):
                        original[name] = value
            elif type(copy) is CellType:
                if copy.cell_contents is not self.contents[id(copy)]:
                    original.cell_contents = copy.cell_contents
            elif id(copy) in self.contents:
                self.give_back_items(original, copy, self.contents[id(copy)])

    @staticmethod
    def give_back_items(original: Any, copy: Any, before: dict[Any, Any]) -> None:
        items = dict(copy.items() if type(copy) is dict else enumerate(copy))
        if items.keys() == before.keys() and all(items[k] is before[k] for k in items):
            return
        old = dict(original.items() if type(copy) is dict else enumerate(original))
        found = {k: old[k] if k in old and v is before.get(k) else v for k, v in items.items()}
        if type(copy) is dict:
            original.clear()
            original.update(found)
        else:
            original[:] = found.values()

    def readings(self, staged: Staged) -> Readings:
        """What was read, once it is staged."""
        slots = {}
        for array, _ in self.trace.handles.values():
            core = self.trace.captured[id(array)][1]
            slots[id(array)] = [i for i, value in enumerate(staged.captured) if value is core]
        return Readings(
            staged, list(self.watches.values()), list(self.trace.pinned.values()), slots
        )

    def globals(self, source: dict[str, Any]) -> Globals:
        if id(source) not in self.handed:
            space = Globals(self, source)
            self.handed[id(source)] = source, space
        found: Globals = self.handed[id(source)][1]
        return found

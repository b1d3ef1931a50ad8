"""The traced array with NumPy's doors, and ``bind``, which sends an operation to a trace.

An :class:`Array` is a *handle*: the user-visible name of an immutable traced value. In-place
code rebinds the handle; views remember their base, so aliases see each other's writes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import numpy as np

from pullback.core.foreign import (
    answers_sparse,
    plain_array,
    refuse_foreign_in,
    refuse_reading,
)
from pullback.core.source import here, is_shown
from pullback.core.trace import EVALUATE, Handle, Trace
from pullback.core.types import NUMBERS, Operation, Shape, is_differentiable, type_of
from pullback.errors import LeakedTracerError, TracedValueError, UnsupportedError

__all__ = [
    "PLAIN",
    "Array",
    "as_array",
    "attributes",
    "bind",
    "functions",
    "loaders",
    "methods",
    "operand",
    "parts",
    "remedies",
    "ufunc_methods",
    "ufuncs",
    "weakly",
]

# NumPy's names -> traced functions; filled by the floors above while they are imported.
ufuncs: dict[Any, Callable[..., Any]] = {}
ufunc_methods: dict[str, Callable[..., Any]] = {}
# Called with a ufunc that nobody has met yet: imports the module that knows it.
loaders: list[Callable[[Any], None]] = []
functions: dict[Any, Callable[..., Any]] = {}
methods: dict[str, Callable[..., Any]] = {}
attributes: dict[str, Callable[..., Any]] = {}
remedies: dict[str, str] = {}  # for what ndarray has and traced arrays have not


def load(ufunc: Any) -> Any:
    """The traced form of a ufunc of a library that was not imported yet, or ``None``."""
    for loader in loaders:
        loader(ufunc)
    return ufuncs.get(ufunc.__name__)


class Array(Handle):
    """An array whose operations are traced. Behaves like ``numpy.ndarray``; made by transforms."""

    __slots__ = ()
    __array_priority__ = 1000.0
    __pullback_plain__ = True

    @property
    def T(self) -> Any:
        return functions[np.transpose](self)

    @property
    def mT(self) -> Any:
        return functions[np.matrix_transpose](self)

    @property
    def real(self) -> Any:
        return functions[np.real](self)

    @real.setter
    def real(self, value: Any) -> None:
        self.real[...] = value

    @property
    def imag(self) -> Any:
        return functions[np.imag](self)

    @imag.setter
    def imag(self, value: Any) -> None:
        self.imag[...] = value

    @property
    def flat(self) -> Any:
        return attributes["flat"](self)

    @flat.setter
    def flat(self, values: Any) -> None:
        attributes["flat"](self)[:] = values

    @property
    def shape(self) -> Shape:
        return self.traced_by.shape_of(self)

    @shape.setter
    def shape(self, new: Any) -> None:
        attributes["set_shape"](self, new)

    def __copy__(self) -> Any:
        return methods["__copy__"](self)

    def __deepcopy__(self, memo: Any) -> Any:
        return methods["__copy__"](self)

    def __round__(self, ndigits: int | None = None) -> Any:
        return methods["__round__"](self, ndigits)

    def __contains__(self, value: Any) -> bool:
        return bool(functions[np.any](self == value))

    def __delitem__(self, key: Any) -> None:
        raise ValueError("cannot delete array elements")

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of unsized object")
        return self.shape[0]

    def __iter__(self) -> Iterator[Any]:
        if not self.shape:
            raise TypeError("iteration over a 0-d array")
        return (self[i] for i in range(self.shape[0]))

    def __getattr__(self, name: str) -> Any:
        method = methods.get(name)
        if method is not None:
            return method.__get__(self)
        attribute = attributes.get(name)
        if attribute is None:
            raise refusal_of(name)
        return attribute(self)

    def __getitem__(self, key: Any) -> Any:
        return methods["__getitem__"](self, key)

    def __setitem__(self, key: Any, value: Any) -> None:
        methods["__setitem__"](self, key, value)

    # -- NumPy's doors ------------------------------------------------------------------------
    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if method == "__call__":
            function = ufuncs.get(ufunc) or ufuncs.get(ufunc.__name__) or load(ufunc)
            if function is None:
                raise UnsupportedError(
                    f"{ufunc.__name__} has no traced form",
                    where=str(here()),
                    fix="write it with supported functions, or wrap it in pullback.custom_vjp",
                )
            for a in inputs:
                if type(a) not in PLAIN:
                    inputs = tuple(map(operand, inputs))
                    break
            if kwargs:
                return ufunc_methods["__call__"](function, *inputs, **kwargs)
            return function(*inputs)
        if method not in ufunc_methods:
            raise UnsupportedError(
                f"{ufunc.__name__}.{method} has no traced form", where=str(here())
            )
        return ufunc_methods[method](ufunc, *inputs, **kwargs)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        for value in (*args, *kwargs.values()):
            if type(value) not in PLAIN:
                refuse_foreign_in(value)
        traced = functions.get(function)
        if traced is None:  # NumPy names what it finds in its module, which may wrap its own
            traced = functions.get(getattr(function, "__wrapped__", None))
        if traced is None:
            name = f"{getattr(function, '__module__', 'numpy')}.{function.__name__}"
            raise UnsupportedError(
                f"{name} has no traced form",
                where=str(here()),
                fix="write it with supported functions, or wrap it in pullback.custom_vjp",
            )
        return traced(*args, **kwargs)

    # -- doors that would cut a gradient ------------------------------------------------------
    def _plain(self, purpose: str) -> Any:
        if self.alias is not None:
            self.alias.refresh(self)
        if self.traced_by is not EVALUATE:
            known = self.traced_by.known(self)
            if known is not None:
                return known
            if is_shown():
                return self.traced_by.concrete(self, purpose)
            refuse_reading()
            source = here()
            text = source.text if source else ""
            effect = "would cut its gradient"
            if not is_differentiable(self.dtype):
                effect = "is needed, but it has none"
                fix = "as an index into a plain NumPy array, write pullback.numpy.array(table)[i]"
            elif "math." in text:
                fix = "use the NumPy function of the same name instead of math's"
            elif source and source.operation == "STORE_SUBSCR":
                fix = (
                    "the buffer on the left is a plain NumPy array: use 'import pullback.numpy as "
                    "np', whose zeros, empty and array record assignments, or call "
                    "pullback.record_numpy() first"
                )
            elif purpose == "the plain NumPy array":
                fix = (
                    "np.stack makes an array of a list of traced values; for np.array, vectorize, "
                    "nditer and polynomials call pullback.record_numpy() first, or use "
                    "'import pullback.numpy as np'"
                )
            else:
                fix = (
                    "keep it an array and use NumPy functions on it; pullback.stop_gradient(x) "
                    "makes a constant on purpose"
                )
            self.traced_by.refusal = refusal = TracedValueError(
                f"{purpose} of a value traced by {self.traced_by.name} {effect}",
                where=str(source),
                details=[f"value: {self.traced_by.type_of(self)}"],
                fix=fix,
            )
            raise refusal
        return self.value

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        if answers_sparse():  # what is no array in its eyes is asked for its own product
            return np.array(None, dtype=object)
        plain = np.array(self._plain("the plain NumPy array"), dtype=dtype)
        plain.flags.writeable = False
        return plain

    def __float__(self) -> float:
        return float(self._plain("float()"))

    def __int__(self) -> int:
        return int(self._plain("int()"))

    def __complex__(self) -> complex:
        return complex(self._plain("complex()"))

    def __index__(self) -> int:
        index: int = self._plain("the integer index").__index__()
        return index

    def item(self, *args: Any) -> Any:
        return self._plain("item()").item(*args)

    def tolist(self) -> Any:
        return self._plain("tolist()").tolist()

    def __bool__(self) -> bool:
        if self.alias is not None:
            self.alias.refresh(self)
        return bool(self.traced_by.concrete(self, "the truth value"))

    # -- printing: the concrete value where there is one --------------------------------------
    def __repr__(self) -> str:
        shown = getattr(self.traced_by, "show", None)
        if shown is not None:
            return f"Array({shown(self)}, traced by {self.traced_by.name})"
        return (
            f"Array({self.traced_by.concrete(self, 'printing')}, traced by {self.traced_by.name})"
        )

    def __format__(self, spec: str) -> str:
        return format(self.traced_by.concrete(self, "formatting"), spec) if spec else repr(self)

    def __divmod__(self, other: Any) -> tuple[Any, Any]:
        return self // other, self % other

    def __rdivmod__(self, other: Any) -> tuple[Any, Any]:
        return other // self, other % self

    __hash__ = None  # type: ignore[assignment]


def refusal_of(name: str) -> AttributeError:
    """What reading an attribute raises that traced arrays do not have."""
    if not hasattr(np.ndarray, name):
        return AttributeError(f"traced arrays have no attribute {name!r}")
    error = UnsupportedError(
        f"ndarray.{name} has no traced form",
        where=str(here()),
        fix=remedies.get(name, "write it with supported functions"),
    )
    return AttributeError(str(error))


MOVING = ("index", "linear")  # families of operations that move elements or add them up
PLAIN = {Array, np.ndarray, bool, int, float, complex, np.float64, np.float32, np.int64, np.int32}
PLAIN |= {np.bool_, np.complex128, np.complex64}


def operand(value: Any) -> Any:
    """``value`` as an operand: arrays and scalars as they are, nested sequences as arrays."""
    if isinstance(value, (Array, np.generic, bool, int, float, complex)):
        return value
    if any(type(part) is Array for part in parts(value)):
        return functions[np.array](value)
    converted = plain_array(value)
    type_of(converted)
    return converted


def as_array(value: Any, path: str = "an operand") -> Any:
    """``value`` with a shape and a dtype of its own: arrays and NumPy's scalars stay as they are.

    A number of Python is one no more: it promotes as an array does, traced or not.
    """
    if type(value) is Array:
        weak = value.traced_by.is_weak(value)
        return methods["astype"](value, value.dtype) if weak else value
    if isinstance(value, np.generic):
        return value
    return plain_array(value, path)


def parts(value: Any) -> Iterator[Any]:
    """The leaves of nested sequences."""
    if isinstance(value, (list, tuple)):
        for part in value:
            yield from parts(part)
    else:
        yield value


def bind(primitive: Operation, args: Any, params: dict[str, Any]) -> Any:
    """Apply ``primitive``: evaluate it on plain arrays, or let the innermost trace record it."""
    top = None
    mixed = False
    for a in args:
        if type(a) is Array:
            if a.alias is not None:
                a.alias.refresh(a)
            trace = a.traced_by
            if trace is not top:
                if top is None:
                    top = trace
                else:
                    mixed = True
                    if trace.level > top.level:
                        top = trace
    if top is None:
        return primitive.numpy(*weakly(primitive, args), **params)
    if not top.alive:
        args = _revived(top, args)
        return bind(primitive, args, params)
    if mixed:
        args = [a if type(a) is not Array or a.traced_by is top else a.constant() for a in args]
    return top.process(primitive, args, params)


def weakly(primitive: Operation, args: Any) -> Any:
    """Operands with Python's numbers for those that traces hold, which promote like these.

    What moves elements promotes nothing, and a rule may index a number: it stays NumPy's scalar.
    """
    if primitive.family in MOVING:
        return args
    for a in args:
        if type(a) is not np.ndarray and type(a) in NUMBERS:
            return [b.item() if type(b) in NUMBERS else b for b in args]
    return args


def _revived(trace: Any, args: Any) -> list[Any]:
    """The operands with arrays from outside for the traced values that stood for them."""
    others = []
    for a in args:
        if type(a) is Array and a.traced_by is trace:
            own = trace.outside(a)
            others.append(_refuse_leaked(trace, args) if own is None else own)
        else:
            others.append(a)
    return others


def _refuse_leaked(trace: Trace, args: Any) -> NoReturn:
    leaked = next(a for a in args if type(a) is Array and a.traced_by is trace)
    raise LeakedTracerError(
        f"a traced value of a finished {trace.name} is used",
        where=str(here()),
        details=[f"value: {trace.type_of(leaked)}"],
        fix=f"return the value from the function given to {trace.name} (has_aux=True keeps "
        "extra outputs) instead of storing it elsewhere",
    )

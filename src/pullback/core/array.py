"""The traced array, the stack of active traces, and ``bind``, which sends an operation to a trace.

A :class:`Trace` gives one meaning to operations (record for reverse mode, carry a tangent, stage
a graph, ...). Traces nest: an operation belongs to the innermost trace among its operands, all
other operands are constants to it, and its own values are computed one level further out. That
rule alone keeps nested derivatives apart (no perturbation confusion).

An :class:`Array` is a *handle*: the user-visible name of an immutable traced value. In-place
code rebinds the handle; views remember their base, so aliases see each other's writes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar, Token
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from pullback.core.foreign import plain_array, refuse_foreign_in, refuse_reading
from pullback.core.refusals import located
from pullback.core.source import here
from pullback.core.strides import Strides, contiguous, stand_in
from pullback.core.types import ArrayType, Shape, is_differentiable, type_of
from pullback.errors import (
    DTypeError,
    LeakedTracerError,
    MutationError,
    PullbackError,
    TracedValueError,
    UnsupportedError,
)

if TYPE_CHECKING:
    from pullback.core.primitive import Primitive

__all__ = [
    "EVALUATE",
    "Alias",
    "Array",
    "Trace",
    "attributes",
    "as_arguments",
    "as_array",
    "as_memory",
    "base_of",
    "bind",
    "current_trace",
    "functions",
    "is_same",
    "is_scalar",
    "is_writeable",
    "memory",
    "methods",
    "remedies",
    "ufunc_methods",
    "ufuncs",
    "view",
    "write",
]

# NumPy's names -> traced functions; filled by the floors above while they are imported.
ufuncs: dict[Any, Callable[..., Any]] = {}
ufunc_methods: dict[str, Callable[..., Any]] = {}
attributes: dict[str, Callable[..., Any]] = {}
remedies: dict[str, str] = {}  # for what ndarray has and traced arrays have not
functions: dict[Any, Callable[..., Any]] = {}
methods: dict[str, Callable[..., Any]] = {}
attributes: dict[str, Callable[..., Any]] = {}
remedies: dict[str, str] = {}  # for what ndarray has and traced arrays have not


class Trace:
    """One meaning of operations, active inside its ``with`` block."""

    name = "trace"
    abstract = False  # whether values are unknown, so that Python runs once for many evaluations

    def __init__(self) -> None:
        self.level = 0
        self.alive = False
        self.outer: Trace | None = None

    def __enter__(self) -> Any:
        self.outer = _current.get()
        self.level = self.outer.level + 1
        self.alive = True
        self._token: Token[Trace] = _current.set(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.alive = False
        _current.reset(self._token)
        # NumPy hides the refusal of float(x) behind "setting an array element with a sequence".
        if error is not None and isinstance(error.__cause__, PullbackError):
            raise error.__cause__ from None
        refusal = located(error)
        if refusal is not None:
            raise refusal from None

    def process(self, primitive: Primitive, args: Any, params: dict[str, Any]) -> Any:
        """Give ``primitive`` its meaning here.

        At least one operand belongs to this trace; traced operands of other traces are constants.
        """
        raise NotImplementedError

    def type_of(self, array: Array) -> ArrayType:
        return type_of(array.value)

    def dtype_of(self, array: Array) -> np.dtype[Any]:
        return self.type_of(array).dtype

    def shape_of(self, array: Array) -> Shape:
        shape: Shape = array.value.shape
        return shape

    def strides_of(self, array: Array) -> Strides:
        """Where NumPy would put the elements of an array that is no view."""
        value = array.value
        strides: Strides = memory(value).strides if type(value) is Array else value.strides
        return strides

    def wrote(self, array: Array) -> None:
        """Called before the first value of an array, if it is this one, gives way to another."""
        if type(array.value) is Array:
            array.value.trace.wrote(array.value)

    def lay(self, array: Array, like: Strides | Array) -> None:
        """Let a value that was just made lie in memory so, or as the earlier value ``like``."""
        value = array.value
        if type(value) is Array:
            own = type(like) is Array and like.trace is self and type(like.value) is Array
            value.trace.lay(value, like.value if own else like)  # type: ignore[union-attr]
        elif type(value) is np.ndarray:
            strides = like.trace.strides_of(like) if type(like) is Array else like
            if value.strides != strides and value.ndim > 1:
                array.value = moved = stand_in(type_of(value), strides)
                moved[...] = value

    def concrete(self, array: Array, purpose: str) -> Any:
        """The plain value behind ``array``, for control flow and printing; or an error."""
        value = array.value
        return value.trace.concrete(value, purpose) if type(value) is Array else value


class EvaluateTrace(Trace):
    """Outermost meaning: NumPy computes. Its arrays are buffers for traced values to come."""

    name = "evaluate"

    def process(self, primitive: Primitive, args: Any, params: dict[str, Any]) -> Any:
        result = primitive.numpy(*[a.value if type(a) is Array else a for a in args], **params)
        if primitive.multiple:
            return tuple(Array(self, np.asarray(part)) for part in result)
        return Array(self, np.asarray(result))


EVALUATE = EvaluateTrace()
EVALUATE.alive = True
_current: ContextVar[Trace] = ContextVar("current_trace", default=EVALUATE)
current_trace = _current.get


def bind(primitive: Primitive, args: Any, params: dict[str, Any]) -> Any:
    """Apply ``primitive``: evaluate it on plain arrays, or let the innermost trace record it."""
    top = None
    mixed = False
    for a in args:
        if type(a) is Array:
            if a.alias is not None:
                a.alias.refresh(a)
            trace = a.trace
            if trace is not top:
                if top is None:
                    top = trace
                else:
                    mixed = True
                    if trace.level > top.level:
                        top = trace
    if top is None:
        return primitive.numpy(*args, **params)
    if not top.alive:
        _refuse_leaked(top, args)
    if mixed:
        args = [a if type(a) is not Array or a.trace is top else a.constant() for a in args]
    return top.process(primitive, args, params)


def _refuse_leaked(trace: Trace, args: Any) -> NoReturn:
    leaked = next(a for a in args if type(a) is Array and a.trace is trace)
    raise LeakedTracerError(
        f"a traced value of a finished {trace.name} is used",
        where=str(here()),
        details=[f"value: {trace.type_of(leaked)}"],
        fix=f"return the value from the function given to {trace.name} (has_aux=True keeps "
        "extra outputs) instead of storing it elsewhere",
    )


class Alias:
    """What is known of the memory of an array.

    Of a view: its base, how to read it from there and how to write it back. Of an array with memory
    of its own: the ``strides`` it was made with, if writes may have changed those of its value; and
    how many writes there were.
    """

    __slots__ = ("get", "key", "overlaps", "parent", "put", "seen", "strides", "version")

    def __init__(
        self,
        parent: Array | None = None,
        get: Any = None,
        put: Any = None,
        strides: Strides | Array | None = None,
    ) -> None:
        self.parent, self.get, self.put = parent, get, put
        self.strides = strides
        self.overlaps = False  # partly with another argument
        self.key: Any = None
        self.version = 0
        self.seen = self.root().version

    def refers_to(self, parent: Array, key: Any) -> bool:
        """Whether this is the view ``parent[key]``, for a basic static key."""
        return self.parent is parent and self.key == key

    def root(self) -> Alias:
        alias = self
        while alias.parent is not None:
            assert alias.parent.alias is not None
            alias = alias.parent.alias
        return alias

    def refresh(self, array: Array) -> None:
        """Read the view again if its base was written since."""
        if self.parent is not None:
            version = self.root().version
            if version != self.seen:
                array.rebind(self.get(self.parent))
                self.seen = version


def view(parent: Any, get: Callable[[Any], Any], put: Callable[[Any, Any], Any] | None) -> Any:
    """Read ``get(parent)`` as a NumPy view: later writes to either are seen by the other.

    ``put(parent, new)`` is the parent after the view was overwritten by ``new``; ``None`` makes
    the view read-only.
    """
    result = get(parent)
    if type(result) is Array and type(parent) is Array:
        if is_scalar(parent):  # immutable: what comes of it has memory of its own
            return result
        if parent.alias is None:
            parent.alias = Alias()
        result.alias = Alias(parent, get, put)
    return result


def is_scalar(array: Array) -> bool:
    """Whether NumPy would have a scalar here: immutable, and shared with nothing.

    An array without axes has an alias, be it of itself only; a result of an operation has none.
    """
    return array.alias is None and not array.trace.shape_of(array)


def as_memory(array: Any) -> Any:
    """``array`` as one that can be written to even without axes, where NumPy has no scalar."""
    if type(array) is Array and array.alias is None and not array.shape:
        array.alias = Alias()
    return array


def as_arguments(handles: Sequence[Array], values: Sequence[Any]) -> None:
    """Give the handles of arguments the memory of the ``values`` that they stand for.

    An array without axes can be written to, a number cannot; the same array given twice is one, so
    that a write to either is seen by both.
    """
    owners: dict[int, list[tuple[Array, Any]]] = {}
    for handle, value in zip(handles, values, strict=True):
        if type(value) is np.ndarray:
            if value.ndim < 2 and not (value.ndim and value.flags.c_contiguous):
                handle.alias = Alias(strides=value.strides)
            owner = value if value.base is None else value.base
        elif type(value) is Array:
            if value.alias is not None and value.trace.type_of(value).ndim < 2:
                handle.alias = Alias(strides=memory(value).strides)
            owner = base_of(value) or value
        else:
            continue
        owners.setdefault(id(owner), []).append((handle, value))
    if len(owners) < len(handles):
        for group in owners.values():
            for k, (handle, value) in enumerate(group):
                for earlier, other in group[:k]:
                    unite(earlier, other, handle, value)


def unite(first: Array, a: Any, second: Array, b: Any) -> None:
    """Two arguments of one owner: one array, parts that overlap, or parts apart."""
    if is_same(a, b):
        if first.alias is None:
            first.alias = Alias()
        second.alias = Alias(first, lambda base: base, lambda _, new: new)
    elif functions[np.shares_memory](a, b):
        for handle in (first, second):
            handle.alias = handle.alias or Alias()
            handle.alias.overlaps = True


def is_same(a: Any, b: Any) -> bool:
    """Whether two arrays are the same elements at the same places."""
    if type(a) is Array:
        if is_scalar(a) or is_scalar(b):
            return False
        roots: dict[int, Any] = {}
        a, b = memory(a, roots), memory(b, roots)
    return a is b or (
        a.ctypes.data == b.ctypes.data
        and (a.shape, a.strides, a.dtype) == (b.shape, b.strides, b.dtype)
    )


def overlapping(array: Array) -> MutationError:
    return MutationError(
        "an argument is written that overlaps another argument in memory",
        where=str(here()),
        details=[f"array: {array.trace.type_of(array)}"],
        fix="pass a copy of one of them (x.copy())",
    )


def base_of(array: Array) -> Array | None:
    """The array that owns the memory of a view; ``None`` for one that has its own."""
    base = None
    while array.alias is not None and array.alias.parent is not None:
        base = array = array.alias.parent
    return base


def is_writeable(array: Array) -> bool:
    """Whether NumPy would write to ``array``: no scalar, nor a view that is read-only."""
    if is_scalar(array):
        return False
    while array.alias is not None and array.alias.parent is not None:
        if array.alias.put is None:
            return False
        array = array.alias.parent
    return True


def memory(array: Array, roots: dict[int, Any] | None = None) -> Any:
    """A plain array of zeros that lies as NumPy would have ``array`` lie in memory.

    Views of one array share memory with one another if they are asked for with the same ``roots``.
    """
    alias, type = array.alias, array.trace.type_of(array)
    if alias is not None and alias.parent is not None:
        return alias.get(memory(alias.parent, roots))
    if roots is not None:
        return roots.setdefault(id(array), memory(array))
    if alias is not None and alias.strides is not None:
        strides = alias.strides
    elif type.ndim > 1:
        strides = array.trace.strides_of(array)
    else:
        strides = contiguous(type)
    if isinstance(strides, Array):
        assert alias is not None
        strides = alias.strides = strides.trace.strides_of(strides)
    return stand_in(type, strides)


def write(array: Array, new: Any) -> None:
    """Overwrite the whole content of ``array`` by ``new`` (same shape), and of what it views."""
    trace = current_trace()
    if is_scalar(array):
        raise TypeError("a NumPy scalar cannot be written to")
    if array.scope is not trace:
        raise MutationError(
            f"an array made outside of this {trace.name} is written inside it",
            where=str(here()),
            details=[f"array: {array.trace.type_of(array)}, made in: {array.scope.name}"],
            fix="copy it inside the function (buffer = array.copy()), or return the new values",
        )
    if new.dtype != array.dtype:
        require_same_kind(new.dtype, array.dtype)
        new = new.astype(array.dtype)
    alias = array.alias
    if alias is None or alias.parent is None:
        if alias is not None and alias.overlaps:
            raise overlapping(array)
        array.trace.wrote(array)
        if array.ndim > 1:
            if alias is None or alias.strides is None:
                alias = array.alias = alias or Alias()
                alias.strides = lasting_strides(array)
            array.rebind(new)
            array.trace.lay(array, alias.strides)
        else:
            array.rebind(new)
        if alias is not None:
            alias.version += 1
        return
    if alias.put is None:
        raise ValueError("assignment destination is read-only")
    write(alias.parent, alias.put(alias.parent, new))
    array.rebind(new)
    alias.seen = alias.root().version


def lasting_strides(array: Array) -> Strides | Array:
    """The strides of the first value, which are those of the array whatever it will hold.

    Where only types are known it is that value: its strides take work, and may never be asked for.
    """
    innermost = array
    while type(innermost.value) is Array:
        innermost = innermost.value
    if innermost.trace.abstract:
        return Array(array.trace, array.value, array.aux)
    return array.trace.strides_of(array)


def require_same_kind(new: np.dtype[Any], old: np.dtype[Any]) -> None:
    """Refuse to write floats into integers and complex numbers into floats: it cuts gradients."""
    if not np.can_cast(new, old, "same_kind"):
        kind = "complex" if new.kind == "c" else "floating"
        raise DTypeError(
            f"writing {new} values into an array of dtype {old} would cut their gradient",
            where=str(here()),
            fix=f"create the buffer with a {kind} dtype",
        )


class Array:
    """An array whose operations are traced. Behaves like ``numpy.ndarray``; made by transforms.

    ``value`` and ``aux`` belong to the trace: primal and tape node in reverse mode, primal and
    tangent in forward mode, batched array and axis under vmap, value (if known) and variable
    while staging.
    """

    __slots__ = ("__weakref__", "alias", "aux", "scope", "trace", "value")
    __array_priority__ = 1000.0
    __pullback_plain__ = True

    def __init__(self, trace: Trace, value: Any, aux: Any = None) -> None:
        self.trace = trace
        self.value = value
        self.aux = aux
        self.alias: Alias | None = None
        self.scope: Trace = _current.get()

    def rebind(self, new: Any) -> None:
        """Name another immutable value from now on."""
        if type(new) is Array:
            self.trace, self.value, self.aux = new.trace, new.value, new.aux
        else:
            self.trace, self.value, self.aux = EVALUATE, np.asarray(new), None

    def constant(self) -> Any:
        """The present value as a constant for traces further in; later writes do not reach it."""
        return self.value if self.trace is EVALUATE else Array(self.trace, self.value, self.aux)

    def frozen(self) -> Array:
        """A second handle of the present value, which later writes cannot reach."""
        if self.alias is not None:
            self.alias.refresh(self)
        return Array(self.trace, self.value, self.aux)

    # -- what an array is ---------------------------------------------------------------------
    @property
    def shape(self) -> Shape:
        return self.trace.shape_of(self)

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.trace.dtype_of(self)

    @property
    def ndim(self) -> int:
        return len(self.trace.shape_of(self))

    @property
    def size(self) -> int:
        return self.trace.type_of(self).size

    @property
    def itemsize(self) -> int:
        return self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        return self.trace.type_of(self).nbytes

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

    @shape.setter
    def shape(self, new: Any) -> None:
        attributes["set_shape"](self, new)

    def _set_flat(self, values: Any) -> None:
        attributes["flat"](self)[:] = values

    flat = property(lambda self: attributes["flat"](self), _set_flat)

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
            function = ufuncs.get(ufunc) or ufuncs.get(ufunc.__name__)
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
        if self.trace is not EVALUATE:
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
                    "np', whose zeros, empty and array record assignments"
                )
            else:
                fix = (
                    "keep it an array and use NumPy functions on it; pullback.stop_gradient(x) "
                    "makes a constant on purpose"
                )
            raise TracedValueError(
                f"{purpose} of a value traced by {self.trace.name} {effect}",
                where=str(source),
                details=[f"value: {self.trace.type_of(self)}"],
                fix=fix,
            )
        return self.value

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
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
        return bool(self.trace.concrete(self, "the truth value"))

    # -- printing: the concrete value where there is one --------------------------------------
    def __repr__(self) -> str:
        shown = getattr(self.trace, "show", None)
        if shown is not None:
            return f"Array({shown(self)}, traced by {self.trace.name})"
        return f"Array({self.trace.concrete(self, 'printing')}, traced by {self.trace.name})"

    def __format__(self, spec: str) -> str:
        return format(self.trace.concrete(self, "formatting"), spec) if spec else repr(self)

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


PLAIN = {Array, np.ndarray, bool, int, float, complex, np.float64, np.float32, np.int64, np.int32}
PLAIN |= {np.bool_, np.complex128, np.complex64}


def operand(value: Any) -> Any:
    """``value`` as an operand: arrays and scalars as they are, nested sequences as arrays."""
    if isinstance(value, (Array, np.generic, bool, int, float, complex)):
        return value
    if any(type(part) is Array for part in _parts(value)):
        return functions[np.array](value)
    converted = plain_array(value)
    type_of(converted)
    return converted


def as_array(value: Any, path: str = "an operand") -> Any:
    """``value`` with a shape and a dtype: arrays and NumPy's scalars stay as they are."""
    if type(value) is Array or isinstance(value, np.generic):
        return value
    return plain_array(value, path)


def _parts(value: Any) -> Iterator[Any]:
    if isinstance(value, (list, tuple)):
        for part in value:
            yield from _parts(part)
    else:
        yield value


def _forward(ufunc: np.ufunc) -> Callable[..., Any]:
    def operator(self: Array, other: Any) -> Any:
        return ufuncs[ufunc](self, other if type(other) in PLAIN else operand(other))

    return operator


def _reflected(ufunc: np.ufunc) -> Callable[..., Any]:
    def operator(self: Array, other: Any) -> Any:
        return ufuncs[ufunc](other if type(other) in PLAIN else operand(other), self)

    return operator


def _in_place(ufunc: np.ufunc) -> Callable[..., Any]:
    def operator(self: Array, other: Any) -> Any:
        new = ufuncs[ufunc](self, other if type(other) in PLAIN else operand(other))
        if is_scalar(self):  # the name is rebound, not the value
            self.trace.wrote(self)
            return new
        if new.shape != self.shape:
            raise ValueError(
                f"non-broadcastable output operand with shape {self.shape} "
                f"doesn't match the broadcast shape {new.shape}"
            )
        write(self, new)
        return self

    return operator


def _install_operators() -> None:
    binary = {
        "add": np.add,
        "sub": np.subtract,
        "mul": np.multiply,
        "truediv": np.divide,
        "pow": np.power,
        "mod": np.remainder,
        "floordiv": np.floor_divide,
        "matmul": np.matmul,
        "and": np.bitwise_and,
        "or": np.bitwise_or,
        "xor": np.bitwise_xor,
        "lshift": np.left_shift,
        "rshift": np.right_shift,
    }
    compare = {
        "lt": np.less,
        "le": np.less_equal,
        "gt": np.greater,
        "ge": np.greater_equal,
        "eq": np.equal,
        "ne": np.not_equal,
    }
    unary = {"neg": np.negative, "pos": np.positive, "abs": np.absolute, "invert": np.invert}

    for name, ufunc in binary.items():
        setattr(Array, f"__{name}__", _forward(ufunc))
        setattr(Array, f"__r{name}__", _reflected(ufunc))
        setattr(Array, f"__i{name}__", _in_place(ufunc))
    for name, ufunc in compare.items():
        setattr(Array, f"__{name}__", _forward(ufunc))
    for name, ufunc in unary.items():
        setattr(Array, f"__{name}__", lambda self, ufunc=ufunc: ufuncs[ufunc](self))


_install_operators()

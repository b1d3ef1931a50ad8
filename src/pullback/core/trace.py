"""What an operation means: traces, the stack of active ones, and the handle of a traced value.

A :class:`Trace` gives one meaning to operations (record for reverse mode, carry a tangent, stage
a graph, ...). Traces nest: an operation belongs to the innermost trace among its operands, all
other operands are constants to it, and its own values are computed one level further out. That
rule alone keeps nested derivatives apart (no perturbation confusion).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token
from threading import Lock
from types import TracebackType
from typing import Any, Self

import numpy as np

from pullback.core.refusals import located
from pullback.core.strides import Strides, stand_in
from pullback.core.types import NUMBERS, ArrayType, Shape, type_of
from pullback.errors import PullbackError

__all__ = ["EVALUATE", "Handle", "Trace", "current_trace", "outermost", "overlay"]


class Overlay:
    """Names of NumPy that are replaced while any thread traces."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.n_tracing = 0
        self.names: dict[str, Any] = {}
        self.originals: dict[str, Any] = {}

    def replace(self, names: dict[str, Any]) -> None:
        """Replace these names of ``numpy`` from now on, and only these."""
        with self.lock:
            vars(np).update(self.originals)
            self.originals = {name: vars(np)[name] for name in names}
            self.names = names
            if self.n_tracing:
                vars(np).update(names)

    def count(self, change: int) -> None:
        """Note that an outermost trace begins (1) or ends (-1)."""
        with self.lock:
            self.n_tracing += change
            if self.names and self.n_tracing == max(change, 0):
                vars(np).update(self.names if change > 0 else self.originals)


overlay = Overlay()


class Trace:
    """One meaning of operations, active inside its ``with`` block."""

    name = "trace"
    abstract = False  # whether values are unknown, so that Python runs once for many evaluations

    def __init__(self) -> None:
        self.level = 0
        self.alive = False
        self.outer: Trace | None = None
        self.refusal: PullbackError | None = None  # the last one to hand out a plain value

    def __enter__(self) -> Any:
        self.outer = _current.get()
        self.level = self.outer.level + 1
        self.alive = True
        if self.outer is EVALUATE:
            overlay.count(1)
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
        if self.outer is EVALUATE:
            overlay.count(-1)
        # NumPy hides the refusal of float(x) behind "setting an array element with a sequence".
        if error is not None and isinstance(error.__cause__, PullbackError):
            raise error.__cause__ from None
        refusal, self.refusal = located(error, self.refusal), None
        if refusal is not None:
            raise refusal from None

    def process(self, primitive: Any, args: Any, params: dict[str, Any]) -> Any:
        """Give ``primitive`` its meaning here.

        At least one operand belongs to this trace; traced operands of other traces are constants.
        """
        raise NotImplementedError

    def type_of(self, array: Any) -> ArrayType:
        return type_of(array.value)

    def dtype_of(self, array: Any) -> np.dtype[Any]:
        return self.type_of(array).dtype

    def shape_of(self, array: Any) -> Shape:
        shape: Shape = array.value.shape
        return shape

    def is_weak(self, array: Any) -> bool:
        """Whether ``array`` is a number of Python, which does not widen what it meets."""
        value = array.value
        if isinstance(value, Handle):
            return value.traced_by.is_weak(value)
        return type(value) in NUMBERS

    def strides_of(self, array: Any) -> Strides:
        """Where NumPy would put the elements of an array that is no view."""
        strides: Strides = array.value.strides
        return strides

    def wrote(self, array: Any) -> None:
        """Called before the present value of ``array`` gives way to another by a write."""
        if isinstance(array.value, Handle):
            array.value.traced_by.wrote(array.value)

    def lay(self, array: Any, like: Strides | Handle) -> None:
        """Let a value that was just made lie in memory so, or as the earlier value ``like``."""
        value = array.value
        if isinstance(value, Handle):
            own = (
                isinstance(like, Handle)
                and like.traced_by is self
                and isinstance(like.value, Handle)
            )
            value.traced_by.lay(value, like.value if own else like)  # type: ignore[union-attr]
        elif type(value) is np.ndarray:
            strides = like.traced_by.strides_of(like) if isinstance(like, Handle) else like
            if value.strides != strides and value.ndim > 1:
                array.value = moved = stand_in(type_of(value), strides)
                moved[...] = value

    def sample(self, array: Any) -> Any:
        """A plain value that ``array`` may have, to learn from what an opaque function returns."""
        value = array.value
        return value.traced_by.sample(value) if isinstance(value, Handle) else value

    def outside(self, array: Any) -> Any:
        """The array from outside that ``array`` stands for; ``None`` where it stands for none."""
        return None

    def known(self, array: Any) -> Any:
        """The plain value of ``array`` where it depends on no argument; else ``None``."""
        return None

    def concrete(self, array: Any, purpose: str) -> Any:
        """The plain value behind ``array``, for control flow and printing; or an error."""
        value = array.value
        return value.traced_by.concrete(value, purpose) if isinstance(value, Handle) else value


class EvaluateTrace(Trace):
    """Outermost meaning: NumPy computes. Its arrays are buffers for traced values to come."""

    name = "evaluate"

    def process(self, primitive: Any, args: Any, params: dict[str, Any]) -> Any:
        made = next(type(a) for a in args if isinstance(a, Handle))
        result = primitive.numpy(*[a.value if type(a) is made else a for a in args], **params)
        if primitive.multiple:
            return tuple(made(self, np.asarray(part)) for part in result)
        return made(self, np.asarray(result))


EVALUATE = EvaluateTrace()
EVALUATE.alive = True
_current: ContextVar[Trace] = ContextVar("current_trace", default=EVALUATE)
current_trace = _current.get


@contextmanager
def outermost() -> Iterator[None]:
    """Run code of the user that is given plain arrays as if no transform were active."""
    token = _current.set(EVALUATE)
    try:
        yield
    finally:
        _current.reset(token)


class Handle:
    """The name of an immutable traced value; :class:`~pullback.core.array.Array` adds its doors.

    ``value`` and ``aux`` belong to the trace: primal and tape node in reverse mode, primal and
    tangent in forward mode, batched array and axis under vmap, value (if known) and variable
    while staging.
    """

    __slots__ = ("__weakref__", "alias", "aux", "scope", "traced_by", "value")

    def __init__(self, trace: Trace, value: Any, aux: Any = None) -> None:
        self.traced_by = trace
        self.value = value
        self.aux = aux
        self.alias: Any = None  # an Alias, once it is a view or has some
        self.scope: Trace = _current.get()

    def rebind(self, new: Any) -> None:
        """Name another immutable value from now on."""
        if isinstance(new, Handle):
            self.traced_by, self.value, self.aux = new.traced_by, new.value, new.aux
        else:
            self.traced_by, self.value, self.aux = EVALUATE, np.asarray(new), None

    def constant(self) -> Any:
        """The present value as a constant for traces further in; later writes do not reach it."""
        return (
            self.value
            if self.traced_by is EVALUATE
            else type(self)(self.traced_by, self.value, self.aux)
        )

    def frozen(self) -> Self:
        """A second handle of the present value, which later writes cannot reach."""
        if self.alias is not None:
            self.alias.refresh(self)
        return type(self)(self.traced_by, self.value, self.aux)

    # -- what an array is ---------------------------------------------------------------------
    @property
    def shape(self) -> Shape:
        return self.traced_by.shape_of(self)

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.traced_by.dtype_of(self)

    @property
    def ndim(self) -> int:
        return len(self.traced_by.shape_of(self))

    @property
    def size(self) -> int:
        return self.traced_by.type_of(self).size

    @property
    def itemsize(self) -> int:
        return self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        return self.traced_by.type_of(self).nbytes

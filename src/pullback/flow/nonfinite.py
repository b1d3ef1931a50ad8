"""Where a NaN or an infinity came from: the first operation, in either pass, that made it.

Nothing is checked operation by operation while all is well. Inside :func:`debug_nonfinite` the
results of gradients and of compiled functions are looked at, and only if one is not finite the
function runs again under a recording, which is searched for the origin. Non-finite values that a
``where`` drops are not reported.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np

from pullback import tree
from pullback.compiler.jit import Compiled
from pullback.core.array import Array
from pullback.core.graph import Literal
from pullback.errors import NonFiniteError
from pullback.flow.measurements import to_json
from pullback.flow.recording import Operand, Recording, Step, record
from pullback.transforms.derivatives import Reverse

__all__ = ["Checked", "Origin", "debug_nonfinite", "find_nonfinite"]


@dataclass(frozen=True)
class Origin:
    """The operation that made the first NaN or infinity from finite operands.

    Attributes:
        phase: ``forward``, ``backward``, or ``input`` if an argument was not finite already.
        operation: the primitive, or the path of the argument.
        made: ``NaN`` or ``infinity``.
        line: the user's line of the operation, in both passes.
        operands: one text per operand: type and range.
        index: of the first such element, in the result (forward) or in the gradient (backward).
        at: the operands' values there, where they have that element.
        pattern: the known pattern, such as ``log of 0``; empty if none fits.
        fix: what to write instead.
    """

    phase: str
    operation: str
    made: str
    line: str
    operands: tuple[str, ...]
    index: tuple[int, ...]
    at: tuple[float, ...]
    pattern: str
    fix: str

    def to_json(self) -> Any:
        return to_json(self)

    def error(self, what: str) -> NonFiniteError:
        """As an error: ``what`` says which result is not finite."""
        where = {"forward": "", "backward": "the derivative of "}.get(self.phase, "argument ")
        text = f"{what}: {where}{self.operation} makes the first {self.made}"
        if self.phase == "input":
            text = f"{what}: {where}{self.operation} holds a {self.made}"
        details = [*self.operands]
        if self.index:
            values = ", ".join(f"{v:.6g}" for v in self.at)
            details.append(f"element {list(self.index)}" + (f": {values}" if values else ""))
        if self.pattern:
            details.append(f"pattern: {self.pattern}")
        return NonFiniteError(text, where=self.line or None, details=details, fix=self.fix)

    def __str__(self) -> str:
        return str(self.error("not finite"))


SAFE = (
    "choose safe operands before the operation: f(np.where(ok, x, 1.0)), then np.where(ok, ..., 0)"
)
# operation -> [(test of the operands' values at the element, pattern, fix)], first match wins.
Test = Callable[..., Any]
PATTERNS: dict[str, list[tuple[Test, str, str]]] = {
    "log": [
        (
            lambda x: x == 0,
            "log of 0",
            "use np.log(x + eps), or log_softmax instead of log(softmax)",
        ),
        (lambda x: x < 0, "log of a negative number", "keep the argument positive"),
    ],
    "log1p": [(lambda x: x <= -1, "log1p at or below -1", "keep the argument above -1")],
    "sqrt": [
        (lambda x: x == 0, "sqrt at 0, whose derivative is infinite", "use np.sqrt(x + eps)"),
        (lambda x: x < 0, "sqrt of a negative number", "clip rounding errors: np.maximum(x, 0)"),
    ],
    "divide": [
        (lambda *v: (v[0] == 0) & (v[1] == 0), "0 / 0", SAFE),
        (lambda *v: v[1] == 0, "division by 0", "add a small number to the denominator"),
    ],
    "power": [
        (lambda *v: (v[0] == 0) & (v[1] < 1), "power at 0 with an exponent below 1", SAFE),
        (lambda *v: v[0] < 0, "power of a negative number", "use np.abs, or an integer exponent"),
        (lambda *v: np.abs(v[0]) > 1, "overflow of a power", "work with logarithms"),
    ],
    "hypot": [(lambda *v: (v[0] == 0) & (v[1] == 0), "norm at 0", SAFE)],
    "arctan2": [(lambda *v: (v[0] == 0) & (v[1] == 0), "arctan2 at (0, 0)", SAFE)],
    "multiply": [(lambda *v: (v[0] == 0) | (v[1] == 0), "0 times infinity", SAFE)],
    "var": [],
    "remainder": [(lambda *v: v[1] == 0, "remainder by 0", SAFE)],
    "fmod": [(lambda *v: v[1] == 0, "remainder by 0", SAFE)],
    "floor_divide": [(lambda *v: v[1] == 0, "division by 0", SAFE)],
}
for _name in ("log2", "log10"):
    PATTERNS[_name] = PATTERNS["log"]
for _name in ("exp", "exp2", "expm1", "sinh", "cosh"):
    PATTERNS[_name] = [
        (
            lambda x: np.abs(x) > 10,
            f"overflow of {_name}",
            "subtract the maximum first, as logsumexp and log_softmax do, or clip the argument",
        )
    ]
for _name in ("arcsin", "arccos", "arctanh"):
    PATTERNS[_name] = [
        (
            lambda x: np.abs(x) == 1,
            f"{_name} at the end of its domain, where its slope is infinite",
            "clip the argument to (-1 + eps, 1 - eps)",
        ),
        (lambda x: np.abs(x) > 1, f"{_name} outside of [-1, 1]", "clip the argument"),
    ]
PATTERNS["arccosh"] = [(lambda x: x <= 1, "arccosh at or below 1", "keep the argument above 1")]
PATTERNS["cbrt"] = [(lambda x: x == 0, "cbrt at 0, whose derivative is infinite", SAFE)]
OVERFLOWS = {
    "add",
    "subtract",
    "multiply",
    "matmul",
    "sum",
    "prod",
    "square",
    "mean",
    "var",
    "astype",
    "cumsum",
    "cumprod",
    "conv",
    "power",
    "divide",
    "tan",
}
MASKED = (
    "a branch that np.where does not take: its slope is infinite, and 0 times infinity is NaN",
    SAFE,
)


def bad(value: Any, infinities: bool) -> Any:
    """Which elements count as not finite."""
    array = np.asarray(value)
    if array.dtype.kind != "f":
        return np.zeros(array.shape, bool)
    return ~np.isfinite(array) if infinities else np.isnan(array)


def is_bad(value: Any, infinities: bool) -> bool:
    return bool(np.any(bad(value, infinities)))


def find_nonfinite(
    loss: Callable[..., Any], params: Any, *batch: Any, infinities: bool = True
) -> Origin | None:
    """The origin of the first NaN or infinity in ``loss(params, *batch)`` or in its gradient.

    Args:
        loss: returns float arrays; if it is no scalar, the sum of its elements is differentiated.
        infinities: whether infinities count, too; otherwise only NaN.

    Returns:
        ``None`` if value and gradient are finite.

    >>> import numpy as np
    >>> import pullback as pb
    >>> found = pb.flow.find_nonfinite(lambda x: np.sqrt(np.sum(x**2)), np.zeros(3))
    >>> found.phase, found.operation, found.pattern
    ('backward', 'sqrt', 'sqrt at 0, whose derivative is infinite')
    """
    with np.errstate(all="ignore"):
        run = record(_total(loss), params, batch, root=_root(loss), is_scalar=False)
        return origin(run, infinities)


def _root(loss: Callable[..., Any]) -> str:
    code = getattr(loss, "__code__", None)
    return code.co_varnames[0] if code is not None and code.co_argcount else "x"


def _total(loss: Callable[..., Any]) -> Callable[..., Any]:
    """The sum of all float outputs."""

    def total(*args: Any) -> Any:
        result = loss(*args)
        found = [y for y in tree.leaves(result) if getattr(y, "dtype", np.dtype(bool)).kind == "f"]
        if len(found) == 1 and np.shape(found[0]) == ():
            return found[0]
        return sum((np.sum(y) for y in found), 0.0)

    return total


def origin(run: Recording, infinities: bool) -> Origin | None:
    """Search a recording: arguments, the forward pass, then the backward pass."""
    for variable, path in {**run.leaves, **run.data}.items():
        value = run.values[variable]
        if is_bad(value, infinities):
            at = _first(value, infinities)
            made = _made(np.asarray(value)[at])
            return Origin(
                "input",
                path,
                made,
                "",
                (_described(variable, value),),
                at,
                (),
                "",
                "look for where this array is read or computed",
            )
    if is_bad(run.value, infinities):
        return _forward(run, infinities)
    if run.output is None:
        return None
    return _backward(run, infinities)


def _forward(run: Recording, infinities: bool) -> Origin | None:
    guilty: set[Operand] = {run.output} if run.output is not None else set()
    culprit: Step | None = None
    for step in reversed(run.steps):
        if guilty.isdisjoint(step.equation.outputs):
            continue
        sick = [v for v in step.equation.inputs if is_bad(run.read(v), infinities)]
        guilty.update(sick)
        if not sick:
            culprit = step
    if culprit is None:
        return None
    out = next(v for v in culprit.equation.outputs if is_bad(run.values[v], infinities))
    return _origin(run, culprit, "forward", run.values[out], infinities)


def _backward(run: Recording, infinities: bool) -> Origin | None:
    assert run.output is not None
    sent: dict[int, tuple[Sequence[Any], Sequence[Any]]] = {}
    found = run.cotangents(
        {run.output: np.ones(run.output.type.shape, run.output.type.dtype)},
        watch=lambda step, cts, parts: sent.__setitem__(id(step), (cts, parts)),
    )
    guilty: set[Operand] = {v for v in run.leaves if is_bad(found.get(v, 0.0), infinities)}
    culprit: tuple[Step, Any] | None = None
    for step in run.steps:
        if id(step) not in sent or guilty.isdisjoint(step.equation.inputs):
            continue
        cts, parts = sent[id(step)]
        sick = [
            part
            for v, part in zip(step.equation.inputs, parts, strict=True)
            if v in guilty and part is not None and is_bad(part, infinities)
        ]
        if not sick:
            continue
        if any(ct is not None and is_bad(ct, infinities) for ct in cts):
            guilty.update(step.equation.outputs)
        else:
            culprit = (step, sick[0])
    if culprit is None:
        return None
    return _origin(run, culprit[0], "backward", culprit[1], infinities)


def _first(value: Any, infinities: bool) -> tuple[int, ...]:
    where = np.argwhere(bad(value, infinities))
    return tuple(int(i) for i in where[0])


def _made(value: Any) -> str:
    return "NaN" if np.isnan(value) else "infinity"


def _origin(run: Recording, step: Step, phase: str, value: Any, infinities: bool) -> Origin:
    equation = step.equation
    at = _first(value, infinities)
    values = [np.asarray(run.read(v)) for v in equation.inputs]
    here = [_element(x, at, np.shape(value)) for x in values]
    pattern, fix = _pattern(run, step, phase, here, values)
    return Origin(
        phase,
        equation.primitive.name,
        _made(np.asarray(value)[at]),
        str(equation.source or ""),
        tuple(_described(v, x) for v, x in zip(equation.inputs, values, strict=True)),
        at,
        tuple(float(x) for x in here if x is not None and x.dtype.kind in "fiub"),
        pattern,
        fix,
    )


def _element(x: Any, at: tuple[int, ...], shape: tuple[int, ...]) -> Any:
    """The element of an operand that belongs to element ``at`` of the result, by broadcasting."""
    try:
        return np.broadcast_to(x, shape)[at]
    except ValueError:
        return None


def _described(v: Operand, value: Any) -> str:
    x = np.asarray(value)
    if isinstance(v, Literal):
        return f"operand {v.value}"
    if not x.size or x.dtype.kind not in "fiu":
        return f"operand {v.type}"
    with np.errstate(all="ignore"):
        return f"operand {v.type}, from {np.nanmin(x):.6g} to {np.nanmax(x):.6g}"


def _pattern(
    run: Recording, step: Step, phase: str, here: Sequence[Any], values: Sequence[Any]
) -> tuple[str, str]:
    name = step.equation.primitive.name
    if phase == "backward" and _is_masked(run, step):
        return MASKED
    for test, pattern, fix in PATTERNS.get(name, []):
        try:
            if all(x is not None for x in here) and bool(test(*here)):
                return pattern, fix
        except IndexError:  # another number of operands than the pattern knows
            continue
    if name in ("logsumexp", "max", "mean", "var") and any(x.size == 0 for x in values):
        return f"{name} of no elements", "check the shapes"
    if phase == "backward" and name == "prod":
        return "product with a 0 factor", SAFE
    if phase == "forward" and name in OVERFLOWS:
        return f"overflow of {name}", "scale the operands down, or use a wider dtype"
    return "", "print the operands at this line, or keep them inside of the operation's domain"


def _is_masked(run: Recording, step: Step) -> bool:
    """Whether some ``where`` later drops elements of what this step computes."""
    reached: set[Operand] = set(step.equation.outputs)
    start = run.maker(step.equation.outputs[0]) + 1
    for later in run.steps[start:]:
        inputs = later.equation.inputs
        if reached.isdisjoint(inputs):
            continue
        if later.equation.primitive.name == "where" and reached & set(inputs[1:]):
            taken = np.asarray(run.read(inputs[0]))
            return bool(np.any(taken)) and not bool(np.all(taken))
        if later.equation.primitive.family == "elementwise":
            reached.update(later.equation.outputs)
    return False


# -- while it is on -------------------------------------------------------------------------------
_settings: ContextVar[debug_nonfinite | None] = ContextVar("debug_nonfinite", default=None)


class debug_nonfinite:  # noqa: N801 (used like a function)
    """Context manager: the first NaN or infinity in a gradient or compiled function is explained.

    Inside, ``grad``, ``value_and_grad``, ``vjp`` and compiled functions raise ``NonFiniteError``
    when a result is not finite. The error names the operation that made the first such number from
    finite operands, in the forward or the backward pass: its line, its operands' ranges, the
    element, and, for known patterns (a masked ``where``, ``sqrt`` or a norm at 0, ``log`` of 0,
    overflow of ``exp``, 0 times infinity, 0 / 0), what to write instead. The search runs the
    function again. Outside, nothing is checked, and nothing is slower.

    Args:
        infinities: whether infinities count, too; otherwise only NaN.

    Raises:
        NonFiniteError: from the calls inside.

    >>> import numpy as np
    >>> import pullback as pb
    >>> with pb.debug_nonfinite():
    ...     pb.grad(lambda x: np.sum(np.where(x > 0, np.log(x), 0.0)))(np.array([1.0, 2.0]))
    array([1. , 0.5])
    """

    def __init__(self, infinities: bool = True) -> None:
        self.infinities = infinities

    def __enter__(self) -> debug_nonfinite:
        self.token = _settings.set(self)
        _Hooks.install()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _settings.reset(self.token)
        _Hooks.remove()


class _Hooks:
    """Checks around transforms, in place only while some thread is inside a context."""

    depth = 0
    saved: tuple[Any, Any, Any] = (None, None, None)

    @classmethod
    def install(cls) -> None:
        if cls.depth == 0:
            cls.saved = (Reverse.__init__, Reverse.sweep, Compiled.__call__)
            Reverse.__init__ = _checked_init(cls.saved[0])  # type: ignore[method-assign]
            Reverse.sweep = _checked_sweep(cls.saved[1])  # type: ignore[method-assign]
            Compiled.__call__ = _checked_call(cls.saved[2])  # type: ignore[method-assign]
        cls.depth += 1

    @classmethod
    def remove(cls) -> None:
        cls.depth -= 1
        if cls.depth == 0:
            Reverse.__init__, Reverse.sweep, Compiled.__call__ = cls.saved  # type: ignore[method-assign]


def _concrete(value: Any) -> Any:
    """The plain value behind traced ones; ``None`` while only its shape is known."""
    while type(value) is Array:
        if getattr(value.traced_by, "abstract", False):
            return None
        value = value.value
    return value


def _sick(values: Sequence[Any], infinities: bool) -> bool:
    plain = [_concrete(v) for v in values]
    return any(v is not None and hasattr(v, "dtype") and is_bad(v, infinities) for v in plain)


def _checked_init(original: Any) -> Any:
    def init(self: Any, function: Any, leaves: Any, structure: Any, has_aux: bool = False) -> None:
        original(self, function, leaves, structure, has_aux)
        settings = _settings.get()
        if settings is None:
            return
        self.again = (function, leaves, structure, has_aux)
        if _sick(self.outputs, settings.infinities):
            _explain("the value", self.again, settings)

    return init


def _checked_sweep(original: Any) -> Any:
    def sweep(self: Any, cotangents: Any, is_last: bool = False) -> Any:
        found = original(self, cotangents, is_last)
        settings = _settings.get()
        if settings is not None and _sick(found, settings.infinities):
            _explain("the gradient", self.again, settings)
        return found

    return sweep


def _checked_call(original: Any) -> Any:
    def call(self: Compiled, *args: Any, **kwargs: Any) -> Any:
        settings = _settings.get()
        if settings is None:
            return original(self, *args, **kwargs)
        given = args
        if self.donate_argnums:  # its memory may be written over
            donated = self.donate_argnums
            args = tuple(tree.map(np.array, a) if i in donated else a for i, a in enumerate(given))
        try:
            result = original(self, *args, **kwargs)
        except np.linalg.LinAlgError:  # a later operation refused what an earlier one made
            self.fun(*given, **kwargs)
            raise
        if _sick(tree.leaves(result), settings.infinities):
            _explain_compiled(self.fun, given, kwargs, settings)
        return result

    return call


def _explain(what: str, again: Any, settings: debug_nonfinite) -> None:
    """Run the function again under a recording and raise what it shows."""
    function, leaves, structure, has_aux = again
    plain = [_concrete(leaf) for leaf in leaves]
    if any(leaf is None for leaf in plain):
        return
    args = tree.unflatten(structure, plain)

    def loss(args: Any) -> Any:
        result = function(*args)
        return result[0] if has_aux else result

    token = _settings.set(None)
    try:
        found = find_nonfinite(loss, args, infinities=settings.infinities)
    finally:
        _settings.reset(token)
    if found is None:
        raise NonFiniteError(
            f"{what} is not finite, but a second run of the function is",
            fix="make the function give the same value twice: pass its random state as an argument",
        )
    raise found.error(f"{what} is not finite")


def _explain_compiled(fun: Any, args: Any, kwargs: Any, settings: debug_nonfinite) -> None:
    """Run the function that was compiled: gradients inside it explain themselves."""
    with np.errstate(all="ignore"):
        fun(*args, **kwargs)
    token = _settings.set(None)
    try:
        floats = [a for a in tree.leaves(args) if getattr(a, "dtype", np.dtype(int)).kind == "f"]
        found = None
        if floats:
            found = _recorded(fun, args, kwargs, settings.infinities)
    finally:
        _settings.reset(token)
    if found is None:
        raise NonFiniteError(
            "a compiled function's result is not finite, but the same run in NumPy is",
            fix="compare both runs element by element, and report it",
        )
    raise found.error("a compiled function's result is not finite")


def _recorded(fun: Any, args: Any, kwargs: Any, infinities: bool) -> Origin | None:
    leaves, structure = tree.flatten(args)
    floats = [i for i, a in enumerate(leaves) if getattr(a, "dtype", np.dtype(int)).kind == "f"]

    def loss(chosen: Any) -> Any:
        full = list(leaves)
        for i, value in zip(floats, chosen, strict=True):
            full[i] = value
        return fun(*tree.unflatten(structure, full), **kwargs)

    with np.errstate(all="ignore"):
        run = record(_total(loss), [leaves[i] for i in floats], (), root="args", is_scalar=False)
        return origin(run, infinities) if is_bad(run.value, infinities) else None


class Checked:
    """A compiled function whose results are checked: ``compile(f, nonfinite=True)``."""

    def __init__(self, compiled: Compiled) -> None:
        self.compiled = compiled

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with debug_nonfinite():
            return self.compiled(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.compiled, name)

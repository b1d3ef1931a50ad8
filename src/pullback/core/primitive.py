"""The contract of an operation: one frozen object that holds everything known about it.

A primitive takes arrays as positional arguments and static, hashable parameters as keywords.
Its derivative rules are written once in NumPy terms: on plain arrays they compute, on traced
arrays they record, so derivatives of derivatives and compiled derivatives need no second copy.

**A rule's parameter names are its residuals.** ``lambda y: 1 - y * y`` keeps the output and
nothing else; ``lambda ct, x2: ...`` keeps the second operand. Names are ``x`` (only operand) or
``x1, x2, ...``, ``y`` (output), ``*x2`` (the second operand and all after it), ``x_type`` (shape
and dtype of the operand that is being differentiated: free), and keyword-only static parameters.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from pullback.core.array import bind
from pullback.core.source import here
from pullback.core.types import ArrayType
from pullback.errors import DTypeError, MissingRuleError, PullbackError, ShapeError

__all__ = [
    "MISSING",
    "NO_DERIVATIVE",
    "ZERO",
    "ForwardRule",
    "Primitive",
    "Rule",
    "Sample",
    "Trait",
    "refusal",
    "registry",
]

OUTPUT: Final = -1
REMEDY: Final[dict[type[PullbackError], str]] = {
    ShapeError: "make the shapes agree: x.T, np.reshape and x[:, None] change them",
    DTypeError: "convert an operand with astype",
}
registry: Final[dict[str, Primitive]] = {}


class Marker:
    """Why an operand has no rule: its derivative is zero, is meaningless, or was not written."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return self.name


ZERO: Final = Marker("ZERO")
NO_DERIVATIVE: Final = Marker("NO_DERIVATIVE")
MISSING: Final = Marker("MISSING")


class Rule:
    """A derivative rule for one operand, with the residuals read off its parameter names.

    ``reads`` holds operand positions (``-1``: the output); ``rest`` says from which operand on
    all further ones are read (``None``: none).
    """

    __slots__ = ("function", "parameters", "reads", "rest", "takes_cotangent", "takes_type")

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.reads: tuple[int, ...] = ()
        self.rest: int | None = None
        self.takes_cotangent = self.takes_type = False
        code = function.__code__
        end = code.co_argcount + code.co_kwonlyargcount
        for name in code.co_varnames[: code.co_argcount]:
            if name == "ct":
                self.takes_cotangent = True
            elif name == "x_type":
                self.takes_type = True
            else:
                self.reads += (OUTPUT if name == "y" else int(name[1:] or 1) - 1,)
        if code.co_flags & inspect.CO_VARARGS:
            self.rest = int(code.co_varnames[end][1:]) - 1
        self.parameters = code.co_varnames[code.co_argcount : end]

    def __call__(
        self, ct: Any, x_type: ArrayType | None, saved: Sequence[Any], params: dict[str, Any]
    ) -> Any:
        """Apply to ``saved`` = operands followed by the output, ``None`` where not kept."""
        values = [ct] if self.takes_cotangent else []
        if self.takes_type:
            values.append(x_type)
        for position in self.reads:
            values.append(saved[position])
        if self.rest is not None:
            values += saved[self.rest : OUTPUT]
        if self.parameters:
            return self.function(*values, **{name: params[name] for name in self.parameters})
        return self.function(*values)

    def pull(self) -> Callable[..., Any]:
        """The rule as the plainest function of ``(ct, x_type, saved, params)`` that does it."""
        function, reads = self.function, self.reads
        plain = self.takes_cotangent and self.rest is None and not self.parameters
        if plain and self.takes_type and len(reads) == 1:
            k = reads[0]
            return lambda ct, x_type, saved, params: function(ct, x_type, saved[k])
        return self.__call__

    def residuals(self, n_operands: int) -> set[int]:
        """Positions that must be kept; ``-1`` is the output."""
        kept = set(self.reads)
        if self.rest is not None:
            kept |= set(range(self.rest, n_operands))
        return kept


@dataclass(frozen=True, slots=True)
class ForwardRule:
    """Reverse rule of a primitive that computes its own residuals (loops, calls, custom rules).

    ``forward(operands, needs, params) -> (outputs, residuals)`` and
    ``backward(residuals, cotangents, needs, types, params) -> one cotangent or None per operand``.
    ``needs[i]`` tells whether operand ``i`` wants a cotangent. ``is_foreign``: the residuals are
    what a function of the user returned, so they may be arrays that the user changes.
    """

    forward: Callable[..., tuple[Any, Any]]
    backward: Callable[..., Sequence[Any]]
    is_foreign: bool = False


@dataclass(frozen=True, slots=True)
class Sample:
    """Arguments to try a primitive on: arrays (or Python scalars) and static parameters.

    ``kink`` marks points where only a subgradient exists; ``nonfinite_ok`` points where NaN or
    infinity is the right answer; ``error`` the exception class that these arguments must raise.
    """

    args: tuple[Any, ...]
    params: dict[str, Any] = field(default_factory=dict)
    kink: bool = False
    nonfinite_ok: bool = False
    error: type[Exception] | None = None
    match: str = ""


# Properties of an operation. ``exact``: it does not round, so that it gives the same digits
# wherever it is computed. ``compares``: a relation, whose truth may hang on the last digit.
# ``jumps``: a small step of the operand may be a jump of the result. ``inexact far``: native loops
# may compute it again for large arguments (see ``Kernel.checked``), and so keep their operands.
Trait = Literal["exact", "compares", "jumps", "inexact far"]

VJP = tuple[Rule | Marker, ...] | ForwardRule | Callable[..., Sequence[Any]]


@dataclass(frozen=True, eq=False, slots=True)
class Primitive:
    """One operation. Call it to apply it: on arrays it evaluates, on tracers it records.

    Attributes:
        name: unique name, also the printed one.
        doc: formula and shapes.
        numpy: evaluation on plain arrays, ``numpy(*arrays, **params)``.
        type_rule: ``type_rule(*types, **params)`` -> output type, or tuple if ``multiple``.
        jvp: ``jvp(primals, tangents, y, params)``; ``None`` tangents are zero.
        vjp: one :class:`Rule` or marker per operand (the last repeats for further operands), a
            :class:`ForwardRule`, or a joint rule ``vjp(ct, types, needs, params)`` of a primitive
            that keeps nothing.
        batch: ``batch(args, axes, params) -> (y, axis)``; axis ``None`` means not batched.
        family: elementwise, linear, contraction, reduction, index or general: what lowering reads.
        scalar: scalar expression on a builder (elementwise), or an :class:`Accumulator`.
        expansion: the same function of traced values in simpler primitives, for native code.
        flops: ``flops(types, out_types, params)``; elementwise ones count per output element.
        samples: ``samples(rng, dtype) -> list[Sample]``.
        kinks: where the derivative jumps, and the subgradient chosen there.
        multiple: whether it returns a tuple of outputs.
        traits: what passes may rely on, see :data:`Trait`.
        plans: filled by reverse mode: what to keep, by the mask of traced operands.
    """

    name: str
    doc: str
    numpy: Callable[..., Any]
    type_rule: Callable[..., Any]
    jvp: Callable[..., Any]
    vjp: VJP
    batch: Callable[..., tuple[Any, Any]]
    family: str
    flops: Callable[..., int]
    samples: Callable[..., list[Sample]]
    scalar: Any = None
    expansion: Callable[..., Any] | None = None
    kinks: str = ""
    source: str = ""
    multiple: bool = False
    traits: frozenset[Trait] = frozenset()
    plans: dict[int, Any] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.name in registry:
            raise PullbackError(f"primitive {self.name} is defined twice")
        registry[self.name] = self

    def __call__(self, *args: Any, **params: Any) -> Any:
        return bind(self, args, params)

    def rule(self, position: int) -> Rule | Marker:
        """The reverse rule of one operand, for primitives with a rule per operand."""
        assert isinstance(self.vjp, tuple)
        rule = self.vjp[min(position, len(self.vjp) - 1)]
        if rule is MISSING:
            raise MissingRuleError(
                f"{self.name}: no derivative rule for operand {position + 1}",
                fix="give it one with pullback.custom_vjp, or stop the gradient with "
                "pullback.stop_gradient",
            )
        return rule

    def __repr__(self) -> str:
        return self.name


def refusal(
    primitive: Primitive, operands: Iterable[ArrayType], error: ValueError | TypeError
) -> PullbackError:
    """What to raise when operands do not fit: NumPy's words, the user's line, types and remedy."""
    kind = ShapeError if isinstance(error, ValueError) else DTypeError
    return kind(
        f"{primitive.name}: {error}",
        where=str(here()),
        details=[f"operands: {', '.join(map(str, operands))}"],
        fix=REMEDY[kind],
    )

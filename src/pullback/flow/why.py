"""``why_zero``: where a zero or missing gradient was cut."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pullback import tree
from pullback.core.graph import Variable
from pullback.core.primitive import NO_DERIVATIVE, ZERO
from pullback.errors import TracedValueError
from pullback.flow.measurements import to_json
from pullback.flow.recording import Operand, Recording, Step, record
from pullback.flow.text import paragraph

__all__ = ["Cut", "WhyZero", "why_zero"]

BOUNDED = {"tanh", "expit", "erf", "erfc", "arctan", "exp", "exp2", "log_expit", "expm1"}
COMPARES = {
    "less",
    "less_equal",
    "greater",
    "greater_equal",
    "equal",
    "not_equal",
    "sign",
    "heaviside",
    "signbit",
    "isnan",
    "isfinite",
    "isinf",
}
ROUNDS = {"floor", "ceil", "rint", "trunc", "floor_divide"}
CHOOSES = {"maximum", "minimum", "max", "min", "where"}
SEARCHES = {"argmax", "argmin", "argsort", "searchsorted"}


@dataclass(frozen=True)
class Cut:
    """One place where a path from the value to the result loses its derivative.

    Attributes:
        reason: ``constant``, ``integer cast``, ``comparison``, ``rounding``, ``stop_gradient``,
            ``masked branch``, ``dead unit``, ``saturation``, ``flat region``, ``zero factor``,
            ``search``, ``not selected`` or ``never used``.
        operation: the primitive; ``line`` the user's line.
        path: names of the values from the parameter to the cut.
        evidence: what the operands are.
    """

    reason: str
    operation: str
    line: str
    path: tuple[str, ...]
    evidence: str

    def __str__(self) -> str:
        text = f"{self.reason}: {self.evidence}"
        lines = [paragraph(text, "    ", "  - ")]
        if self.line:
            lines.append(paragraph(self.line, "      ", "    line: "))
        if self.path:
            lines.append(paragraph(" -> ".join(self.path), "      ", "    path: "))
        return "\n".join(lines)


@dataclass(frozen=True)
class WhyZero:
    """What :func:`pullback.why_zero` found for one array.

    Attributes:
        path: of the array.
        state: ``"not zero"``, ``"zero"``, ``"partly zero"`` or ``"missing"``.
        share: of the entries whose gradient is exactly 0.
        cuts: where, the nearest to the parameter first.
    """

    path: str
    state: str
    share: float
    cuts: tuple[Cut, ...]

    @property
    def reason(self) -> str:
        """The reason of the first cut; ``"not zero"`` if there is none."""
        return self.cuts[0].reason if self.cuts else self.state

    def to_json(self) -> Any:
        return to_json(self)

    def __str__(self) -> str:
        head = {
            "not zero": f"the gradient of {self.path} is not zero",
            "partly zero": f"{self.share:.0%} of the gradient of {self.path} is exactly 0",
            "zero": f"the gradient of {self.path} is exactly 0",
            "missing": f"no derivative of the result reaches {self.path}",
        }[self.state]
        return "\n".join([head, *map(str, self.cuts)])


def why_zero(f: Callable[..., Any], x: Any, *args: Any) -> WhyZero | tuple[WhyZero, ...]:
    """Say where the gradient of ``f(x, *args)`` with respect to ``x`` is cut, or that it is not.

    Follows every path from ``x`` to the result and names the operations that pass nothing back:
    constants, integer casts, comparisons, rounding, ``stop_gradient``, masked branches, dead
    units, saturation, multiplications by 0, elements that were not selected, and values that are
    never used; each with the user's line and the path to it.

    Args:
        f: returns a scalar, or an array whose sum is asked about.
        x: a container of float arrays.

    Returns:
        One answer per array of ``x``; a single answer if ``x`` is an array.

    Raises:
        ArgumentError: if ``x`` holds no arrays.

    >>> import numpy as np
    >>> import pullback as pb
    >>> def f(x):
    ...     z = x - 5
    ...     return np.sum(np.maximum(z, 0))
    >>> found = pb.why_zero(f, np.array([1.0, 2.0]))
    >>> found.reason, found.cuts[0].path
    ('dead unit', ('x', 'z'))
    """
    run = _record(f, x, args)
    cts: dict[Operand, Any] = {}
    if run.output is not None:
        with np.errstate(all="ignore"):
            cts = run.cotangents({run.output: np.ones(run.output.type.shape)})
    answers = tuple(_answer(run, v, path, cts) for v, path in run.leaves.items())
    return answers[0] if tree.flatten(x)[1].is_leaf() else answers


def _record(f: Callable[..., Any], x: Any, args: Sequence[Any]) -> Recording:
    """With integers traced where the code allows it: then what depends on them is known."""
    root = "x"
    code = getattr(f, "__code__", None)
    if code is not None and code.co_argcount:
        root = code.co_varnames[0]

    def total(params: Any, *rest: Any) -> Any:
        y = f(params, *rest)
        return y if np.shape(y) == () else np.sum(y)

    with np.errstate(all="ignore"):
        try:
            return record(total, x, args, root=root, tracks_all=True, is_scalar=False)
        except TracedValueError:
            return record(total, x, args, root=root, is_scalar=False)


def _answer(run: Recording, leaf: Variable, path: str, cts: dict[Operand, Any]) -> WhyZero:
    ct = cts.get(leaf)
    share = 1.0 if ct is None else float(np.mean(np.asarray(ct) == 0))
    if ct is not None and share < 1:
        state = "partly zero" if share >= 0.5 and np.size(ct) > 1 else "not zero"
    else:
        state = "missing" if ct is None else "zero"
    if state == "not zero":
        return WhyZero(path, state, share, ())
    cuts = _cuts(run, leaf, cts, path, whole=state != "partly zero")
    return WhyZero(path, state, share, tuple(cuts))


def _cuts(
    run: Recording, leaf: Variable, cts: dict[Operand, Any], name: str, whole: bool
) -> list[Cut]:
    """Walk forward from the leaf; stop at each operation that passes nothing back."""
    names: dict[Operand, tuple[str, ...]] = {leaf: (name,)}
    found: list[Cut] = []
    conditions: list[Cut] = []  # told last: the values that they choose between come first
    used = False
    for step in run.steps:
        inputs = [v for v in step.equation.inputs if v in names]
        if not inputs:
            continue
        used = True
        trail = names[inputs[0]]
        cut = None
        for v in inputs:
            cut = cut or _cut_at(run, step, v, cts, trail, whole)
        if cut is not None:
            (conditions if _is_condition(run, step) else found).append(cut)
            continue
        for out in step.equation.outputs:
            label = run.names.get(out)
            names[out] = (*trail, label) if label and label != trail[-1] else trail
    found += conditions
    if not found:
        found = [_unused(run, names, used)]
    return list(dict.fromkeys(found))


def _cut_at(
    run: Recording, step: Step, v: Operand, cts: dict[Operand, Any], trail: Any, whole: bool
) -> Cut | None:
    """The cut that this step makes between its output and ``v``; ``None`` if it passes some."""
    equation = step.equation
    told = _without_derivative(run, step, v) or _flat(run, step, v, cts, whole)
    if told is None:
        return None
    return Cut(told[0], equation.primitive.name, str(equation.source or ""), trail, told[1])


def _without_derivative(run: Recording, step: Step, v: Operand) -> tuple[str, str] | None:
    """Reason and evidence for an operation that has no derivative at all in ``v``."""
    equation = step.equation
    name, out = equation.primitive.name, equation.outputs[0].type
    marker = _marker(step, v)
    if _is_cast(run, step) or (name == "astype" and out.dtype.kind in "iub"):
        return "integer cast", "a float is cast to integers or booleans"
    if name == "stop_gradient":
        return "stop_gradient", "stop_gradient makes a constant of it"
    if name in SEARCHES:
        return "search", f"{name} returns positions, which have no derivative"
    if out.dtype.kind in "iub" or name in COMPARES:
        return "comparison", f"{name} is flat except where it jumps"
    if name in ROUNDS:
        return "rounding", f"{name} is flat between whole numbers"
    if marker is ZERO or marker is NO_DERIVATIVE or step.pull is None:
        return "constant", f"{name} has no derivative in this operand"
    if v.type.size and not any(y.type.size for y in equation.outputs):
        return "not selected", f"{name} takes none of its entries"
    return None


def _flat(
    run: Recording, step: Step, v: Operand, cts: dict[Operand, Any], whole: bool
) -> tuple[str, str] | None:
    """Reason and evidence where the derivative exists and is 0; ``None`` where it is not."""
    assert step.pull is not None
    at = list(step.equation.inputs).index(v)
    seeds = [_seed(out, cts) for out in step.equation.outputs]
    with np.errstate(all="ignore"):
        passed = step.pull(seeds)[at]
    if passed is None:
        return None
    passed = np.asarray(passed)
    is_cut = not np.any(passed) if whole else float(np.mean(passed == 0)) >= 0.5
    arrives = any(np.any(np.asarray(seed)) for seed in seeds)
    if not is_cut or not arrives or not passed.size:
        return None
    return _reason(run, step, at, np.asarray(run.read(v), dtype=float))


def _is_cast(run: Recording, step: Step) -> bool:
    """Whether a rounding or a comparison with 0 is how ``astype`` makes an integer or a boolean."""
    equation = step.equation
    if equation.primitive.name not in ("trunc", "not_equal") or equation.source is None:
        return False
    following = run.steps[run.maker(equation.outputs[0]) + 1 :]
    users = [s for s in following if equation.outputs[0] in s.equation.inputs]
    if any(s.equation.primitive.name == "astype" for s in users):
        return True
    return equation.primitive.name == "not_equal" and "astype" in equation.source.text


def _is_condition(run: Recording, step: Step) -> bool:
    """Whether a step only decides which branch of a ``where`` is taken."""
    outputs = step.equation.outputs
    users = [s for s in run.steps if not set(outputs).isdisjoint(s.equation.inputs)]
    return bool(users) and all(
        s.equation.primitive.name == "where" and s.equation.inputs[0] in outputs for s in users
    )


def _seed(out: Variable, cts: dict[Operand, Any]) -> Any:
    """The cotangent that arrives; where only zeros or nothing do, ones: is the step itself flat?"""
    ct = cts.get(out)
    if ct is not None and np.any(ct):
        return ct
    return np.ones(out.type.shape, out.type.dtype)


def _marker(step: Step, v: Operand) -> Any:
    vjp = step.equation.primitive.vjp
    if not isinstance(vjp, tuple):
        return None
    at = list(step.equation.inputs).index(v)
    return vjp[min(at, len(vjp) - 1)]


def _reason(run: Recording, step: Step, at: int, value: Any) -> tuple[str, str]:
    """Why the derivative of a step that has one is 0 here."""
    name = step.equation.primitive.name
    extent = (
        f"values from {np.min(value):.4g} to {np.max(value):.4g}" if value.size else "no values"
    )
    others = [
        np.asarray(run.read(v), dtype=float)
        for i, v in enumerate(step.equation.inputs)
        if i != at and v.type.dtype.kind in "fiub"
    ]
    if name == "where":
        if step.function in ("relu", "leaky_relu", "elu", "selu"):
            return "dead unit", f"{step.function} of {extent}: every unit is off"
        fixed = any(o.size and not np.any(o) for o in others[1:])
        if fixed and value.size and np.max(value) <= 0:
            return "dead unit", f"where picks 0 for {extent}"
        return "masked branch", "the condition picks the other branch everywhere"
    if name in ("maximum", "minimum"):
        is_relu = name == "maximum" and others and np.all(others[0] == 0)
        if is_relu:
            return "dead unit", f"maximum with 0 of {extent}"
        return "flat region", f"{name} picks the other operand for {extent}"
    if name in BOUNDED:
        return "saturation", f"{name} of {extent} has derivative 0 in {value.dtype}"
    if name in ("multiply", "matmul", "divide", "conv"):
        zero = [o for o in others if not np.any(o)]
        if zero or name == "divide":
            return "zero factor", f"{name} by a value that is 0 everywhere"
        return "zero factor", f"{name}: the factors of its entries are 0"
    if name in ("index", "gather", "max", "min", "update", "scatter"):
        return "not selected", f"{name} takes none of its entries"
    return "flat region", f"{name} of {extent} has derivative 0"


def _unused(run: Recording, names: dict[Operand, Any], used: bool) -> Cut:
    if not used:
        return Cut("never used", "", "", (), "no operation reads it")
    last = max(names, key=lambda v: run.maker(v) if isinstance(v, Variable) else -1)
    line = str(run.source(last) or "") if isinstance(last, Variable) else ""
    if run.output is None or run.output not in names:
        return Cut(
            "never used", "", line, names[last], "what is computed from it never reaches the result"
        )
    return Cut("flat region", "", line, names[last], "the contributions of its paths cancel")

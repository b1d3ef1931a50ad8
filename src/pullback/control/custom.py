"""Derivative rules given by the user: ``custom_vjp`` for reverse, ``custom_jvp`` for both modes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pullback import tree
from pullback.control.rules import FlatRules, attempt, custom_primitive, lifted, sample, staging
from pullback.core.array import as_array
from pullback.core.source import here
from pullback.core.types import ArrayType, type_of
from pullback.core.wrapper import Wrapper
from pullback.errors import ArgumentError, ShapeError
from pullback.ops.families import cast

__all__ = ["custom_jvp", "custom_vjp"]


class CustomRule(Wrapper):
    """A function whose derivative is given by hand; call it like the function."""

    origin: CustomRule | None = None  # what this stands for while something is staged

    def __init__(self, fun: Callable[..., Any]) -> None:
        super().__init__(fun)
        self.name = getattr(fun, "__name__", "function")

    def with_parts(self, change: Callable[[Any], Any]) -> Wrapper:
        other = super().with_parts(change)
        vars(other)["origin"] = self
        return other

    def __call__(self, /, *args: Any) -> Any:
        leaves, structure = tree.flatten(tree.map(as_array, args))
        shapes: list[tree.TreeDef] = []
        rules = self.flat_rules(structure, shapes)
        leaves = list(lifted(leaves))
        if staging() is not None:
            rules.types(tuple(map(type_of, leaves)), lambda: [sample(x) for x in leaves])
        results = custom_primitive(*leaves, rules=rules)
        return tree.unflatten(shapes[0], results)

    def flat_rules(self, structure: tree.TreeDef, shapes: list[tree.TreeDef]) -> FlatRules:
        raise NotImplementedError

    def flat_function(
        self, structure: tree.TreeDef, shapes: list[tree.TreeDef]
    ) -> Callable[..., list[Any]]:
        def function(*leaves: Any) -> list[Any]:
            return self.flatten_output(self.fun(*tree.unflatten(structure, leaves)), shapes)

        return function

    def flatten_output(self, result: Any, shapes: list[tree.TreeDef]) -> list[Any]:
        outputs, out_structure = tree.flatten(result)
        shapes[:] = [out_structure]
        return [as_array(y) for y in outputs]


class custom_vjp(CustomRule):
    """Give ``fun`` a reverse rule of your own.

    ``defvjp(forward, backward)``: ``forward(*args) -> (out, residuals)``, and ``backward(residuals,
    ct)`` returns a tuple with one cotangent (or ``None`` for zero) per argument.

    Raises:
        NotDifferentiableError: in forward mode (use :class:`custom_jvp`, which serves both modes).
        ShapeError: if the rule returns a cotangent of another shape than its argument.

    >>> import numpy as np
    >>> import pullback as pb
    >>> @pb.custom_vjp
    ... def clipped(x):
    ...     return x
    >>> clipped.defvjp(lambda x: (x, None), lambda residuals, ct: (np.clip(ct, -1, 1),))
    >>> float(pb.grad(lambda x: 10 * clipped(x))(2.0))
    1.0
    """

    rules: tuple[Callable[..., Any], Callable[..., Any]] | None = None

    def defvjp(self, forward: Callable[..., Any], backward: Callable[..., Any]) -> None:
        """Set the two functions of the rule."""
        self.rules = (forward, backward)

    def flat_rules(self, structure: tree.TreeDef, shapes: list[tree.TreeDef]) -> FlatRules:
        if self.rules is None:
            raise ArgumentError(
                f"custom_vjp: {self.name} has no rule yet",
                where=str(here()),
                fix=f"call {self.name}.defvjp(forward, backward)",
            )
        own = self.origin or self
        assert isinstance(own, custom_vjp)
        assert own.rules is not None
        residual_structure: list[tree.TreeDef] = []
        n_out: list[int] = []
        missing: list[bool] = []

        def forward_by(rule: Callable[..., Any]) -> Callable[..., list[Any]]:
            def joined(*leaves: Any) -> list[Any]:
                result, kept = rule(*tree.unflatten(structure, leaves))
                residuals, kept_structure = tree.flatten(kept)
                residual_structure[:] = [kept_structure]
                outputs = self.flatten_output(result, shapes)
                n_out[:] = [len(outputs)]
                return [*outputs, *map(as_array, residuals)]

            return joined

        def forward(*leaves: Any) -> tuple[list[Any], list[Any]]:
            forwards = forward_by(self.rules[0]), forward_by(own.rules[0])  # type: ignore[index]
            both = attempt(f"the forward rule of {self.name}", *forwards, leaves)
            return both[: n_out[0]], both[n_out[0] :]

        def pull(
            residuals: Sequence[Any], cts: Sequence[Any], types: Sequence[ArrayType]
        ) -> list[Any]:
            def backward_by(rule: Callable[..., Any]) -> Callable[..., list[Any]]:
                def joined(*values: Any) -> list[Any]:
                    kept = tree.unflatten(residual_structure[0], values[: len(residuals)])
                    answer = rule(kept, tree.unflatten(shapes[0], values[len(residuals) :]))
                    found = spread_cotangents(self.name, answer, structure, types)
                    missing[:] = [ct is None for ct in found]
                    return [ct for ct in found if ct is not None]

                return joined

            backwards = backward_by(self.rules[1]), backward_by(own.rules[1])  # type: ignore[index]
            name = f"the backward rule of {self.name}"
            found = iter(attempt(name, *backwards, [*residuals, *cts]))
            return [None if flag else next(found) for flag in missing]

        function = self.flat_function(structure, shapes)
        plain = own.flat_function(structure, shapes)
        return FlatRules(self.name, function, forward, pull, plain=plain)


def spread_cotangents(
    name: str, answer: Any, structure: tree.TreeDef, types: Sequence[ArrayType]
) -> list[Any]:
    """The user's cotangents, one per leaf; a missing one (``None``) stands for a whole argument."""
    args = tree.unflatten(structure, list(range(len(types))))
    if not isinstance(answer, (tuple, list)) or len(answer) != len(args):
        raise ArgumentError(
            f"custom_vjp: the backward rule of {name} must return a tuple of "
            f"{len(args)} cotangents, one per argument",
            where=str(here()),
            fix="return (ct,) for one argument; None stands for zero",
        )
    cts: list[Any] = [None] * len(types)
    for part, arg in zip(answer, args, strict=True):
        positions = tree.leaves(arg)
        if part is None:
            continue
        leaves = tree.leaves(part)
        if len(leaves) != len(positions):
            raise ArgumentError(
                f"custom_vjp: a cotangent of {name} has {len(leaves)} arrays, its "
                f"argument {len(positions)}",
                fix="return one array per leaf",
            )
        for position, ct in zip(positions, leaves, strict=True):
            ct = as_array(ct)
            if np.shape(ct) != types[position].shape:
                raise ShapeError(
                    f"custom_vjp: the backward rule of {name} returned a cotangent of shape "
                    f"{np.shape(ct)} for an argument {types[position]}",
                    where=str(here()),
                    fix="return cotangents of the shape of the arguments",
                )
            cts[position] = cast(ct, types[position].dtype)
    return cts


class custom_jvp(CustomRule):
    """Give ``fun`` a forward rule of your own; reverse mode follows by transposing it.

    ``defjvp(rule)``: ``rule(primals, tangents) -> (out, tangent_out)``, linear in the tangents.

    >>> import numpy as np
    >>> import pullback as pb
    >>> @pb.custom_jvp
    ... def safe_log(x):
    ...     return np.log(x)
    >>> @safe_log.defjvp
    ... def rule(primals, tangents):
    ...     (x,), (x_dot,) = primals, tangents
    ...     return safe_log(x), x_dot / np.maximum(x, 0.5)
    >>> float(pb.grad(safe_log)(0.25))
    2.0
    """

    rule: Callable[..., Any] | None = None

    def defjvp(self, rule: Callable[..., Any]) -> Callable[..., Any]:
        """Set the rule; usable as a decorator."""
        self.rule = rule
        return rule

    def flat_rules(self, structure: tree.TreeDef, shapes: list[tree.TreeDef]) -> FlatRules:
        if self.rule is None:
            raise ArgumentError(
                f"custom_jvp: {self.name} has no rule yet",
                where=str(here()),
                fix=f"call {self.name}.defjvp(rule)",
            )
        own = self.origin or self
        assert isinstance(own, custom_jvp)
        function = self.flat_function(structure, shapes)
        plain = own.flat_function(structure, shapes)

        def pushed_by(rule: Any) -> Callable[..., list[Any]]:
            def joined(*values: Any) -> list[Any]:
                n = len(values) // 2
                primals, tangents = values[:n], values[n:]
                y, y_dot = rule(
                    tree.unflatten(structure, primals), tree.unflatten(structure, tangents)
                )
                outputs = self.flatten_output(y, shapes)
                return [*outputs, *self.fitting(tree.leaves(y_dot), outputs)]

            return joined

        def push(primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[list[Any], list[Any]]:
            rules = pushed_by(self.rule), pushed_by(own.rule)
            both = attempt(f"the rule of {self.name}", *rules, [*primals, *tangents])
            return both[: len(both) // 2], both[len(both) // 2 :]

        return FlatRules(self.name, function, push=push, plain=plain)

    def fitting(self, tangents: Sequence[Any], outputs: Sequence[Any]) -> list[Any]:
        """The tangents of the outputs, which must have their shapes."""
        dots = list(map(as_array, tangents))
        if [np.shape(d) for d in dots] != [np.shape(y) for y in outputs]:
            raise ShapeError(
                f"custom_jvp: the rule of {self.name} returned tangents of shapes "
                f"{[np.shape(d) for d in dots]} for outputs {[np.shape(y) for y in outputs]}",
                where=str(here()),
                fix="return a tangent shaped like the output",
            )
        return [cast(d, y.dtype) for d, y in zip(dots, outputs, strict=True)]

"""Derivative rules given by the user: ``custom_vjp`` for reverse, ``custom_jvp`` for both modes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import update_wrapper
from typing import Any

import numpy as np

from pullback import tree
from pullback.control.call import front_batch
from pullback.core.array import Array, as_array
from pullback.core.primitive import ForwardRule, Primitive, Sample
from pullback.core.source import here
from pullback.core.types import ArrayType, is_differentiable, type_of
from pullback.errors import ArgumentError, NotDifferentiableError, ShapeError, TracedValueError
from pullback.ops.families import cast
from pullback.transforms.batch import batch_flat
from pullback.transforms.jvp import zeros
from pullback.transforms.stage import Staged, stage
from pullback.transforms.vjp import VJPTrace, backward

__all__ = ["custom_jvp", "custom_vjp"]


class FlatRules:
    """A function with its rules on flat lists of arrays; hashable by identity."""

    def __init__(
        self,
        name: str,
        function: Callable[..., list[Any]],
        forward: Callable[..., tuple[list[Any], list[Any]]] | None = None,
        backward: Callable[..., list[Any]] | None = None,
        push: Callable[..., tuple[list[Any], list[Any]]] | None = None,
    ) -> None:
        self.name = name
        self.function = function
        self.forward = forward
        self.backward = backward
        self.push = push
        self.staged: dict[tuple[ArrayType, ...], Staged] = {}

    def types(self, types: tuple[ArrayType, ...]) -> tuple[ArrayType, ...]:
        if types not in self.staged:
            self.staged[types] = stage(self.function, types, self.name)
            if any(type(value) is Array for value in self.staged[types].captured):
                raise TracedValueError(
                    f"{self.name} reads a traced value from outside, which its rule cannot see",
                    where=str(here()),
                    fix="pass the value as an argument",
                )
        return tuple(self.staged[types].graph.output_types)

    def __repr__(self) -> str:
        return self.name


class CustomRule:
    """A function whose derivative is given by hand; call it like the function."""

    def __init__(self, fun: Callable[..., Any]) -> None:
        update_wrapper(self, fun)
        self.fun = fun
        self.name = getattr(fun, "__name__", "function")

    def __call__(self, *args: Any) -> Any:
        leaves, structure = tree.flatten(tree.map(as_array, args))
        shapes: list[tree.TreeDef] = []
        rules = self.flat_rules(structure, shapes)
        results = custom_primitive(*leaves, rules=rules)
        return tree.unflatten(shapes[0], results)

    def flat_rules(self, structure: tree.TreeDef, shapes: list[tree.TreeDef]) -> FlatRules:
        raise NotImplementedError

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
        user_forward, user_backward = self.rules
        residual_structure: list[tree.TreeDef] = []

        def function(*leaves: Any) -> list[Any]:
            return self.flatten_output(self.fun(*tree.unflatten(structure, leaves)), shapes)

        def forward(*leaves: Any) -> tuple[list[Any], list[Any]]:
            result, kept = user_forward(*tree.unflatten(structure, leaves))
            residuals, kept_structure = tree.flatten(kept)
            residual_structure[:] = [kept_structure]
            return self.flatten_output(result, shapes), [as_array(r) for r in residuals]

        def pull(
            residuals: Sequence[Any], cts: Sequence[Any], types: Sequence[ArrayType]
        ) -> list[Any]:
            kept = tree.unflatten(residual_structure[0], residuals)
            answer = user_backward(kept, tree.unflatten(shapes[0], cts))
            return spread_cotangents(self.name, answer, structure, types)

        return FlatRules(self.name, function, forward, pull)


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
        rule = self.rule

        def function(*leaves: Any) -> list[Any]:
            return self.flatten_output(self.fun(*tree.unflatten(structure, leaves)), shapes)

        def push(primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[list[Any], list[Any]]:
            y, y_dot = rule(tree.unflatten(structure, primals), tree.unflatten(structure, tangents))
            outputs = self.flatten_output(y, shapes)
            dots = [as_array(dot) for dot in tree.leaves(y_dot)]
            if [np.shape(d) for d in dots] != [np.shape(y) for y in outputs]:
                raise ShapeError(
                    f"custom_jvp: the rule of {self.name} returned tangents of shapes "
                    f"{[np.shape(d) for d in dots]} for outputs {[np.shape(y) for y in outputs]}",
                    where=str(here()),
                    fix="return a tangent shaped like the output",
                )
            return outputs, [cast(d, y.dtype) for d, y in zip(dots, outputs, strict=True)]

        return FlatRules(self.name, function, push=push)


def _jvp(primals: Any, tangents: Any, y: Any, params: Any) -> Any:
    rules: FlatRules = params["rules"]
    if rules.push is None:
        raise NotDifferentiableError(
            f"{rules.name} has a reverse rule only, and is used in forward mode",
            where=str(here()),
            fix="give it a rule with custom_jvp, which serves both modes",
        )
    dots = [zeros(type_of(p)) if t is None else t for p, t in zip(primals, tangents, strict=True)]
    return rules.push(primals, dots)[1]


def _forward(primals: Any, needs: Any, params: Any) -> Any:
    rules: FlatRules = params["rules"]
    if rules.forward is not None:
        return rules.forward(*primals)
    return custom_primitive(*primals, rules=rules), list(primals)


def _backward(saved: Any, cts: Any, needs: Any, types: Any, params: Any) -> Any:
    rules: FlatRules = params["rules"]
    if rules.backward is not None:
        out_types = rules.types(tuple(types))
        full = [zeros(t) if ct is None else ct for ct, t in zip(cts, out_types, strict=True)]
        return rules.backward(saved, full, types)
    assert rules.push is not None
    with VJPTrace() as trace:  # transpose of the linear map tangents -> output tangents, at zero
        dots = [
            trace.input(zeros(t)) if need else zeros(t)
            for t, need in zip(types, needs, strict=True)
        ]
        outputs = rules.push(saved, dots)[1]
        seeds = [
            (y.aux, ct)
            for y, ct in zip(outputs, cts, strict=True)
            if ct is not None and type(y) is Array and y.trace is trace
        ]
    found = iter(backward(seeds, trace.leaves))
    return [next(found) if need else None for need in needs]


def _front_batched(size: int) -> Callable[..., list[Any]]:
    """Runs a flat function on batches; all outputs get the batch axis in front."""

    def batched(
        function: Callable[..., Any], args: Sequence[Any], axes: Sequence[int | None]
    ) -> list[Any]:
        outputs, out_axes = batch_flat(function, args, axes, size)
        return [
            np.broadcast_to(y, (size, *np.shape(y)))
            if axis is None
            else y
            if axis == 0
            else np.moveaxis(y, axis, 0)
            for y, axis in zip(outputs, out_axes, strict=True)
        ]

    return batched


def _batched_push(rules: FlatRules, batched: Callable[..., Any], in_axes: Sequence[Any]) -> Any:
    """The forward rule of a batch."""

    def push(primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        assert rules.push is not None
        n = len(primals)

        def joined(*values: Any) -> list[Any]:
            outputs, dots = rules.push(values[:n], values[n:])  # type: ignore[misc]
            return [*outputs, *dots]

        both = batched(joined, [*primals, *tangents], [*in_axes, *in_axes])
        half = len(both) // 2
        return both[:half], both[half:]

    return push


def _batch(args: Any, axes: Any, params: Any) -> Any:
    rules: FlatRules = params["rules"]
    moved, size = front_batch(args, axes)
    in_axes = [None if axis is None else 0 for axis in axes]

    batched = _front_batched(size)

    def function(*xs: Any) -> list[Any]:
        return batched(rules.function, xs, in_axes)

    def forward(*xs: Any) -> tuple[list[Any], list[Any]]:
        assert rules.forward is not None
        n_out: list[int] = []

        def joined(*ys: Any) -> list[Any]:
            outputs, residuals = rules.forward(*ys)  # type: ignore[misc]
            n_out[:] = [len(outputs)]
            return [*outputs, *residuals]

        both = batched(joined, xs, in_axes)
        return both[: n_out[0]], both[n_out[0] :]

    def pull(residuals: Sequence[Any], cts: Sequence[Any], types: Sequence[ArrayType]) -> list[Any]:
        single = [
            ArrayType(t.shape[1:], t.dtype) if axis == 0 else t
            for t, axis in zip(types, in_axes, strict=True)
        ]
        missing: list[bool] = []

        def joined(*values: Any) -> list[Any]:
            assert rules.backward is not None
            found = rules.backward(values[: len(residuals)], values[len(residuals) :], single)
            missing[:] = [ct is None for ct in found]
            return [ct for ct in found if ct is not None]

        found = iter(batched(joined, [*residuals, *cts], [0] * (len(residuals) + len(cts))))
        full = [None if flag else next(found) for flag in missing]
        return [
            ct if ct is None or axis == 0 else np.sum(ct, axis=0)
            for ct, axis in zip(full, in_axes, strict=True)
        ]

    push = _batched_push(rules, batched, in_axes)
    inner = FlatRules(
        rules.name,
        function,
        None if rules.forward is None else forward,
        None if rules.backward is None else pull,
        None if rules.push is None else push,
    )
    outputs = custom_primitive(*moved, rules=inner)
    return outputs, [0] * len(outputs)


def _samples(rng: np.random.Generator, dtype: np.dtype[Any]) -> list[Sample]:
    """``x^2`` with its true rule, given forward."""
    if not is_differentiable(dtype):
        return []
    rules = FlatRules(
        "squared",
        lambda x: [x * x],
        push=lambda primals, dots: ([primals[0] ** 2], [2 * primals[0] * dots[0]]),
    )
    return [Sample((rng.normal(size=3).astype(dtype),), {"rules": rules})]


custom_primitive = Primitive(
    name="custom",
    doc="a function with derivative rules given by the user",
    multiple=True,
    numpy=lambda *args, rules: rules.function(*args),
    type_rule=lambda *types, rules: rules.types(types),
    jvp=_jvp,
    vjp=ForwardRule(_forward, _backward),
    batch=_batch,
    family="control",
    flops=lambda types, out_types, params: 0,
    samples=_samples,
)

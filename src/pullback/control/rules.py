"""The operation behind ``custom_vjp`` and ``custom_jvp``: a function with rules, on flat lists.

The function and its rules may be *opaque*: code that takes plain arrays only, such as an integrator
of SciPy or a C extension. Where values are known they are called on plain arrays. Where they are
not (while staging), or there are many (under ``vmap``), they are tried on traced values first; if
that raises, the call becomes one operation, which runs them on plain arrays each time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from pullback.control.call import front_batch
from pullback.core.array import Array
from pullback.core.primitive import ForwardRule, Primitive, Sample
from pullback.core.source import here
from pullback.core.trace import current_trace, outermost
from pullback.core.types import ArrayType, is_differentiable, type_of
from pullback.errors import NotDifferentiableError, ShapeError, TracedValueError
from pullback.transforms.batch import batch_flat
from pullback.transforms.jvp import zeros
from pullback.transforms.stage import StageTrace, stage
from pullback.transforms.vjp import VJPTrace, backward

__all__ = ["FlatRules", "attempt", "custom_primitive", "lifted", "sample", "staging"]


class FlatRules:
    """A function with its rules on flat lists of arrays; hashable by identity.

    ``plain`` is the function as plain arrays are given to it.
    """

    def __init__(
        self,
        name: str,
        function: Callable[..., list[Any]],
        forward: Callable[..., tuple[list[Any], list[Any]]] | None = None,
        backward: Callable[..., list[Any]] | None = None,
        push: Callable[..., tuple[list[Any], list[Any]]] | None = None,
        plain: Callable[..., list[Any]] | None = None,
    ) -> None:
        self.name = name
        self.function = function
        self.forward = forward
        self.backward = backward
        self.push = push
        self.plain = plain or function
        self.found: dict[Any, tuple[ArrayType, ...]] = {}  # types of outputs, by those of arguments

    def types(
        self, types: tuple[ArrayType, ...], samples: Callable[[], Sequence[Any]] | None = None
    ) -> tuple[ArrayType, ...]:
        """Types of the outputs: by staging the function, or from a run on ``samples``."""
        key = key_of(types)
        if key not in self.found:
            level = current_trace().level
            with outermost():
                try:
                    staged = stage(self.plain, types, self.name, above=level)
                    outputs = staged.graph.output_types
                    parts = [value for value in staged.captured if not is_handle(value)]
                except Exception:  # noqa: BLE001 - opaque code raises what it likes
                    ones = [np.ones(t.shape, t.dtype) for t in types]
                    parts = self.plain(*(ones if samples is None else samples()))
                    outputs = list(map(type_of, parts))
            if any(type(value) is Array for value in parts):
                raise TracedValueError(
                    f"{self.name} reads a traced value from outside, which its rule cannot see",
                    where=str(here()),
                    fix="pass the value as an argument",
                )
            self.found[key] = tuple(outputs)
        return self.found[key]

    def run(self, *args: Any) -> list[Any]:
        """The function on plain arrays; the types of its outputs may not change between runs."""
        with outermost():
            outputs = self.plain(*args)
        key, given = key_of(map(type_of, args)), tuple(map(type_of, outputs))
        if self.found.setdefault(key, given) != given:
            raise ShapeError(
                f"{self.name} returned {given} where it has returned {self.found[key]}",
                fix="return arrays of one shape and dtype for arguments of the same types",
            )
        return outputs

    def __repr__(self) -> str:
        return self.name


def key_of(types: Iterable[ArrayType]) -> Any:
    return tuple([(t.shape, t.dtype) for t in types])


def staging() -> StageTrace | None:
    """The innermost trace that knows no values."""
    trace: Any = current_trace()
    while trace is not None and not isinstance(trace, StageTrace):
        trace = trace.outer
    return trace if trace is not None and trace.abstract else None


def lifted(args: Sequence[Any]) -> Sequence[Any]:
    """Constants as traced values where something is staged: opaque code must run at every call."""
    trace = staging()
    if trace is None or any(type(a) is Array for a in args):
        return args
    return list(map(trace.lift, args))


def is_handle(value: Any) -> bool:
    """Whether a traced value stands for an array from outside, which is read when it is used."""
    return type(value) is Array and value.traced_by.outside(value) is not None


def opaque(name: str, plain: Callable[..., list[Any]], args: Sequence[Any]) -> list[Any]:
    """``plain(*args)`` as one operation that has no derivative."""
    rules = FlatRules(name, plain)
    rules.types(tuple(map(type_of, args)), lambda: [sample(a) for a in args])
    return list(custom_primitive(*args, rules=rules))


def sample(value: Any) -> Any:
    """A plain value that a traced one may have."""
    return value.traced_by.sample(value) if type(value) is Array else value


def attempt(
    name: str,
    function: Callable[..., list[Any]],
    plain: Callable[..., list[Any]],
    args: Sequence[Any],
) -> list[Any]:
    """``function(*args)`` on traced arrays where it can be traced; else ``plain`` on plain ones."""
    args = lifted(args)
    if not any(type(a) is Array for a in args):
        with outermost():
            return plain(*args)
    try:
        return function(*args)
    except Exception:  # noqa: BLE001 - opaque code raises what it likes
        try:
            return opaque(name, plain, args)
        except NotDifferentiableError as refused:
            raise refused from None


def _jvp(primals: Any, tangents: Any, y: Any, params: Any) -> Any:
    rules: FlatRules = params["rules"]
    if rules.push is None and rules.forward is None:
        raise no_second(rules)
    if rules.push is None:
        raise NotDifferentiableError(
            f"{rules.name} has a reverse rule only, and is used in forward mode",
            where=str(here()),
            fix="give it a rule with custom_jvp, which serves both modes",
        )
    dots = [zeros(type_of(p)) if t is None else t for p, t in zip(primals, tangents, strict=True)]
    return rules.push(primals, dots)[1]


def no_second(rules: FlatRules) -> NotDifferentiableError:
    """The refusal of a derivative of opaque code."""
    return NotDifferentiableError(
        f"{rules.name} is differentiated, but takes plain arrays only",
        where=str(here()),
        fix="write the rule with NumPy functions, or call functions in it that have rules "
        "themselves",
    )


def _forward(primals: Any, needs: Any, params: Any) -> Any:
    rules: FlatRules = params["rules"]
    if rules.forward is not None:
        outputs, residuals = rules.forward(*primals)
        rules.found[key_of(map(type_of, primals))] = tuple(map(type_of, outputs))
        return outputs, residuals
    if rules.push is None:
        raise no_second(rules)
    return custom_primitive(*primals, rules=rules), list(primals)


def _backward(saved: Any, cts: Any, needs: Any, types: Any, params: Any) -> Any:
    rules: FlatRules = params["rules"]
    if rules.backward is not None:
        out_types = rules.types(tuple(types))
        full = [zeros(t) if ct is None else ct for ct, t in zip(cts, out_types, strict=True)]
        return rules.backward(saved, full, types)
    is_given = [ct is not None for ct in cts]

    def by(method: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
        return lambda *values: method(rules, values, is_given, needs, types)

    given = [ct for ct in cts if ct is not None]
    found = iter(_transposed(rules, [*saved, *given], is_given, needs, types, by(_by_units)))
    return [next(found) if need else None for need in needs]


def _transposed(
    rules: FlatRules,
    values: Sequence[Any],
    is_given: Sequence[bool],
    needs: Sequence[bool],
    types: Sequence[ArrayType],
    by_units: Callable[..., list[Any]],
) -> list[Any]:
    """The rule, a linear map of tangents, transposed; by unit tangents where it is opaque."""
    assert rules.push is not None
    saved, given = values[: len(types)], iter(values[len(types) :])
    cts = [next(given) if flag else None for flag in is_given]
    try:
        with VJPTrace() as trace:
            dots = [
                trace.input(zeros(t)) if need else zeros(t)
                for t, need in zip(types, needs, strict=True)
            ]
            outputs = rules.push(saved, dots)[1]
            seeds = [
                (y.aux, ct)
                for y, ct in zip(outputs, cts, strict=True)
                if ct is not None and type(y) is Array and y.traced_by is trace
            ]
        found = backward(seeds, trace.leaves)
        return [
            zeros(node) if ct is None else ct for ct, node in zip(found, trace.leaves, strict=True)
        ]
    except Exception:  # noqa: BLE001 - opaque code raises what it likes
        if not any(type(value) is Array for value in values):
            return by_units(*values)
        return opaque(f"the rule of {rules.name}", by_units, values)


def _by_units(
    rules: FlatRules,
    values: Sequence[Any],
    is_given: Sequence[bool],
    needs: Sequence[bool],
    types: Sequence[ArrayType],
) -> list[Any]:
    """``J^T ct``, an element of an argument at a time: one tangent each."""
    assert rules.push is not None
    saved, given = values[: len(types)], iter(values[len(types) :])
    cts = [next(given) if flag else None for flag in is_given]
    found = []
    for i, need in enumerate(needs):
        if not need:
            continue
        ct = np.zeros(types[i].shape, types[i].dtype)
        for place in np.ndindex(types[i].shape):
            dots = [np.zeros(t.shape, t.dtype) for t in types]
            dots[i][place] = 1
            pushed = rules.push(saved, dots)[1]
            ct[place] = sum(
                np.sum(np.multiply(dot, c))
                for dot, c in zip(pushed, cts, strict=True)
                if c is not None
            )
        found.append(ct)
    return found


def _front_batched(size: int) -> Callable[..., list[Any]]:
    """Runs a flat function on batches; all outputs get the batch axis in front."""

    def batched(
        function: Callable[..., Any], args: Sequence[Any], axes: Sequence[int | None]
    ) -> list[Any]:
        def one_by_one(*xs: Any) -> list[Any]:
            rows = [
                function(*[x if axis is None else x[i] for x, axis in zip(xs, axes, strict=True)])
                for i in range(size)
            ]
            return [np.stack(column) for column in zip(*rows, strict=True)]

        try:
            outputs, out_axes = batch_flat(function, args, axes, size)
        except Exception:  # noqa: BLE001 - opaque code raises what it likes
            if any(type(a) is Array for a in args):
                return opaque("a batch", one_by_one, args)
            return one_by_one(*args)
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
    numpy=lambda *args, rules: rules.run(*args),
    type_rule=lambda *types, rules: rules.types(types),
    jvp=_jvp,
    vjp=ForwardRule(_forward, _backward, is_foreign=True),
    batch=_batch,
    family="control",
    flops=lambda types, out_types, params: 0,
    samples=_samples,
)

"""What every primitive must satisfy, as functions of a primitive and one of its samples.

Each check raises :class:`CheckError`. The registry is the list of tests: a new primitive is checked
because it exists.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import Any, Final

import numpy as np

from pullback.compiler.jit import Native
from pullback.core.primitive import MISSING, OUTPUT, Primitive, Rule, Sample
from pullback.core.types import is_differentiable, type_of
from pullback.testing.grads import GradientError, check_grads, inner, magnitude, random_like
from pullback.testing.scalar_reference import ScalarReference
from pullback.testing.tolerances import (
    DUALITY,
    LOOP,
    NATIVE,
    NOT_THE_DERIVATIVE,
    eps,
)
from pullback.transforms.derivatives import jvp, vjp
from pullback.transforms.evaluate import evaluate
from pullback.transforms.stage import stage
from pullback.transforms.vmap import vmap

__all__ = ["CHECKS", "CheckError", "samples_of"]

NAMES = ("float64", "float32", "complex128", "complex64", "int64", "bool")
DTYPES = tuple(map(np.dtype, NAMES))
DOUBLE = (np.float64, np.complex128)  # exact enough for differences


class CheckError(AssertionError):
    """A primitive breaks its contract."""


def require(condition: Any, message: str) -> None:
    if not condition:
        raise CheckError(message)


def samples_of(primitive: Primitive, seed: int = 0) -> Iterator[tuple[np.dtype[Any], Sample]]:
    """All samples of a primitive for all dtypes."""
    for dtype in DTYPES:
        for sample in primitive.samples(np.random.default_rng(seed), dtype):
            yield dtype, sample


def outputs_of(primitive: Primitive, args: Sequence[Any], params: dict[str, Any]) -> list[Any]:
    with np.errstate(all="ignore"):
        result = primitive(*args, **params)
    return list(result) if primitive.multiple else [result]


def is_missing(primitive: Primitive, position: int) -> bool:
    """Whether the derivative for an operand exists, but has no rule."""
    rules = primitive.vjp
    return isinstance(rules, tuple) and rules[min(position, len(rules) - 1)] is MISSING


class Case:
    """A sample as a differentiable function of its floating operands."""

    def __init__(self, primitive: Primitive, sample: Sample) -> None:
        self.primitive = primitive
        self.params = sample.params
        self.args = [np.asarray(a) for a in sample.args]
        self.at = [
            i
            for i, a in enumerate(self.args)
            if is_differentiable(a.dtype) and not is_missing(primitive, i)
        ]
        self.floats = [self.args[i] for i in self.at]
        self.outputs = outputs_of(primitive, self.args, self.params)
        self.smooth = [
            i for i, y in enumerate(self.outputs) if is_differentiable(np.asarray(y).dtype)
        ]

    def __call__(self, *floats: Any) -> list[Any]:
        full = list(self.args)
        for i, value in zip(self.at, floats, strict=True):
            full[i] = value
        outputs = outputs_of(self.primitive, full, self.params)
        return [outputs[i] for i in self.smooth]

    @property
    def is_differentiable(self) -> bool:
        return bool(self.at and self.smooth) and self.primitive.name != "while_loop"


def check_type_rule(primitive: Primitive, sample: Sample) -> None:
    """The type rule says what NumPy does, whatever the memory layout."""
    args = [np.asarray(a) for a in sample.args]
    inferred = primitive.type_rule(*[type_of(a) for a in args], **sample.params)
    types = inferred if primitive.multiple else (inferred,)
    expected = outputs_of(primitive, args, sample.params)
    for y, type in zip(expected, types, strict=True):
        require(
            (np.shape(y), y.dtype) == (type.shape, type.dtype),
            f"NumPy gives {y.dtype}{np.shape(y)}, the type rule {type}",
        )
    flipped = [np.flip(np.flip(a).copy()) if a.ndim else a for a in args]
    for a in flipped:
        if a.ndim:
            a.flags.writeable = False
    for y, z in zip(expected, outputs_of(primitive, flipped, sample.params), strict=True):
        require(
            np.allclose(y, z, rtol=1e-5, atol=1e-6, equal_nan=True),
            "the result depends on the memory layout of the operands",
        )


def check_finite(primitive: Primitive, sample: Sample) -> None:
    """Function and derivative are finite on the declared domain, end points included."""
    if sample.nonfinite_ok:
        return
    case = Case(primitive, sample)
    require(all(np.all(np.isfinite(y)) for y in case.outputs), "the value is not finite")
    if case.is_differentiable and not sample.kink:
        with np.errstate(all="ignore"):
            out, pull = vjp(case, *case.floats)
            cts = pull([np.ones_like(y) for y in out])
        require(all(np.all(np.isfinite(ct)) for ct in cts), "the derivative is not finite")


def check_contract(primitive: Primitive, sample: Sample) -> None:
    """One cotangent per operand, one tangent per output, with the right types."""
    case = Case(primitive, sample)
    if not case.is_differentiable:
        return
    rng = np.random.default_rng(1)
    with np.errstate(all="ignore"):
        out, pull = vjp(case, *case.floats)
        cts = pull(random_like(rng, out))
        y, y_dot = jvp_of(case, random_like(rng, case.floats))
    for x, ct in zip(case.floats, cts, strict=True):
        require(
            (np.shape(ct), ct.dtype) == (x.shape, x.dtype),
            f"the cotangent of {x.dtype}{x.shape} is {ct.dtype}{np.shape(ct)}",
        )
    for a, b in zip(y, y_dot, strict=True):
        require((np.shape(a), a.dtype) == (np.shape(b), b.dtype), "a tangent has another type")


def jvp_of(case: Case, directions: Sequence[Any]) -> tuple[Any, Any]:
    return jvp(case, tuple(case.floats), tuple(directions))


def has_forward_rule(primitive: Primitive, sample: Sample) -> bool:
    rules = sample.params.get("rules")
    return primitive.name != "custom" or getattr(rules, "push", None) is not None


def check_duality(primitive: Primitive, sample: Sample) -> None:
    """``<v, J u> = <J^T v, u>`` up to rounding."""
    case = Case(primitive, sample)
    if not case.is_differentiable or sample.nonfinite_ok or not has_forward_rule(primitive, sample):
        return
    rng = np.random.default_rng(2)
    directions = random_like(rng, case.floats)
    with np.errstate(all="ignore"):
        out, pull = vjp(case, *case.floats)
        weights = random_like(rng, out)
        left_terms = jvp_of(case, directions)[1]
        right_terms = pull(weights)
    left, right = inner(weights, left_terms), inner(right_terms, directions)
    if np.isinf(left) or np.isnan(left):
        require(sample.kink, "the tangent is not finite")
        return
    scale = magnitude(weights, left_terms) + magnitude(right_terms, directions)
    coarsest = max(eps(v.dtype) for v in (*case.floats, *out))
    bound = DUALITY * coarsest * max(scale, 1e-30)
    require(abs(left - right) <= bound, f"<v, J u> = {left!r}, <J^T v, u> = {right!r}")


def check_differences(primitive: Primitive, sample: Sample) -> None:
    """First and second derivatives against 5-point central differences."""
    case = Case(primitive, sample)
    if not case.is_differentiable or sample.kink or sample.nonfinite_ok:
        return
    values = [*case.floats, *(case.outputs[i] for i in case.smooth)]
    if primitive.name in NOT_THE_DERIVATIVE or any(v.dtype not in DOUBLE for v in values):
        return
    if not sum(x.size for x in case.floats):
        return
    shrunk = [toward_middle(x, case.floats) for x in case.floats]
    try:
        for order in (1, 2):
            check_grads(case, tuple(shrunk), order=order)
    except GradientError as error:
        raise CheckError(str(error)) from error


def toward_middle(x: Any, others: Sequence[Any]) -> Any:
    """Operands a little inside of their domain, so that differences stay in it."""
    spread = max((float(np.max(np.abs(o))) for o in others if o.size), default=1.0)
    return x if spread < 1e3 else x / spread


def check_poisoning(primitive: Primitive, sample: Sample) -> None:
    """A rule reads nothing but its declared residuals: all else is NaN, and it must not notice."""
    case = Case(primitive, sample)
    if not isinstance(primitive.vjp, tuple) or not case.is_differentiable:
        return
    y = case.outputs[0]
    ct = random_like(np.random.default_rng(3), y)
    everything = [*case.args, y]
    for i in case.at:
        rule = primitive.rule(i)
        if not isinstance(rule, Rule):
            continue
        kept = {k % len(everything) for k in rule.residuals(len(case.args))}
        poisoned = [
            v if k in kept else np.full(np.shape(v), np.nan, np.float64)
            for k, v in enumerate(everything)
        ]
        require(
            OUTPUT not in rule.residuals(len(case.args)) or len(case.args) in kept,
            "the output is not at the last place",
        )
        x_type = type_of(case.args[i])
        with np.errstate(all="ignore"):
            clean = rule(ct, x_type, everything, sample.params)
            dirty = rule(ct, x_type, poisoned, sample.params)
        require(
            np.array_equal(clean, dirty, equal_nan=True),
            f"the rule of operand {i + 1} reads a value that it does not declare",
        )


def check_vmap(primitive: Primitive, sample: Sample) -> None:
    """A batch equals a loop, for every subset of batched operands and two places of the axis."""
    args = [np.asarray(a) for a in sample.args]
    n, rng = 2, np.random.default_rng(4)
    for subset in product((False, True), repeat=len(args)):
        if not any(subset) or (len(args) > 3 and not all(subset)):
            continue
        with np.errstate(all="ignore"):
            rows = [[a if k == 0 else perturbed(rng, a) for k in range(n)] for a in args]
        for last in (False, True):
            axes = [
                None if not flag else (a.ndim if last else 0)
                for flag, a in zip(subset, args, strict=True)
            ]
            batched = [
                a if axis is None else np.stack(r, axis)
                for a, r, axis in zip(args, rows, axes, strict=True)
            ]
            result = vmap(lambda *xs: outputs_of(primitive, xs, sample.params), tuple(axes))(
                *batched
            )
            for k in range(n):
                one = [r[k] if flag else a for a, r, flag in zip(args, rows, subset, strict=True)]
                for y, z in zip(result, outputs_of(primitive, one, sample.params), strict=True):
                    close(y[k], z, LOOP, f"vmap over {axes} is not the loop at example {k}")


def perturbed(rng: np.random.Generator, a: Any) -> Any:
    """Other values with the same meaning: in the domain, sorted if sorted, definite if definite."""
    return (a * rng.uniform(0.8, 1.0)).astype(a.dtype) if is_differentiable(a.dtype) else a


def close(y: Any, z: Any, units: float, message: str) -> None:
    y, z = np.asarray(y), np.asarray(z)
    require(
        y.dtype == z.dtype and y.shape == z.shape,
        f"{message}: {y.dtype}{y.shape}, {z.dtype}{z.shape}",
    )
    if not is_differentiable(y.dtype):
        require(np.array_equal(y, z), message)
        return
    scale = np.max(np.abs(z[np.isfinite(z)]), initial=0.0) + 1e-300
    with np.errstate(all="ignore"):
        wrong = ~(
            (np.abs(y - z) <= units * eps(z.dtype) * scale) | (y == z) | (np.isnan(y) & np.isnan(z))
        )
    require(not np.any(wrong), f"{message}: {y[wrong][:3]} instead of {z[wrong][:3]}")


def check_staged(primitive: Primitive, sample: Sample) -> None:
    """The staged graph verifies and evaluates to the same bits."""
    args = [np.asarray(a) for a in sample.args]
    staged = stage(lambda *xs: outputs_of(primitive, xs, sample.params), [type_of(a) for a in args])
    staged.graph.verify()
    with np.errstate(all="ignore"):
        found = evaluate(staged.graph, [*staged.captured, *args])
    for y, z in zip(found, outputs_of(primitive, args, sample.params), strict=True):
        require(np.array_equal(y, z, equal_nan=True), "the staged graph gives another value")


def check_native(primitive: Primitive, sample: Sample) -> None:
    """Native code agrees with NumPy."""
    args = [np.asarray(a) for a in sample.args]
    staged = stage(lambda *xs: outputs_of(primitive, xs, sample.params), [type_of(a) for a in args])
    with np.errstate(all="ignore"):
        found = Native()(staged.graph, [*staged.captured, *args])
    for y, z in zip(found, outputs_of(primitive, args, sample.params), strict=True):
        close(y, z, NATIVE, "native code gives another value")


def check_scalar(primitive: Primitive, sample: Sample) -> None:
    """The scalar expression of an elementwise primitive is NumPy's function."""
    if primitive.family != "elementwise" or not isinstance(primitive.numpy, np.ufunc):
        return
    if primitive.scalar is None:
        return
    arrays = np.broadcast_arrays(*sample.args)
    dtypes = primitive.numpy.resolve_dtypes((*[a.dtype for a in arrays], None))
    if any(d == np.float16 or d.kind == "c" for d in dtypes):
        return
    for values in zip(*[a.reshape(-1)[:8] for a in arrays], strict=True):
        operands = [d.type(v) for v, d in zip(values, dtypes, strict=False)]
        with np.errstate(all="ignore"):
            y = np.asarray(primitive.scalar(ScalarReference(), *operands)).astype(dtypes[-1])
            close(
                y,
                np.asarray(primitive.numpy(*operands)).astype(dtypes[-1]),
                8,
                f"the scalar expression at {operands}",
            )


def check_linear(primitive: Primitive, sample: Sample) -> None:
    """A linear primitive is linear: ``f(2 x - 3 z) = 2 f(x) - 3 f(z)``."""
    x = np.asarray(sample.args[0])
    if primitive.family != "linear" or x.dtype not in DOUBLE:
        return
    if np.dtype(sample.params.get("dtype", np.float64)) not in DOUBLE:
        return
    rng, rest = np.random.default_rng(5), sample.args[1:]
    z = rng.permutation(x.reshape(-1)).reshape(x.shape)

    def f(v: Any) -> Any:
        return outputs_of(primitive, [v, *rest], sample.params)[0]

    close(f(2 * x - 3 * z), 2 * f(x) - 3 * f(z), 64, "not linear")


def check_cost(primitive: Primitive, sample: Sample) -> None:
    """Flops are a count: an integer, not negative, and zero where nothing is computed."""
    types = [type_of(np.asarray(a)) for a in sample.args]
    inferred = primitive.type_rule(*types, **sample.params)
    flops = primitive.flops(
        types, list(inferred) if primitive.multiple else [inferred], sample.params
    )
    require(flops == int(flops) and flops >= 0, f"flops = {flops!r}")


def check_purity(primitive: Primitive, sample: Sample) -> None:
    """Operands are not changed, and a second run gives the same bits."""
    args = [np.array(a) for a in sample.args]
    before = [a.copy() for a in args]
    first = outputs_of(primitive, args, sample.params)
    second = outputs_of(primitive, args, sample.params)
    for a, b in zip(args, before, strict=True):
        require(
            np.array_equal(a, b, equal_nan=is_differentiable(a.dtype)), "an operand was changed"
        )
    for y, z in zip(first, second, strict=True):
        require(np.asarray(y).tobytes() == np.asarray(z).tobytes(), "a second run differs")


CHECKS: Final[dict[str, Callable[[Primitive, Sample], None]]] = {
    "type_rule": check_type_rule,
    "finite": check_finite,
    "contract": check_contract,
    "duality": check_duality,
    "differences": check_differences,
    "poisoning": check_poisoning,
    "vmap": check_vmap,
    "staged": check_staged,
    "native": check_native,
    "scalar": check_scalar,
    "linear": check_linear,
    "cost": check_cost,
    "purity": check_purity,
}

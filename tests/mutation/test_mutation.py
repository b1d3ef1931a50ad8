"""The battery can fail: seeded faults, each caught by the check that should see it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import pullback as pb
from pullback.core.primitive import Primitive, Rule, registry
from pullback.ops.families import elementwise
from pullback.testing.battery import CHECKS, CheckError, samples_of

SEEDS = range(5)
CRASHES = (ValueError, TypeError, AttributeError)  # loud, and so caught as well


@pytest.fixture
def mutant() -> Iterator[Callable[..., Primitive]]:
    """Makes a faulty copy of a primitive, and takes it out of the registry afterwards."""
    made: list[str] = []

    def make(name: str, **changes: Any) -> Primitive:
        made.append(f"_mutant_{len(made)}_{name}")
        return dataclasses.replace(registry[name], name=made[-1], **changes)

    yield make
    for name in [n for n in registry if n.startswith("_mutant")]:
        del registry[name]


def caught_by(primitive: Primitive) -> set[str]:
    """The checks that some sample of some seed fails."""
    caught = set()
    for seed in SEEDS:
        for _, sample in samples_of(primitive, seed):
            if sample.error is not None:
                continue
            for name, check in CHECKS.items():
                if name == "native":
                    continue
                try:
                    with np.errstate(all="ignore"):
                        check(primitive, sample)
                except (CheckError, pb.errors.PullbackError, LookupError, *CRASHES):
                    caught.add(name)
    return caught


class Scaled(Rule):
    """A reverse rule times a factor."""

    def __init__(self, rule: Rule, factor: float) -> None:
        super().__init__(rule.function)
        self.rule, self.factor = rule, factor

    def pull(self) -> Callable[..., Any]:
        return self.__call__

    def __call__(self, *args: Any) -> Any:
        ct = self.rule(*args)
        return (ct * self.factor).astype(ct.dtype)


def scaled_vjp(primitive: Primitive, factor: float) -> tuple[Any, ...]:
    return tuple(Scaled(r, factor) if isinstance(r, Rule) else r for r in primitive.vjp)


def scaled_jvp(primitive: Primitive, factor: float) -> Callable[..., Any]:
    def jvp(*args: Any) -> Any:
        y_dot = primitive.jvp(*args)
        return None if y_dot is None else (y_dot * factor).astype(y_dot.dtype)

    return jvp


NAMES = [
    "exp",
    "multiply",
    "divide",
    "tanh",
    "sum",
    "var",
    "logsumexp",
    "matmul",
    "transpose",
    "index",
    "gather",
    "scatter_add",
    "update",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_reverse_rule_that_is_a_thousandth_off(name, mutant):
    original = registry[name]
    assert "duality" in caught_by(mutant(name, vjp=scaled_vjp(original, 1.001)))


@pytest.mark.parametrize("name", ["exp", "multiply", "divide", "var", "logsumexp", "matmul"])
def test_both_rules_a_thousandth_off(name, mutant):
    original = registry[name]
    faulty = mutant(name, vjp=scaled_vjp(original, 1.001), jvp=scaled_jvp(original, 1.001))
    assert "differences" in caught_by(faulty)


class WithoutUnbroadcast(Rule):
    """The product of cotangent and partial, left in the shape of the output."""

    def __init__(self, rule: Any) -> None:
        super().__init__(rule.function)
        self.rule = rule

    def pull(self) -> Callable[..., Any]:
        return self.__call__

    def __call__(self, ct: Any, _type: Any, saved: Any, _params: Any) -> Any:
        return self.rule.partial(saved, ct)


@pytest.mark.parametrize("name", ["multiply", "divide", "arctan2"])
def test_a_dropped_unbroadcast(name, mutant):
    rules = tuple(WithoutUnbroadcast(r) for r in registry[name].vjp)
    assert caught_by(mutant(name, vjp=rules)) & {"contract", "duality"}


@pytest.mark.parametrize("name", ["multiply", "divide", "matmul", "arctan2"])
def test_swapped_arguments(name, mutant):
    assert caught_by(mutant(name, vjp=registry[name].vjp[::-1])) & {"duality", "contract"}


class Forgetful(Rule):
    """A rule whose declaration lost one of the residuals that it reads."""

    def __init__(self, rule: Any) -> None:
        self.__dict__ = {}
        for slot in ("function", "parameters", "reads", "rest", "takes_cotangent", "takes_type"):
            setattr(self, slot, getattr(rule, slot))
        self.rule = rule

    def pull(self) -> Callable[..., Any]:
        return self.rule.pull()

    def __call__(self, *args: Any) -> Any:
        return self.rule(*args)

    def residuals(self, n_operands: int) -> set[int]:
        return set(sorted(self.rule.residuals(n_operands))[1:])


@pytest.mark.parametrize(
    "name", ["exp", "tanh", "log", "divide", "matmul", "var", "logsumexp", "max"]
)
def test_an_undeclared_residual(name, mutant):
    rules = tuple(Forgetful(r) if isinstance(r, Rule) else r for r in registry[name].vjp)
    assert "poisoning" in caught_by(mutant(name, vjp=rules))


def test_a_widened_domain(mutant):
    for seed in SEEDS:
        wide = elementwise(
            f"_mutant_wide_arcsin_{seed}",
            lambda x: np.arcsin(x),
            doc="y = arcsin x",
            partials=(lambda x: 1 / np.sqrt(1 - x * x),),
            domain=((-1.3, 1.3),),
            scalar=registry["arcsin"].scalar,
        )
        assert "finite" in caught_by(wide)


def test_a_wrong_second_order(mutant):
    """The value of the derivative is right, but it was made a constant."""
    frozen = elementwise(
        "_mutant_frozen",
        lambda x: np.sin(x),
        doc="y = sin x",
        partials=(lambda x: pb.stop_gradient(np.cos(x)),),
        scalar=registry["sin"].scalar,
    )
    assert "differences" in caught_by(frozen)


def test_a_wrong_batch_axis(mutant):
    original = registry["matmul"]

    def batch(args: Any, axes: Any, params: Any) -> Any:
        y, axis = original.batch(args, axes, params)
        return y, (axis + 1) % max(np.ndim(y), 1)

    assert "vmap" in caught_by(mutant("matmul", batch=batch))


@pytest.mark.parametrize("name", ["exp", "add", "divide"])
def test_a_lowering_that_is_slightly_off(name, mutant):
    scalar = registry[name].scalar

    def off(b: Any, *xs: Any) -> Any:
        y = scalar(b, *xs)
        return b.mul(y, b.const(1 + 1e-12, y)) if y.dtype == np.float64 else y

    assert "scalar" in caught_by(mutant(name, scalar=off))


def test_a_wrong_type_rule_and_an_impure_evaluation(mutant):
    original = registry["exp"]
    wrong = mutant("exp", type_rule=lambda x: x.with_shape((*x.shape, 1)))
    assert "type_rule" in caught_by(wrong)

    def impure(x: Any) -> Any:
        x += 1
        return original.numpy(x)

    assert "purity" in caught_by(mutant("exp", numpy=impure))


@pytest.mark.parametrize("name", ["exp", "matmul", "gather"])
def test_the_unharmed_copy_passes(name, mutant):
    assert caught_by(mutant(name)) == set()
